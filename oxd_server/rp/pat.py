"""The protection API access token (PAT) of a site.

It is kept until it expires. One task at a time renews it when the authorization server (AS) does not take it any more.

Specification: Federated Authorization for UMA 2.0, sections 1.3 and 1.5.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from msgspec.structs import replace

from oxd_server.op.errors import MalformedToken, OpErrorResponse
from oxd_server.op.uma import Pat, request_pat
from oxd_server.op.uma_discovery import UmaMetadata
from oxd_server.rp.services import Services
from oxd_server.store.base import Site, SiteNotFound, SiteSession

__all__ = ["ProtectionApi"]

_REFUSED: Final = (400, 401, 403)
"""What servers answer to a PAT that they do not know any more."""
_MILLISECONDS: Final = 1000

T = TypeVar("T")


class ProtectionApi:
    """The AS's protection API for one site, as long as one command uses it: it renews the PAT once."""

    def __init__(self, services: Services, site: Site, metadata: UmaMetadata) -> None:
        self._services = services
        self._site = site
        self._metadata = metadata
        self._pat: str | None = None
        self._renewed = False

    async def call(self, request: Callable[[str], Awaitable[T]]) -> T:
        """Make a request with the PAT; once more with a new one if the AS refuses, as it does before it acts.

        Raises `OpError`: no PAT can be had, or what the request raised.
        """
        if self._pat is None:
            self._pat = await self._get(stale=None)
        try:
            return await request(self._pat)
        except OpErrorResponse as error:
            if self._renewed or error.status not in _REFUSED:
                raise
        except MalformedToken:  # one that came with imported data
            if self._renewed:
                raise
        self._renewed = True
        self._pat = await self._get(stale=self._pat)
        return await request(self._pat)

    async def _get(self, *, stale: str | None) -> str:
        """The kept PAT, or a new one if that has expired or is `stale`; who needs one at the same time shares it."""
        kept = _usable_pat(await self._services.store.session(self._site.oxd_id), self._services.now(), stale)
        if kept is not None:
            return kept
        return await self._services.under_way.pats.run(self._site.oxd_id, lambda: self._renew(stale))

    async def _renew(self, stale: str | None) -> str:
        async with self._services.under_way.site_locks.hold(f"pat {self._site.oxd_id}"):
            return await self._renew_alone(stale)

    async def _renew_alone(self, stale: str | None) -> str:
        services, oxd_id = self._services, self._site.oxd_id
        # Another task or another node may have renewed it between the look that led here and now.
        kept = _usable_pat(await services.store.session(oxd_id), services.now(), stale)
        if kept is not None:
            return kept
        token = await request_pat(services.op, self._metadata, services.credentials_of(self._site))
        now = services.now()
        # A site that was removed meanwhile keeps no PAT; what this command registered for it is still taken back.
        with suppress(SiteNotFound):
            await services.store.change_session(oxd_id, lambda session: _with_pat(session, token, now))
        return token.access_token


def _usable_pat(session: SiteSession, now: float, stale: str | None) -> str | None:
    """The kept PAT unless it is `stale` or has expired; without a known lifetime it is good until it is refused."""
    if session.pat is None or session.pat == stale:
        return None
    expires_at = session.pat_created_at / _MILLISECONDS + session.pat_expires_in
    return session.pat if not session.pat_expires_in or now < expires_at else None


def _with_pat(session: SiteSession, token: Pat, now: float) -> SiteSession:
    return replace(
        session,
        pat=token.access_token,
        pat_expires_in=token.expires_in,
        pat_created_at=int(now * _MILLISECONDS),
        pat_refresh_token=None,  # RFC 6749, section 4.4.3: there is none in this grant; the client just asks again
    )
