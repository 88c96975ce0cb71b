"""Room that things take until they expire."""

import pytest

from oxd_server.sync.busy import TooBusy
from oxd_server.sync.room import Room


def test_each_owner_and_all_have_a_bound() -> None:
    """One owner leaves room for others, all together have an end, and what has expired makes room again."""
    room = Room(for_each=2000, in_all=3500)
    room.take("a", 1000, now=0, lifetime=10)
    with pytest.raises(TooBusy):
        room.take("a", 1000, now=1, lifetime=10)
    room.take("b", 1000, now=5, lifetime=10)
    with pytest.raises(TooBusy):
        room.take("c", 1000, now=9, lifetime=10)
    room.take("a", 1000, now=10, lifetime=10)
    room.take("c", 1000, now=15, lifetime=10)
