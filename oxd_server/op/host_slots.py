"""How much of the server one OP may take up: so many requests to its host at a time, twice as many that wait.

Without it, the commands for one OP that hangs would fill the connection pool and hold up the sites of every other OP.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from .errors import OpBusy

_WAITING_FOR_ONE = 2


class HostSlots:
    """A row of slots per host, kept only as long as somebody holds one or waits for one."""

    def __init__(self, per_host: int) -> None:
        """`per_host` requests run at a time and twice as many wait; whoever comes then is sent away at once."""
        self._per_host = per_host
        self._limiters: dict[str, trio.CapacityLimiter] = {}

    def __len__(self) -> int:
        return len(self._limiters)

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Hold a slot of the host inside the block, waiting for one if need be.

        Raises:
            OpBusy: as many wait as may.
        """
        limiter = self._limiters.setdefault(host, trio.CapacityLimiter(self._per_host))
        if limiter.statistics().tasks_waiting >= _WAITING_FOR_ONE * self._per_host:
            raise OpBusy(f"{host} has as many requests under way and waiting as one host may")
        try:
            async with limiter:
                yield
        finally:
            # The limiter may have been dropped and made anew while we were being cancelled.
            if not _is_used(limiter) and self._limiters.get(host) is limiter:
                del self._limiters[host]


def _is_used(limiter: trio.CapacityLimiter) -> bool:
    statistics = limiter.statistics()
    return bool(statistics.borrowed_tokens or statistics.tasks_waiting)
