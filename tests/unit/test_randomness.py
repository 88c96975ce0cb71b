"""Random bytes: as many as asked for, and no piece twice."""

from __future__ import annotations

import pytest

from oxd_server.randomness import RandomBytes


@pytest.mark.parametrize("count", [0, 1, 16, 4096, 4097, 100_000])
def test_as_many_as_asked_for(count: int) -> None:
    """Whatever is left of what the system gave, the count is right."""
    random = RandomBytes()
    assert [len(random(size)) for size in (count, 3, count)] == [count, 3, count]


def test_no_piece_is_handed_out_twice() -> None:
    """Ten thousand pieces, of two sources, are all different."""
    sources = RandomBytes(), RandomBytes()
    assert len({source(16) for source in sources for _ in range(5000)}) == 10_000
