"""What signals ask of a server, in which order, and what becomes of an upgrade that is under way."""

import signal
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing

from oxd_server.process.signals import until_ended, while_connected

Send = Callable[[int], None]


@pytest.fixture
def pipe() -> tuple[Send, AsyncIterator[int]]:
    """A way to send signals, and where they arrive."""
    send, receive = trio.open_memory_channel[int](10)
    return send.send_nowait, receive


async def _refuse() -> bool:
    raise AssertionError("nobody asked for an upgrade")


async def test_the_signal_that_ends(pipe: tuple[Send, AsyncIterator[int]]) -> None:
    """Others are reacted to first, one after the other."""
    send, signals = pipe
    seen: list[str] = []

    async def reload() -> None:
        await trio.testing.wait_all_tasks_blocked()
        seen.append("reload")

    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGINT, signal.SIGHUP):
        send(number)
    assert await until_ended(signals, {signal.SIGHUP: reload}, _refuse) == signal.SIGINT
    assert seen == ["reload", "reload"]


async def test_an_upgrade_runs_once_at_a_time(pipe: tuple[Send, AsyncIterator[int]]) -> None:
    """While it runs, other signals are reacted to, and a second request is left out; one that fails may be repeated."""
    send, signals = pipe
    seen: list[str] = []
    outcomes = [False, True]
    go_on = [trio.Event(), trio.Event()]

    async def upgrade() -> bool:
        number = 2 - len(outcomes)
        seen.append(f"upgrade {number}")
        await go_on[number].wait()
        return outcomes.pop(0)

    async def reload() -> None:
        seen.append("reload")

    async with trio.open_nursery() as nursery:
        ended: list[int] = []

        async def run() -> None:
            ended.append(await until_ended(signals, {signal.SIGHUP: reload}, upgrade))

        nursery.start_soon(run)
        for number in (signal.SIGUSR2, signal.SIGUSR2, signal.SIGHUP):
            send(number)
            await trio.testing.wait_all_tasks_blocked()
        assert seen == ["upgrade 0", "reload"]
        go_on[0].set()
        await trio.testing.wait_all_tasks_blocked()
        send(signal.SIGUSR2)
        await trio.testing.wait_all_tasks_blocked()
        go_on[1].set()
    assert ended == [signal.SIGUSR2]
    assert seen == ["upgrade 0", "reload", "upgrade 1"]


async def test_a_stop_cancels_an_upgrade(pipe: tuple[Send, AsyncIterator[int]]) -> None:
    """Whoever asks to stop does not wait for a successor, nor leave one behind."""
    send, signals = pipe
    cancelled = False

    async def upgrade() -> bool:
        nonlocal cancelled
        try:
            await trio.Event().wait()
        except trio.Cancelled:
            cancelled = True
            raise
        return True

    send(signal.SIGUSR2)
    send(signal.SIGTERM)
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 20
        assert await until_ended(signals, {}, upgrade) == signal.SIGTERM
    assert cancelled


@pytest.mark.parametrize("reason", ["alone", "signal", "time"])
async def test_waiting_while_somebody_is_connected(
    pipe: tuple[Send, AsyncIterator[int]], reason: str, autojump_clock: trio.testing.MockClock
) -> None:
    """It ends with the last connection, with a signal to stop, or when the time is over; other signals mean nothing."""
    send, signals = pipe
    left = 3

    def connected() -> bool:
        nonlocal left
        left -= 1
        return left > 0 or reason != "alone"

    send(signal.SIGHUP)
    if reason == "signal":
        send(signal.SIGTERM)
    began = trio.current_time()
    await while_connected(connected, signals, 50)
    waited = trio.current_time() - began
    assert waited == pytest.approx({"alone": 0.2, "signal": 0, "time": 50}[reason])
