"""Whether the server can do its work just now: for those who decide whether to send it any."""

from collections.abc import Callable
from typing import Final

import trio

from oxd_server.store.base import ClockSetBack, Store, StoreError

__all__ = ["Readiness"]

_BELIEVED_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 5.0
_PROBE_LIFETIME: Final = 3600.0
_TOKEN_BYTES: Final = 16


class Readiness:
    """Looks whether the store is there and takes writes; once in a while, however many ask.

    ``now`` gives seconds since 1970, ``random`` that many random bytes. What was found holds for ``believed`` seconds.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        believed: float = _BELIEVED_SECONDS,
    ) -> None:
        self._store = store
        self._now = now
        self._random = random
        self._believed = believed
        self._looking = trio.Lock()
        self._believed_until = -1.0
        self._problem: str | None = None
        self.draining = False
        """Whether the server is being stopped: it takes nothing new."""

    async def problem(self) -> str | None:
        """Return why the server should be sent nothing, None if it is ready."""
        if self.draining:
            return "the server is being stopped"
        async with self._looking:
            if trio.current_time() >= self._believed_until:
                self._problem = await self._look()
                self._believed_until = trio.current_time() + self._believed
            return self._problem

    async def _look(self) -> str | None:
        token, now = self._random(_TOKEN_BYTES), self._now()
        with trio.move_on_after(_PROBE_SECONDS):
            try:
                # A write that is taken back: whatever cannot be written shows, such as a full disk.
                await self._store.spend(token, now + _PROBE_LIFETIME, now)
                await self._store.unspend(token)
            except ClockSetBack:
                return None  # the next login sees to it
            except StoreError as error:
                return f"the store takes no writes: {error}"
            return None
        return f"the store did not answer within {_PROBE_SECONDS:g} seconds"
