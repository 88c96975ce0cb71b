"""Importing a library without another one that it would take along where it finds it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["absent"]


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Have imports inside the block find no module of that name, as if it were not installed."""
    before = sys.modules.pop(name, None)
    sys.modules[name] = None  # type: ignore[assignment] # how the import system itself is told so
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
