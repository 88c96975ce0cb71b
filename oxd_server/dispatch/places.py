"""How many commands are run at once, and whose: nobody's take all the places. Pure."""

from collections import Counter
from collections.abc import Collection

__all__ = ["Places"]


class Places:
    """Places for ``most`` commands; one owner, a site or an OP host, has half of them at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._taken_by: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many commands are being run."""
        return self._taken

    def take(self) -> bool:
        """Take a place that is nobody's yet; False if there is none."""
        if self._taken >= self._most:
            return False
        self._taken += 1
        return True

    def count_for(self, owners: Collection[str]) -> bool:
        """Count a place that was taken for its owners; False, and nothing is counted, if one of them has its share."""
        if any(2 * self._taken_by[owner] >= self._most for owner in owners):
            return False
        self._taken_by.update(owners)
        return True

    def give_back(self, owners: Collection[str]) -> None:
        """Give back a place that counts for these owners."""
        self._taken -= 1
        for owner in owners:
            self._taken_by[owner] -= 1
            if not self._taken_by[owner]:
                del self._taken_by[owner]
