"""Locks by key: of the tasks of one process, and of several processes on one store."""

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from oxd_server.sync.busy import TooBusy

__all__ = ["KeyedLocks", "ProcessLocks"]

_POLL_SECONDS: Final = 0.005
_MAX_OFFSET: Final = 1 << 62


class KeyedLocks:
    """A lock per key, kept only as long as somebody holds it or waits for it."""

    def __init__(self, max_waiting: int = 100) -> None:
        self._max_waiting = max_waiting
        self._locks: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the key's lock inside the block. Raises ``TooBusy`` if as many wait for it as may."""
        lock = self._locks.setdefault(key, trio.Lock())
        if lock.statistics().tasks_waiting >= self._max_waiting:
            raise TooBusy("too many commands wait to change the same site", "commands that wait for one site")
        try:
            async with lock:
                yield
        finally:
            # If somebody waited, the lock would be theirs by now. If it is the key's no more, it was dropped and made
            # anew while we were being cancelled.
            if not lock.locked() and self._locks.get(key) is lock:
                del self._locks[key]

    async def share(self, key: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what ``work`` returns, done under the key's lock.

        Locks of several nodes hand whoever waited what the holder's work returned.
        """
        async with self.hold(key):
            return await work()


class ProcessLocks(KeyedLocks):
    """Locks that hold for every process that locks in the file at ``path``, which is made if need be.

    A key is one byte of the file, locked with fcntl: such a lock belongs to the process and ends with it, however it
    ends. Within the process, the task's own lock comes first.
    """

    def __init__(self, path: Path, max_waiting: int = 100) -> None:
        super().__init__(max_waiting)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file; every lock of this process ends."""
        os.close(self._file)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the key's lock inside the block, against the tasks of all processes."""
        offset = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % _MAX_OFFSET
        async with super().hold(key):
            while not self._try(offset):  # noqa: ASYNC110 - another process cannot set an event here
                await trio.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, offset)

    def _try(self, offset: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except BlockingIOError:
            return False
        return True
