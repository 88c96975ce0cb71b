"""Threads for what would hold up the event loop, a bounded number of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import trio

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """At most ``most`` threads at a time; whoever comes when all are taken waits for one.

    ``trio.CapacityLimiter`` sends everybody through the event loop once, also those who need not wait. Where there is a
    command for every thread that turn costs as much as the handing over.
    """

    def __init__(self, most: int) -> None:
        self._limiter = trio.CapacityLimiter(most)

    async def run(self, function: Callable[..., T], *arguments: Any, abandon_on_cancel: bool = False) -> T:
        """Return what the function returns. Once its thread has begun, only ``abandon_on_cancel`` cuts it short."""
        return await trio.to_thread.run_sync(
            function,
            *arguments,
            abandon_on_cancel=abandon_on_cancel,
            limiter=self,  # type: ignore[arg-type]  # "anything providing compatible" methods will do, as trio says
        )

    async def acquire_on_behalf_of(self, borrower: Any) -> None:
        """Take a place for trio, at once if one is free."""
        try:
            self._limiter.acquire_on_behalf_of_nowait(borrower)
        except trio.WouldBlock:
            await self._limiter.acquire_on_behalf_of(borrower)

    def release_on_behalf_of(self, borrower: Any) -> None:
        """Give the place back."""
        self._limiter.release_on_behalf_of(borrower)
