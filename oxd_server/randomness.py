"""Random bytes for secrets, from the operating system, a few thousand at a time."""

import os
from typing import Final

__all__ = ["RandomBytes"]

_POOL_BYTES: Final = 4096


class RandomBytes:
    """Call it for that many bytes of ``os.urandom``: each is handed out once. One system call serves many calls.

    Not for a process that forks and goes on: parent and child would hand out the same bytes.
    """

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def __call__(self, count: int) -> bytes:
        """Return ``count`` bytes that nobody can guess."""
        start, end = self._used, self._used + count
        if end > len(self._pool):
            self._pool = os.urandom(max(_POOL_BYTES, count))
            start, end = 0, count
        self._used = end
        return self._pool[start:end]
