"""Deadlines that are set, put off, forgotten and passed."""

import math

from hypothesis import given
from hypothesis import strategies as st

from oxd_server.entrances.deadlines import Deadlines


def test_without_deadlines() -> None:
    """None passes, ever."""
    deadlines = Deadlines()
    assert deadlines.earliest() == math.inf
    assert deadlines.pop_passed(1e9) == []


def test_one_that_was_put_off() -> None:
    """Its old time may be looked at, but nothing passes then."""
    deadlines = Deadlines()
    deadlines.set(1, 10.0)
    deadlines.set(1, 20.0)
    assert deadlines.earliest() <= 20.0
    assert deadlines.pop_passed(15.0) == []
    assert deadlines.earliest() == 20.0
    assert deadlines.pop_passed(20.0) == [1]
    assert deadlines.earliest() == math.inf


def test_the_heap_does_not_grow() -> None:
    """However often deadlines are moved to and fro, each key keeps a few entries."""
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set(number % 3, 1e6 - number)
        deadlines.set(number % 3, None)
    assert len(deadlines._heap) <= 7


_steps = st.lists(st.tuples(st.integers(0, 3), st.none() | st.floats(0, 20), st.floats(0, 2)), max_size=60)


@given(_steps)
def test_as_a_plain_table(steps: list[tuple[int, float | None, float]]) -> None:
    """Whatever is set when, exactly those pass whose last deadline has come, and no sleep is too long."""
    deadlines, plain, now = Deadlines(), dict[int, float](), 0.0
    for key, until, later in steps:
        deadlines.set(key, until)
        if until is None:
            plain.pop(key, None)
        else:
            plain[key] = until
        now += later
        passed = {key for key, until in plain.items() if until <= now}
        assert set(deadlines.pop_passed(now)) == passed
        for each in passed:
            del plain[each]
        assert deadlines.earliest() <= min(plain.values(), default=math.inf)
