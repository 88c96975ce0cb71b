"""The states that are under way: issued, opened when they come back, and consumed once.

The key that seals them is among the store's secrets, so that they survive a restart and every worker knows it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from oxd_server.rp.login_state import KEY_BYTES, KEY_NAME, IssuedState, LoginState, Purpose, States
from oxd_server.store.base import ClockSetBack, Store
from oxd_server.sync.memo import Memo

__all__ = ["LoginRequests", "Logins", "open_logins"]

_LONGEST_KEPT: Final = 2000


class LoginRequests(msgspec.Struct, frozen=True):
    """What the authorization requests of a site have in common.

    ``url`` lacks only what each login has of its own; None: each request has to be prepared. ``pkce`` and
    ``signed_response`` are those of the states.
    """

    url: str | None
    pkce: bool
    signed_response: bool

    def is_short(self) -> bool:
        """Return whether it takes up little room."""
        return self.url is None or len(self.url) <= _LONGEST_KEPT


class Logins:
    """States, and the store that remembers which were consumed.

    Args:
        states: Issues and opens states under the key in force.
        store: Keeps the key, and the consumed states until they expire.
        now: Gives seconds since 1970.
        random: Gives that many random bytes.

    ``requests`` holds, for each site, what its authorization requests have in common.
    """

    def __init__(
        self, states: States, store: Store, now: Callable[[], float], random: Callable[[int], bytes], log: Any = None
    ) -> None:
        self._states = states
        self._store = store
        self._now = now
        self._random = random
        self._log = log or structlog.get_logger("oxd_server.handlers")
        self.requests = Memo[LoginRequests](keeps=LoginRequests.is_short)

    def issue(
        self, oxd_id: str, *, pkce: bool, signed_response: bool = False, purpose: Purpose = Purpose.LOGIN
    ) -> IssuedState:
        """Return a new state for this site."""
        return self._states.issue(oxd_id, self._now(), pkce=pkce, signed_response=signed_response, purpose=purpose)

    async def open(self, state: str, oxd_id: str, purpose: Purpose = Purpose.LOGIN) -> LoginState | None:
        """Return what was issued with ``state``, None if it was not issued for this site or has expired."""
        opened = self._states.open(state, oxd_id, self._now(), purpose)
        if opened is not None:
            return opened
        key = await self._store.secret(KEY_NAME, partial(self._random, KEY_BYTES))
        if self._states.uses(key):
            return None
        self._states.use_key(key)  # another process on the same store has replaced it
        return self._states.open(state, oxd_id, self._now(), purpose)

    def issued(self, state: str, oxd_id: str, purpose: Purpose = Purpose.LOGIN) -> bool:
        """Return whether ``state`` was issued here for this site, however long ago."""
        return self._states.issued(state, oxd_id, purpose)

    async def consume(self, login: LoginState) -> bool:
        """Use up a state; False if it was used before."""
        return await self.use_once(login.used_token, login.expires_at)

    async def use_once(self, token: bytes, expires_at: float) -> bool:
        """Use up a single-use value, which is worth nothing after ``expires_at``; False if it was used before.

        After the clock was set back nobody may be able to tell. Then all the states that are under way end, so that no
        used one is good again: those users start their login once more.
        """
        try:
            return await self._store.spend(token, expires_at, self._now())
        except ClockSetBack:
            self._log.warning("clock_set_back", message="Every login that is under way has to start again.")
            key = await self._store.renew_secret(KEY_NAME, partial(self._random, KEY_BYTES), self._now())
            self._states.use_key(key)
            return False

    async def give_back(self, login: LoginState) -> None:
        """Make a consumed state good again: the OP gave nothing for it."""
        await self._store.unspend(login.used_token)


async def open_logins(
    store: Store, lifetime: float, now: Callable[[], float], random: Callable[[int], bytes]
) -> Logins:
    """Return the logins of this store, with a new key if it has none. ``lifetime`` of a state is in seconds."""
    key = await store.secret(KEY_NAME, partial(random, KEY_BYTES))
    return Logins(States(key, lifetime, random), store, now, random)
