"""Values that are made from something and made again only when that has changed."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, Generic, TypeVar

__all__ = ["Memo", "TextMemo", "remembered"]

_LONGEST_KEPT: Final = 2000

A = TypeVar("A", str, bytes)
T = TypeVar("T")


class Memo(Generic[T]):
    """The last value made for each key, beside what it was made from.

    Bounded: ``capacity`` values, each of a size that ``keeps`` says yes to.
    """

    def __init__(self, capacity: int = 1000, keeps: Callable[[T], bool] = lambda _: True) -> None:
        self._capacity = capacity
        self._keeps = keeps
        self._made: dict[str, tuple[object, T]] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: str, source: object, make: Callable[[], T]) -> T:
        """Return the value that `make` made from `source`, which is compared with `==`, or has it made."""
        kept = self._made.get(key)
        if kept is not None and kept[0] == source:
            return kept[1]
        value = make()
        if self._keeps(value):
            if len(self._made) >= self._capacity:
                self._made.clear()
            self._made[key] = (source, value)
        return value


class TextMemo(Memo[str]):
    """The last text made for each key, none of them long."""

    def __init__(self, capacity: int = 1000) -> None:
        super().__init__(capacity, lambda text: len(text) <= _LONGEST_KEPT)


def remembered(parse: Callable[[A], T], *, most: int = 1000, longest: int = 300) -> Callable[[A], T]:
    """Return `parse`, a function of its text alone, with a memory of what those meant.

    Bounded: the `most` that were met last, none of more than `longest` bytes or characters. What is raised is not
    remembered.
    """
    known = lru_cache(most)(parse)

    @wraps(parse)
    def remembering(text: A) -> T:
        return known(text) if len(text) <= longest else parse(text)

    return remembering
