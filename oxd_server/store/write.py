"""A write on its way to a store file, together with others: see the theory of operation in `file`."""

import sqlite3
from collections.abc import Callable
from typing import Generic, TypeVar

from oxd_server.store import database
from oxd_server.store.base import StoreError

__all__ = ["Apply", "Write"]

T = TypeVar("T")
Apply = Callable[[sqlite3.Connection], T]
"""What it does to the database."""


class Write(Generic[T]):
    """A write on its way: what it does to the database, and what became of it."""

    def __init__(self, apply: Apply[T], publish: Callable[[T], None]) -> None:
        self._apply = apply
        self._publish = publish
        self._result: T | None = None
        self._error: Exception | None = None
        self.done = False

    def run(self, connection: sqlite3.Connection) -> None:
        """Apply it within a transaction. An error of its own stays with it; one of the database is raised."""
        try:
            self._result = database.in_savepoint(connection, self._apply)
        except sqlite3.Error:
            raise
        except Exception as error:  # whatever the change function raises belongs to its caller
            self._error = error

    def fail(self, error: StoreError) -> None:
        """After a transaction that failed: this is what became of it."""
        self._error = error

    def settle(self) -> None:
        """After the transaction: make the result known."""
        self.done = True
        if self._error is None:
            self._publish(self._result)  # type: ignore[arg-type]

    def outcome(self) -> T:
        """What the change came to. Raises what it raised, and `StoreError`."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]
