"""The logouts that OPs have sent, and what is known of them later.

The store keeps one beside the tokens that its site was issued, under what the logout token named: there it expires,
every worker and every node finds it, and a busy site forgets its oldest ones.
"""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from oxd_server.op.errors import IdTokenCheck, LogoutTokenError, OpError
from oxd_server.op.logout_token import LogoutToken
from oxd_server.op.reach import is_loopback
from oxd_server.rp.issued import token_hash
from oxd_server.rp.services import Services
from oxd_server.store.base import Kept, KeptLogout, Site

__all__ = ["NamedSession", "is_loopback_url", "keep_logout", "logged_out_at", "tell_application"]

_DAYS_KEPT: Final = 30
_SECONDS_KEPT: Final = _DAYS_KEPT * 24 * 3600.0
_SESSION: Final = "session"
_USER: Final = "user"
_WHOLE_USER: Final = "whole user"
"""What a logout is kept under: a session; a user, one of whose sessions has ended; a user, all of whose have."""


class NamedSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that somebody asks about: what is not known of it is None; ``since`` in seconds since 1970."""

    session_id: str | None = None
    subject: str | None = None
    since: float = 0.0

    @property
    def names(self) -> tuple[tuple[str, str, float], ...]:
        """What to look under, and from when on what is found there counts.

        Of a user whose session is known, only the end of all sessions tells of that one. A session's own end counts
        whenever it was: no session begins again.
        """
        found: list[tuple[str, str, float]] = []
        if self.session_id is not None:
            found.append((_SESSION, self.session_id, 0.0))
        if self.subject is not None:
            found.append((_USER if self.session_id is None else _WHOLE_USER, self.subject, self.since))
        return tuple(found)


async def keep_logout(services: Services, site: Site, logout: LogoutToken) -> None:
    """Remember a logout, and wake those who wait for it.

    Raises ``LogoutTokenError`` for a token that came before, here or at another worker or node, and ``StoreError``.
    """
    now = services.now()
    spent = token_hash(f"logout token of {site.oxd_id}", logout.token_id)
    if not await services.logins.use_once(spent, logout.good_until):
        raise LogoutTokenError(IdTokenCheck.USED, "a new jti", "one that came before")
    ended = KeptLogout(oxd_id=site.oxd_id, logged_out_at=int(logout.issued_at))
    kept = [
        Kept(hash=_hash(site.oxd_id, kind, name), what=ended, expires_at=now + _SECONDS_KEPT)
        for kind, name in _named_by(logout)
    ]
    await services.store.change_session(site.oxd_id, lambda session: session, keep=kept, now=now)
    services.under_way.logout_waits.ring(site.oxd_id)


def _named_by(logout: LogoutToken) -> list[tuple[str, str]]:
    named = []
    if logout.session_id is not None:
        named.append((_SESSION, logout.session_id))
    if logout.subject is not None:
        named.append((_USER, logout.subject))
        # Back-Channel Logout 1.0, section 2.4: "If a sid Claim is not present, the intent is that all sessions at the
        # RP for the End-User identified by the iss and sub Claims be logged out."
        if logout.session_id is None:
            named.append((_WHOLE_USER, logout.subject))
    return named


async def logged_out_at(services: Services, site: Site, session: NamedSession) -> int | None:
    """Return when the OP says that the session ended, in seconds since 1970; None if it has not said so."""
    for kind, name, since in session.names:
        kept = await services.store.kept(_hash(site.oxd_id, kind, name), services.now(), KeptLogout)
        if kept is not None and kept.logged_out_at >= since:
            return kept.logged_out_at
    return None


def _hash(oxd_id: str, kind: str, name: str) -> bytes:
    return token_hash(f"logout of {kind} {oxd_id}", name)


def is_loopback_url(url: str) -> bool:
    """Return whether this is an http URL that leads to this machine, by its very name or address."""
    try:
        parts = urlsplit(url)
        named = parts.scheme == "http" and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False
    return named and is_loopback(parts.hostname or "")


async def tell_application(services: Services, site: Site, issuer: str, logout: LogoutToken) -> None:
    """Call the application's own URL, if it has named one; a failure is logged only, for the logout is kept."""
    url = site.logout_notification_uri
    if url is None or not is_loopback_url(url):  # an import may have brought any
        return
    told = {"oxd_id": site.oxd_id, "iss": issuer, "sid": logout.session_id, "sub": logout.subject}
    form = {name: value for name, value in told.items() if value is not None}
    try:
        answer = await services.to_applications.send("POST", url, step="logout notification", form=form)
        answer.expect(200, 202, 204)
    except OpError as error:
        services.log.warning("logout_not_told", oxd_id=site.oxd_id, reason=str(error))
