"""The values that a store has read, and the rule by which one that was overtaken by a write is not kept."""

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["ValueCache"]

_STRIPES = 1024

T = TypeVar("T")


class ValueCache(Generic[T]):
    """The most recently used values, at most `size`.

    A value read from the store may be older than a write that was committed and published while it was on
    its way. `stamp` is taken before reading; `fill` forgets what was read if a write has come in between. Stamps are
    kept for groups of keys, so that they stay few; `clear` counts as a write to every key.
    """

    def __init__(self, size: int) -> None:
        """Keep `size` values at most."""
        self._size = size
        self._values: OrderedDict[str, T] = OrderedDict()
        self._stamps = [0] * _STRIPES
        self._clearings = 0

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
        if stamp == self.stamp(key):
            self._values[key] = value
            if len(self._values) > self._size:
                self._values.popitem(last=False)

    def publish(self, key: str, value: T | None) -> None:
        """Take the outcome of a committed write; None: there is nothing any more."""
        self._stamps[hash(key) % _STRIPES] += 1
        if value is None:
            self._values.pop(key, None)
        else:
            self.fill(key, value, self.stamp(key))

    def clear(self) -> None:
        """Forget everything: it may have changed."""
        self._clearings += 1
        self._values.clear()
