"""A coroutine that is run up to where it waits, and finished from there in the same task."""

import contextvars

import pytest
import trio

from oxd_server.sync.first_wait import finish, run_to_first_wait

_noted: contextvars.ContextVar[str] = contextvars.ContextVar("noted", default="nothing")


async def test_one_that_need_not_wait_is_a_function_call() -> None:
    """It has come to its end before the task waits for anything."""
    done = []

    async def work() -> None:
        done.append(True)

    assert run_to_first_wait(work()) is None
    assert done == [True]


async def test_one_that_waits_is_finished_in_its_task() -> None:
    """Waits, time-outs, context and results are as they are under ``await``, and others run meanwhile."""
    order = []
    ready = trio.Event()

    async def work() -> None:
        _noted.set("mine")
        task = trio.lowlevel.current_task()
        await trio.lowlevel.checkpoint()
        await ready.wait()
        with trio.move_on_after(0.001) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert task is trio.lowlevel.current_task()
        order.append(_noted.get())

    async with trio.open_nursery() as nursery:
        coroutine = work()
        trap = run_to_first_wait(coroutine)
        assert trap is not None
        nursery.start_soon(trio.lowlevel.checkpoint)
        ready.set()
        await finish(coroutine, trap)
        order.append("after")
    assert order == ["mine", "after"]


async def test_errors_and_cancellation_reach_the_caller() -> None:
    """What the coroutine raises is raised; where the task is cancelled, the coroutine is."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("late")

    coroutine = fail()
    trap = run_to_first_wait(coroutine)
    with pytest.raises(ValueError, match="late"):
        await finish(coroutine, trap)
    ended = []

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    with trio.CancelScope() as scope:
        scope.cancel()
        coroutine = wait()
        await finish(coroutine, run_to_first_wait(coroutine))
    assert ended == [True]


def test_a_task_that_is_dropped_closes_it() -> None:
    """Who stops in the middle of ``finish`` leaves nothing half done behind."""
    ended = []

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async def rest() -> None:
        coroutine = wait()
        await finish(coroutine, run_to_first_wait(coroutine))

    async def main() -> None:
        dropped = rest()
        dropped.send(None)
        dropped.close()
        assert ended == [True]

    trio.run(main)
