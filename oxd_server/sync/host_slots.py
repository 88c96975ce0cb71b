"""How much of the server one OP may take up: so many requests to its host at a time, twice as many that wait.

Without it, the commands for one OP that hangs would fill the connection pool and hold up the sites of every other OP.
"""

from math import inf

import msgspec
import trio

from oxd_server.sync.busy import TooBusy

__all__ = ["HostSlots", "acquire"]

_WAITING_FOR_ONE = 2


class _Row(msgspec.Struct):
    """The slots of one host; `users` hold one or wait for one."""

    slots: trio.Semaphore
    users: int = 0


class HostSlots:
    """A row of slots per host, kept only as long as somebody holds one or waits for one."""

    def __init__(
        self, per_host: int, *, most_waiting: int | None = None, limit: str = "op_max_requests_per_host"
    ) -> None:
        """`per_host` requests run at a time and twice as many (or `most_waiting`) wait; who comes then is sent away.

        `limit` is what the log calls that.
        """
        self._limit = limit
        self._per_host = per_host
        self._most_users = per_host + (_WAITING_FOR_ONE * per_host if most_waiting is None else most_waiting)
        self._rows: dict[str, _Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def hold(self, host: str, until: float = inf) -> "_Hold":
        """Hold a slot of the host inside the `async with` block, waiting for one if need be, but not beyond `until`.

        Raises, at the start of the block:
            TooBusy: as many wait as may.
            trio.TooSlowError: there was none until then (by trio's clock).
        """
        return _Hold(self, host, until)

    async def _take(self, host: str, until: float) -> None:
        row = self._rows.get(host)
        if row is None:
            row = self._rows[host] = _Row(trio.Semaphore(self._per_host))
        if row.users >= self._most_users:
            raise TooBusy(f"{host} has as many requests under way and waiting as one host may", self._limit)
        row.users += 1
        try:
            await acquire(row.slots, until)
        except BaseException:
            self._leave(host, row)
            raise

    def _give_back(self, host: str) -> None:
        row = self._rows[host]
        row.slots.release()
        self._leave(host, row)

    def _leave(self, host: str, row: _Row) -> None:
        row.users -= 1
        if not row.users:
            del self._rows[host]


class _Hold(msgspec.Struct):
    """A slot that is held inside a block. `contextlib`'s way costs as much as the rest of what is done for a slot."""

    slots: HostSlots
    host: str
    until: float

    async def __aenter__(self) -> None:
        await self.slots._take(self.host, self.until)

    async def __aexit__(self, *_: object) -> None:
        self.slots._give_back(self.host)


async def acquire(slots: trio.Semaphore, until: float) -> None:
    """Take a slot, without a checkpoint or a time-out if one is free: the request that follows has plenty."""
    try:
        slots.acquire_nowait()
    except trio.WouldBlock:
        with trio.fail_at(until):
            await slots.acquire()
