"""Values that are made from something and made again only when that has changed."""

from collections.abc import Callable
from typing import Final

__all__ = ["TextMemo"]

_LONGEST_KEPT: Final = 2000


class TextMemo:
    """The last text made for each key, beside what it was made from. Bounded: `capacity` texts, none of them long."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._made: dict[str, tuple[object, str]] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: str, source: object, make: Callable[[], str]) -> str:
        """Return the text that `make` made from `source`, which is compared with `==`, or has it made."""
        kept = self._made.get(key)
        if kept is not None and kept[0] == source:
            return kept[1]
        text = make()
        if len(text) <= _LONGEST_KEPT:
            if len(self._made) >= self._capacity:
                self._made.clear()
            self._made[key] = (source, text)
        return text
