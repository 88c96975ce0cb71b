"""Whether anybody has committed to a store file: see the theory of operation in `file`."""

import sqlite3
import threading
from collections.abc import Callable

from oxd_server.store.commit_mark import CommitMark

__all__ = ["Seen", "Watch", "data_version"]

Seen = tuple[int, int | None]
"""The commit mark, and SQLite's own number."""


class Watch:
    """Tells whether anybody has committed to the file: by the mark, and once in an `interval` of seconds by SQLite.

    SQLite looks at shared memory under locks. That costs many times as much as the rest of a look-up.

    Its connection has no busy timeout and writes nothing, so that it may be asked on the event loop. It cannot tell
    our own commits from those of others: `PRAGMA data_version` counts what other connections did, and our writer
    is one to it. That of the writer can, but only a worker thread may ask the writer.

    A thread may `look` at any time; all else is for the event loop.
    """

    def __init__(self, mark: CommitMark, connect: Callable[[], sqlite3.Connection], interval: float) -> None:
        self.mark = mark
        self._marks = mark.numbers
        self.connection = connect()
        self._asking = threading.Lock()  # two threads that ask at once would step through one statement
        self._interval = interval
        self._believed_until = 0.0
        self.accept(self.look())

    def changed(self, now: float) -> bool:
        """Whether there were commits since the last `accept`; True as well when that cannot be found out."""
        if self._marks[0] != self._seen_mark:
            return True
        if now < self._believed_until:
            return False
        version = self._version()
        if version is None or version != self._seen_version:
            return True
        self._believed_until = now + self._interval
        return False

    def look(self) -> Seen:
        """How the file is now, for `accept`: the mark first, which whoever commits replaces last."""
        return self._marks[0], self._version()

    def accept(self, seen: Seen) -> None:
        """Take the file for known as it was then."""
        self._seen_mark, self._seen_version = seen

    def _version(self) -> int | None:
        with self._asking:
            return data_version(self.connection)


def data_version(connection: sqlite3.Connection) -> int | None:
    """A number that changes when other connections commit; None if the file is locked or cannot be read."""
    try:
        return int(connection.execute("PRAGMA data_version").fetchone()[0])
    except sqlite3.Error:
        return None
