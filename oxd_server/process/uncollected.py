"""What lives as long as the process, kept from Python's garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Have the collector leave alone what is made inside the block, now and later.

    While the server's modules are imported, it would look for garbage 60 times and find none, which took a fifteenth of
    a start. Each full collection of a running server would look at all of them again, for 15 ms.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
