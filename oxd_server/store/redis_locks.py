"""Locks for all nodes on one Redis: each has an owner and a term, is renewed, and is fenced.

The owner renews the lock while it works. If it cannot, it stops before the term ends. Should it be late all the same,
as after a pause of the whole machine, nothing that it writes is taken: each script that writes for the holder of a lock
looks first whether the holder still owns it.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Final

import trio

from oxd_server.store import redis_scripts as scripts
from oxd_server.store.base import StoreError, StoreUnavailable
from oxd_server.store.redis_link import RedisLink
from oxd_server.sync.locks import KeyedLocks

__all__ = ["NO_LOCK", "RedisLocks", "held_lock"]

NO_LOCK: Final = (b"", b"")
_held: ContextVar[tuple[bytes, bytes]] = ContextVar("held", default=NO_LOCK)
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1
_SHARED_MILLISECONDS: Final = 5000  # longer than the longest pause of one who waits


def held_lock() -> tuple[bytes, bytes]:
    """The lock that this task holds, and its owner."""
    return _held.get()


class RedisLocks(KeyedLocks):
    """Locks that hold for every node. Within the process, the task's own lock comes first."""

    def __init__(self, link: RedisLink, nursery: trio.Nursery, *, term: float = 10.0, max_waiting: int = 100) -> None:
        """A lock that nobody renews is free after a `term` of seconds; the `nursery` renews those that are held."""
        super().__init__(max_waiting)
        self._link = link
        self._nursery = nursery
        self._term = term

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the key's lock inside the block. Raises `TooBusy`; `StoreError` if it cannot be had or is lost."""
        async with self._own(key):
            yield

    async def share(self, key: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what `work` returns, or what it just returned to another node that we waited for."""
        left_at = self._link.settings.base + b"left:" + key.encode()
        async with self._own(key) as waited:
            left: bytes | None = await self._link.read(b"GET", left_at) if waited else None
            if left is not None:
                return left
            made = await work()
            with suppress(StoreError):  # it is done, and must be told, even if the others cannot be
                await self._link.run_script(scripts.LEAVE, *held_lock(), made, _SHARED_MILLISECONDS)
            return made

    @asynccontextmanager
    async def _own(self, key: str) -> AsyncIterator[bool]:
        """Hold the key's lock; give whether another node had it first."""
        async with super().hold(key):
            lock = key.encode(), secrets.token_hex(16).encode()
            until, waited = await self._take(lock)
            token = _held.set(lock)
            scope, renewing = trio.CancelScope(), trio.CancelScope()
            self._nursery.start_soon(self._renew, lock, until, scope, renewing)
            try:
                with scope:
                    yield waited
                if scope.cancelled_caught:
                    raise StoreUnavailable("the lock of this change could not be renewed, so the change was given up")
            finally:
                _held.reset(token)
                renewing.cancel()
                with trio.CancelScope(shield=True), suppress(StoreError):
                    await self._link.run_script(scripts.UNLOCK, *lock)

    async def _take(self, lock: tuple[bytes, bytes]) -> tuple[float, bool]:
        """Wait for the lock; until when it is ours, on the clock of trio, and whether another node had it."""
        pause = _FIRST_PAUSE
        while True:
            asked = trio.current_time()
            if (await self._link.run_script(scripts.LOCK, *NO_LOCK, *lock, self._milliseconds))[0] == b"ok":
                return asked + self._term, pause > _FIRST_PAUSE
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    @property
    def _milliseconds(self) -> int:
        return int(1000 * self._term)

    async def _renew(
        self, lock: tuple[bytes, bytes], until: float, scope: trio.CancelScope, renewing: trio.CancelScope
    ) -> None:
        """Renew the lock three times in its term; stop the holder when the term ends, or when another one owns it."""
        with renewing:
            while trio.current_time() < until:
                await trio.sleep(self._term / 3)
                asked = trio.current_time()
                with suppress(StoreError), trio.move_on_at(until):
                    if (await self._link.run_script(scripts.RENEW_LOCK, *lock, self._milliseconds))[0] == b"lost":
                        break
                    until = asked + self._term
            scope.cancel()
