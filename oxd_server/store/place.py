"""Where a store's files lie, and whether they still lie there.

SQLite goes on reading and writing files that were deleted or replaced under it. What is written then is lost when the
server stops.
"""

import os
from pathlib import Path
from typing import Final

from oxd_server.store.base import StoreUnavailable
from oxd_server.store.commit_mark import mark_path

__all__ = ["Place"]

_LOOK_INTERVAL: Final = 0.1

_Identity = tuple[int, int] | None


class Place:
    """The files of a store that was opened just now: the database, and beside it the write-ahead log and the mark."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._paths = (str(path), f"{path}-wal", str(mark_path(path)))
        self._opened = self._files()
        self.believed_until = 0.0

    def check(self) -> None:
        """Raise ``StoreUnavailable`` if the files are not those that were opened."""
        if self._files() != self._opened:
            raise StoreUnavailable(f"{self._path} was deleted or replaced under the server; restart the server")

    def look(self, now: float) -> None:
        """As ``check``, for what is read from memory: to be called once in a tenth of a second, at ``believed_until``.

        ``now`` is in seconds of any clock.
        """
        self.check()
        self.believed_until = now + _LOOK_INTERVAL

    def _files(self) -> tuple[_Identity, ...]:
        return tuple(map(_identity, self._paths))


def _identity(path: str) -> _Identity:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
