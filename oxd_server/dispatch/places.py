"""How many commands are run at once, and whose: nobody's take all the places. Pure."""

from collections.abc import Collection
from typing import TypeAlias

__all__ = ["Owner", "Places"]

Owner: TypeAlias = str | tuple[str, ...]
"""A site, by its oxd_id; or, as a tuple, what no oxd_id can spell."""


class Places:
    """Places for ``most`` commands; one owner, a site or an OP host, has half of them at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._taken_by: dict[Owner, int] = {}

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

    def count_for(self, owners: Collection[Owner]) -> Owner | None:
        """Count a place that was taken for its owners. If one of them has its share, return it and count nothing."""
        taken_by = self._taken_by
        for owner in owners:
            if 2 * taken_by.get(owner, 0) >= self._most:
                return owner
        for owner in owners:
            taken_by[owner] = taken_by.get(owner, 0) + 1
        return None

    def give_back(self, owners: Collection[Owner]) -> None:
        """Give back a place that counts for these owners."""
        self._taken -= 1
        self.discount(owners)

    def discount(self, owners: Collection[Owner]) -> None:
        """Have a place count for these owners no more; it stays taken."""
        taken_by = self._taken_by
        for owner in owners:
            if taken_by[owner] > 1:
                taken_by[owner] -= 1
            else:
                del taken_by[owner]
