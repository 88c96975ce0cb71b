"""Signing where it does not hold up the event loop."""

from collections.abc import Callable
from typing import Final, TypeVar

from oxd_server.op.key_store import KeyStore
from oxd_server.sync.threads import Threads

__all__ = ["signed"]

_T = TypeVar("_T")

_AT_A_TIME: Final = Threads(4)
"""A token that hangs takes no other threads than these."""


async def signed(key_store: KeyStore | None, make: Callable[[], _T]) -> _T:
    """What `make` returns, which may sign with these keys.

    Those of a file sign at once. A token may take its time, so it signs in a thread; who is cancelled does not wait
    for it.
    """
    if key_store is None or not key_store.in_hsm:
        return make()
    return await _AT_A_TIME.run(make, abandon_on_cancel=True)
