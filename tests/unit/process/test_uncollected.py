"""What is made at the start is no business of the garbage collector."""

import gc

import pytest

from oxd_server.process.uncollected import uncollected


class Something:
    """The collector looks at it."""


def test_what_is_made_inside_is_not_looked_at() -> None:
    """The collector rests inside the block, and never sees what was made there; what comes later it does."""
    try:
        with uncollected():
            assert not gc.isenabled()
            early = Something()
        late = Something()
        assert gc.isenabled()
        seen = gc.get_objects()
        assert any(one is late for one in seen)
        assert not any(one is early for one in seen)
    finally:
        gc.unfreeze()


def test_the_collector_works_again_after_an_error() -> None:
    """An import that fails does not leave the process without a collector."""
    try:
        with pytest.raises(ModuleNotFoundError), uncollected():
            raise ModuleNotFoundError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
