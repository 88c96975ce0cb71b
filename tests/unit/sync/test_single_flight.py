"""`SingleFlight`: one leader, and everybody else waits for it."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from oxd_server.sync.busy import TooBusy
from oxd_server.sync.single_flight import SingleFlight


class Work:
    """Work that is done when the test says so, and counts how often it began."""

    def __init__(self):
        self.started = 0
        self.go = trio.Event()

    async def __call__(self):
        self.started += 1
        number = self.started
        await self.go.wait()
        return number


async def test_many_ask_and_one_works():
    """Ten tasks that ask for the same thing at once cause one piece of work and get its value."""
    flights, work, values = SingleFlight[str, int](), Work(), []

    async def ask():
        values.append(await flights.run("key", work))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        work.go.set()
    assert values == [1] * 10


async def test_keys_do_not_wait_for_each_other():
    """Work for another key goes on beside it."""
    flights, slow, fast = SingleFlight[str, int](), Work(), Work()
    fast.go.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flights.run, "slow", slow)
        await wait_all_tasks_blocked()
        assert await flights.run("fast", fast) == 1
        slow.go.set()


async def test_nothing_is_kept():
    """Once the work is done the next one who asks works again."""
    flights, work = SingleFlight[str, int](), Work()
    work.go.set()
    assert [await flights.run("key", work), await flights.run("key", work)] == [1, 2]


async def test_an_error_goes_to_everybody():
    """An error of the work reaches all who waited for it, and the next one tries again."""
    flights, go, errors = SingleFlight[str, int](), trio.Event(), []

    async def fail():
        await go.wait()
        raise ValueError("broken")

    async def ask():
        with pytest.raises(ValueError, match="broken") as caught:
            await flights.run("key", fail)
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        go.set()
    assert len(errors) == 3
    work = Work()
    work.go.set()
    assert await flights.run("key", work) == 1


async def test_a_cancelled_leader_hands_over():
    """If the leader is cancelled, one of the others does the work and the rest get its value."""
    flights, work, values = SingleFlight[str, int](), Work(), []
    leader = trio.CancelScope()

    async def lead():
        with leader:
            await flights.run("key", work)

    async def ask():
        values.append(await flights.run("key", work))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lead)
        await wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        leader.cancel()
        await wait_all_tasks_blocked()
        work.go.set()
    assert values == [2, 2, 2]


async def test_a_cancelled_waiter_disturbs_nobody():
    """A task that stops waiting leaves the work and the others alone."""
    flights, work, values = SingleFlight[str, int](), Work(), []
    impatient = trio.CancelScope()

    async def ask(scope):
        with scope:
            values.append(await flights.run("key", work))

    async with trio.open_nursery() as nursery:
        for scope in (trio.CancelScope(), impatient, trio.CancelScope()):
            nursery.start_soon(ask, scope)
            await wait_all_tasks_blocked()
        impatient.cancel()
        await wait_all_tasks_blocked()
        work.go.set()
    assert values == [1, 1]


async def test_so_many_may_wait():
    """Whoever asks when as many wait as may is told so at once; the others get their value, and then there is room."""
    flights, work, values = SingleFlight[str, int](max_waiting=2), Work(), []

    async def ask():
        values.append(await flights.run("key", work))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        with pytest.raises(TooBusy):
            await ask()
        work.go.set()
    assert values == [1, 1, 1]
    assert await flights.run("key", work) == 2
