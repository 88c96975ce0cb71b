"""What signals ask of a server: to read its configuration again, to make room for a successor, to end."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import trio

__all__ = ["HANDLED", "Reactions", "until_ended", "while_connected"]

HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_LOOK_SECONDS: Final = 0.1

Reactions = Mapping[signal.Signals, Callable[[], Awaitable[None]]]
"""What is done for a signal that ends nothing."""


async def until_ended(
    signals: AsyncIterator[int],
    reactions: Reactions,
    upgrade: Callable[[], Awaitable[bool]],
) -> signal.Signals:
    """React to signals until the server has to end, and return which one ends it: SIGUSR2 when a successor serves.

    SIGUSR2 runs ``upgrade`` in the background; True says that a successor serves. One upgrade runs at a time. If the
    server is asked to stop meanwhile, the upgrade is cancelled.
    """
    ending, upgrading = signal.SIGUSR2, False

    async def run_upgrade() -> None:
        nonlocal upgrading
        if await upgrade():
            nursery.cancel_scope.cancel()
        upgrading = False

    async with trio.open_nursery() as nursery:
        async for number in signals:
            received = signal.Signals(number)
            if received in reactions:
                await reactions[received]()
            elif received != signal.SIGUSR2:
                ending = received
                break
            elif not upgrading:
                upgrading = True
                nursery.start_soon(run_upgrade)
        nursery.cancel_scope.cancel()
    return ending


async def while_connected(connected: Callable[[], bool], signals: AsyncIterator[int], seconds: float) -> None:
    """Wait until nobody is ``connected``, a signal asks to stop, or so much time is over."""
    with trio.move_on_after(seconds) as time_is_over:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_alone, connected, time_is_over)
            async for number in signals:
                if number in (signal.SIGTERM, signal.SIGINT):
                    nursery.cancel_scope.cancel()


async def _cancel_when_alone(connected: Callable[[], bool], waiting: trio.CancelScope) -> None:
    while connected():  # noqa: ASYNC110 - an event would cost every connection
        await trio.sleep(_LOOK_SECONDS)
    waiting.cancel()
