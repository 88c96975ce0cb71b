"""How much room things that expire take, in all and each owner's."""

from collections import Counter, deque
from typing import Final

from oxd_server.sync.busy import TooBusy

__all__ = ["Room"]

_ENTRY_BYTES: Final = 500


class Room:
    """Counts bytes until what takes them expires. `for_each` is what one owner may have, `in_all` all together."""

    def __init__(self, for_each: int, in_all: int) -> None:
        self._for_each = for_each
        self._in_all = in_all
        self._taken: deque[tuple[float, str, int]] = deque()
        self._of: Counter[str] = Counter()
        self._total = 0

    def take(self, owner: str, size: int, now: float, lifetime: float) -> None:
        """Count `size` bytes for `lifetime` seconds, the same for all; `now` in seconds. Raises `TooBusy`."""
        while self._taken and self._taken[0][0] <= now:
            self._give_back(*self._taken.popleft())
        size += _ENTRY_BYTES
        if self._of[owner] + size > self._for_each or self._total + size > self._in_all:
            raise TooBusy("there is no room for more until some of it has expired", "room for request objects")
        self._taken.append((now + lifetime, owner, size))
        self._of[owner] += size
        self._total += size

    def _give_back(self, _expired_at: float, owner: str, size: int) -> None:
        self._total -= size
        self._of[owner] -= size
        if not self._of[owner]:
            del self._of[owner]
