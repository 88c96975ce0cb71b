"""Threads: who need not wait does not, and there are never more than so many."""

import threading

import pytest
import trio
import trio.testing

from oxd_server.sync.threads import Threads


async def test_a_free_thread_costs_no_turn_of_the_event_loop() -> None:
    """Nobody else runs between asking for a thread and its beginning."""
    began: list[str] = []

    async def somebody_else() -> None:
        began.append("somebody else")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(somebody_else)
        threads = Threads(1)
        await threads.acquire_on_behalf_of("a borrower")
        assert began == []
        threads.release_on_behalf_of("a borrower")


async def test_no_more_than_so_many_run_at_once() -> None:
    """The others wait their turn, and all of them come to their end."""
    threads, gate, running = Threads(2), threading.Event(), threading.Semaphore(0)
    done: list[int] = []

    def work(number: int) -> int:
        running.release()
        gate.wait()
        return number

    async def ask(number: int) -> None:
        done.append(await threads.run(work, number))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(ask, number)
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(lambda: [running.acquire() for _ in range(2)])
        assert not running.acquire(blocking=False)
        gate.set()
    assert sorted(done) == [0, 1, 2, 3, 4]


async def test_what_goes_wrong_reaches_the_caller_and_frees_the_place() -> None:
    """The next one finds a free thread."""
    threads = Threads(1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)
    assert await threads.run(lambda: 1) == 1


async def test_who_is_cancelled_before_the_thread_begins_leaves_nothing_behind() -> None:
    """A caller that is cancelled already runs nothing, and keeps no place."""
    threads = Threads(1)
    ran: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await threads.run(ran.append, 1)
    assert scope.cancelled_caught
    assert ran == []
    assert await threads.run(lambda: 1) == 1


async def test_a_thread_can_be_abandoned_and_keeps_its_place() -> None:
    """The caller goes on at once; the place is free when the thread has ended."""
    threads, gate = Threads(1), threading.Event()
    with trio.move_on_after(0.01) as scope:
        await threads.run(gate.wait, abandon_on_cancel=True)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, int)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
