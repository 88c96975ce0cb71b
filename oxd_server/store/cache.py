"""The values that a store has read, and the rule by which one that was overtaken by a write is not kept."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

import msgspec

__all__ = ["MAX_BYTES", "ValueCache"]

MAX_BYTES: Final = 64 * 1024 * 1024

_STRIPES = 1024
_ENTRY_BYTES: Final = 500
_BYTES_PER_LETTER: Final = 2

T = TypeVar("T")


class ValueCache(Generic[T]):
    """The most recently used values, at most `size`, and together at most `max_bytes`.

    A value read from the store may be older than a write that was committed and published while it was on
    its way. `stamp` is taken before reading; `fill` forgets what was read if a write has come in between. Stamps are
    kept for groups of keys, so that they stay few; `clear` counts as a write to every key.
    """

    def __init__(self, size: int, max_bytes: int = MAX_BYTES) -> None:
        """Keep `size` values at most, and no more than fit into so many bytes."""
        self._size = size
        self._max_bytes = max_bytes
        self._values: OrderedDict[str, T] = OrderedDict()
        self._sizes: dict[str, int] = {}  # apart, so that a look-up is only that
        self._stamps = [0] * _STRIPES
        self._clearings = 0
        self.bytes = 0
        """How much memory the values take up, as far as the length of their JSON tells."""

    def get(self, key: str) -> T | None:
        """Return the value, or None."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def stamp(self, key: str) -> int:
        """Return what `fill` compares."""
        return self._clearings + self._stamps[hash(key) % _STRIPES]  # both only grow

    def fill(self, key: str, value: T, stamp: int) -> None:
        """Keep what was read, unless the key was written since the stamp."""
        if stamp != self.stamp(key):
            return
        self._forget(key)
        self._values[key] = value
        self._sizes[key] = size = _held_bytes(value)
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._values) > self._size:
            self._forget(next(iter(self._values)))

    def publish(self, key: str, value: T | None) -> None:
        """Take the outcome of a committed write; None: there is nothing any more."""
        self._stamps[hash(key) % _STRIPES] += 1
        if value is None:
            self._forget(key)
        else:
            self.fill(key, value, self.stamp(key))

    def clear(self) -> None:
        """Forget everything: it may have changed."""
        self._clearings += 1
        self._values.clear()
        self._sizes.clear()
        self.bytes = 0

    def _forget(self, key: str) -> None:
        if self._values.pop(key, None) is not None:
            self.bytes -= self._sizes.pop(key)


def _held_bytes(value: object) -> int:
    """Guess: to look at each member would take a hundred times as long."""
    return _ENTRY_BYTES + _BYTES_PER_LETTER * len(msgspec.json.encode(value))
