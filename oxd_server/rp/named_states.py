"""States that a caller names, and logins with a nonce or a redirect URI of the caller's: these have to be remembered.

A login that is like all others is sealed in its state. Of any other one the site's session keeps a hash of the state
that the OP sends back, beside a sealed state of ours: that one expires and is consumed once, as all are.
"""

import hashlib
from typing import Final

from msgspec.structs import replace

from oxd_server.op.base64url import encode_base64url
from oxd_server.rp.busy import ServerBusy
from oxd_server.rp.login_state import LoginState, Purpose, expiry_of
from oxd_server.rp.services import Services
from oxd_server.store.base import NamedState, Site, SiteSession

__all__ = ["open_state", "remember_state"]

MAX_NAMED_BYTES: Final = 128 * 1024
"""How much a site's session keeps of them, some 1,000. None makes room for another before it has expired."""
_OVERHEAD: Final = 32
_NO_ROOM: Final = (
    "Too many logins with a state, nonce or redirect_uri of the caller's are under way at this site. Leave these out, "
    "or try again when some have expired (state_expiration_in_minutes)."
)


def _size(named: NamedState) -> int:
    texts = (named.hash, named.sealed, named.nonce or "", named.redirect_uri or "")
    return _OVERHEAD + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


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
    """Remember what ``state`` stands for: the sealed state, and the caller's nonce and redirect URI.

    Raises ``ServerBusy`` where the site has no room left: nobody's login is forgotten for another's.
    """
    named = NamedState(hash=_hash(state), sealed=sealed, nonce=nonce, redirect_uri=redirect_uri)

    def change(session: SiteSession) -> SiteSession:
        now = services.now()
        others = (one for one in session.named_states if one.hash != named.hash and expiry_of(one.sealed) > now)
        kept = (*others, named)
        if sum(map(_size, kept)) > MAX_NAMED_BYTES:
            raise ServerBusy("room for states that callers name", _NO_ROOM)
        return replace(session, named_states=kept)

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
