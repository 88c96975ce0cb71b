"""States that a caller names, and logins with a nonce or a redirect URI of the caller's: these have to be remembered.

A login that is like all others is sealed in its state. Of any other one the site's session keeps a hash of the state
that the OP sends back, beside a sealed state of ours: that one expires and is consumed once, as all are.
"""

import hashlib
from typing import Final

from msgspec.structs import replace

from oxd_server.op.base64url import encode_base64url
from oxd_server.rp.login_state import LoginState, Purpose
from oxd_server.rp.services import Services
from oxd_server.store.base import NamedState, Site, SiteSession

__all__ = ["open_state", "remember_state"]

MAX_NAMED: Final = 200
"""How many are remembered for a site; beyond that the oldest ones are forgotten."""


def _hash(state: str) -> str:
    return encode_base64url(hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest())


async def remember_state(
    services: Services,
    site: Site,
    state: str,
    sealed: str,
    *,
    nonce: str | None = None,
    redirect_uri: str | None = None,
) -> None:
    """Remember what ``state`` stands for: the sealed state, and the caller's nonce and redirect URI."""
    named = NamedState(hash=_hash(state), sealed=sealed, nonce=nonce, redirect_uri=redirect_uri)

    def change(session: SiteSession) -> SiteSession:
        others = tuple(one for one in session.named_states if one.hash != named.hash)
        return replace(session, named_states=(*others[-MAX_NAMED + 1 :], named))

    await services.store.change_session(site.oxd_id, change)


async def open_state(services: Services, site: Site, state: str, purpose: Purpose = Purpose.LOGIN) -> LoginState | None:
    """Return what belongs to a state that came back; None if there is none, or it has expired."""
    session = await services.store.session(site.oxd_id)
    wanted = _hash(state)
    named = next((one for one in session.named_states if one.hash == wanted), None)
    if named is None:
        return await services.logins.open(state, site.oxd_id, purpose)
    login = await services.logins.open(named.sealed, site.oxd_id, purpose)
    if login is None:
        return None
    return replace(login, nonce=named.nonce or login.nonce, redirect_uri=named.redirect_uri)
