"""A dictionary with a bound, for everything that the sandbox remembers."""

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Table"]

Value = TypeVar("Value")
FOREVER = float("inf")


class Table(Generic[Value]):
    """A dictionary whose entries expire and whose size is bounded: when full, the oldest entry goes."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._entries: dict[str, tuple[float, Value]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> list[Value]:
        """What is kept and has not expired."""
        now = self._now()
        return [value for expires_at, value in self._entries.values() if now < expires_at]

    def put(self, key: str, value: Value, lifetime: float = FOREVER) -> None:
        """Keep `value` for `lifetime` seconds."""
        self._entries.pop(key, None)
        if len(self._entries) >= self._limit:
            self._make_room()
        self._entries[key] = (self._now() + lifetime, value)

    def get(self, key: str | None) -> Value | None:
        """The value, or None if there is none or it has expired."""
        if key is None or (entry := self._entries.get(key)) is None:
            return None
        expires_at, value = entry
        return value if self._now() < expires_at else None

    def pop(self, key: str) -> Value | None:
        """Remove and return the value; None if there is none or it has expired."""
        value = self.get(key)
        self._entries.pop(key, None)
        return value

    def _make_room(self) -> None:
        now = self._now()
        expired = [key for key, (expires_at, _) in self._entries.items() if expires_at <= now]
        for key in expired or [next(iter(self._entries))]:
            del self._entries[key]
