"""A number in shared memory that whoever commits to a store file replaces before the commit is acknowledged.

So all processes on the file can tell, for the price of a comparison, whether what they have read may be outdated.

The number is random. To count would need a lock: of two that count at the same time, one is lost, and later the other's
number comes a second time. A number that is new each time cannot be mistaken for one that was seen before, in whatever
order it is written.

It lies in a small file beside the store's. Everybody who uses it holds a shared lock on it, which ends with its
process. Who leaves as the last one removes the file.
"""

import fcntl
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["CommitMark", "mark_path"]

_BYTES: Final = 8


def mark_path(store: Path) -> Path:
    """Where the mark of the store in this file lies."""
    return store.with_name(f"{store.name}-mark")


class CommitMark:
    """The mark of one store, made if it is not there. Opening and closing it may block. Raises `OSError`."""

    def __init__(self, store: Path) -> None:
        self._path = mark_path(store)
        self._file = _open_where_it_lies(self._path)
        if os.fstat(self._file).st_size < _BYTES:
            os.ftruncate(self._file, _BYTES)
        self._map = mmap.mmap(self._file, _BYTES)
        self.numbers = memoryview(self._map).cast("Q")
        """The only one is another one after every commit. It is written and read in one piece."""

    def renew(self) -> None:
        """Say that there was a commit."""
        self.numbers[0] = int.from_bytes(os.urandom(_BYTES), "big")

    def close(self) -> None:
        """Leave it; the last one removes it. May be called again."""
        if self._map.closed:
            return
        self.numbers.release()
        self._map.close()
        with suppress(OSError):  # others use it
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _lies_there(self._file, self._path):
                os.unlink(self._path)
        os.close(self._file)


def _open_where_it_lies(path: Path) -> int:
    """Open and lock the file. Who left as the last one may have removed it meanwhile: then it is made afresh."""
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(number, fcntl.LOCK_SH)
        if _lies_there(number, path):
            return number
        os.close(number)


def _lies_there(number: int, path: Path) -> bool:
    """Whether the open file is the one at the path: it may have been removed or replaced."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False
