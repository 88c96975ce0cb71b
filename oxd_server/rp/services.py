"""What handlers are handed: everything they may use, built once by ``app``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from oxd_protocol.errors import CommandError
from oxd_server.config import Config, DefaultSite
from oxd_server.log.known import note_secrets
from oxd_server.op.client_auth import ClientCredentials, secret_expires_within
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, normalize_op_host
from oxd_server.op.errors import OpError
from oxd_server.op.key_store import KeyStore
from oxd_server.op.tokens import TokenAnswer
from oxd_server.op.uma_discovery import UmaMetadata
from oxd_server.rp.login_state import KEY_BYTES, KEY_NAME, LoginState, Purpose, States
from oxd_server.rp.site_as_client import credentials_of
from oxd_server.store.base import ClockSetBack, Site, Sites, Store
from oxd_server.sync.locks import KeyedLocks
from oxd_server.sync.memo import TextMemo
from oxd_server.sync.single_flight import SingleFlight

__all__ = ["DefaultSiteHolder", "Refresh", "Services", "SetupClient"]

_WARN_SECONDS = 24 * 3600.0
_MAX_WAITING_FOR_PAT = 1000
"""Every request to an application asks for a decision, so that many wait when its PAT has expired."""


@dataclass(slots=True)
class DefaultSiteHolder:
    """The default site configuration in force; a reload replaces it as a whole."""

    current: DefaultSite


@dataclass(frozen=True, slots=True)
class Refresh:
    """What became of one use of a refresh token, for everybody who wanted it at the same time."""

    scope: str | None
    outcome: TokenAnswer | OpError


@dataclass(frozen=True, slots=True)
class SetupClient:
    """A client whose tokens protect commands, and the site (``oxd_id``) whose client can ask its OP about them."""

    oxd_id: str
    client_id: str
    op_host: str
    op_discovery_path: str | None = None

    def protects(self, site: Site) -> bool:
        """Return whether the site is this client's: a client_id means something at its own OP only."""
        op = (site.op_host, site.op_discovery_path)
        return site.setup_client_id == self.client_id and op == (self.op_host, self.op_discovery_path)


@dataclass(frozen=True, slots=True)
class Services:
    """``now`` gives seconds since 1970, ``random`` that many random bytes.

    ``setup_client`` is the one whose token admitted the command that is being handled, None where commands are open.
    """

    config: Config
    default_site: DefaultSiteHolder
    store: Store
    op: OpContext
    states: States
    key_store: KeyStore | None
    now: Callable[[], float]
    random: Callable[[int], bytes]
    setup_client: SetupClient | None = None
    site_locks: KeyedLocks = field(default_factory=KeyedLocks)
    refreshes: SingleFlight[tuple[str, str], Refresh] = field(default_factory=SingleFlight)
    pats: SingleFlight[str, str] = field(default_factory=lambda: SingleFlight(max_waiting=_MAX_WAITING_FOR_PAT))
    login_urls: TextMemo = field(default_factory=TextMemo)
    log: Any = field(default_factory=lambda: structlog.get_logger("oxd_server.handlers"))

    async def site(self, oxd_id: str) -> Site:
        """Return the site. Raises ``CommandError`` invalid_oxd_id if there is none."""
        site = await self.store.get(oxd_id)
        if site is None:
            raise CommandError("invalid_oxd_id")
        note_secrets(site)
        return site

    async def open_state(self, state: str, oxd_id: str, purpose: Purpose = Purpose.LOGIN) -> LoginState | None:
        """Return what was issued with ``state``, None if it was not issued for this site or has expired."""
        opened = self.states.open(state, oxd_id, self.now(), purpose)
        if opened is not None:
            note_secrets(opened)
            return opened
        key = await self.store.secret(KEY_NAME, partial(self.random, KEY_BYTES))
        if self.states.uses(key):
            return None
        self.states.use_key(key)  # another process on the same store has replaced it
        return self.states.open(state, oxd_id, self.now(), purpose)

    async def spend_state(self, login: LoginState) -> bool:
        """Use up a state; False if it was used before.

        After the clock was set back nobody may be able to tell. Then all the states that are under way end, so that no
        used one is good again: those users start their login once more.
        """
        try:
            return await self.store.spend(login.used_token, login.expires_at, self.now())
        except ClockSetBack:
            self.log.warning("The clock was set back. Every login that is under way has to start again.")
            self.states.use_key(await self.store.renew_secret(KEY_NAME, partial(self.random, KEY_BYTES), self.now()))
            return False

    def credentials_of(self, site: Site) -> ClientCredentials:
        """Return what the site's client authenticates with; warn when its secret is about to expire."""
        credentials = credentials_of(site, self.key_store)
        if secret_expires_within(credentials, self.now(), _WARN_SECONDS):
            self.log.warning(
                "The client secret expires soon or has expired; renew it with update_site or register again.",
                oxd_id=site.oxd_id,
                client_id=site.client_id,
                expires_at=site.client_secret_expires_at // 1000,
            )
        return credentials

    async def setup_clients(self, op_host: str | None, op_discovery_path: str | None) -> Sites:
        """Return the setup clients at the OP that ``register_site`` would use for these params.

        Raises ``CommandError`` invalid_op_host where no op_host is known, and ``OpError`` for one that is none.
        """
        default = self.default_site.current
        host, path = op_host or default.op_host, op_discovery_path or default.op_discovery_path
        if host is None:
            raise CommandError(
                "invalid_op_host", "'op_host' is missing, in the command and in the default site configuration."
            )
        known = await self.store.setup_clients(normalize_op_host(host))
        return [site for site in known if site.op_discovery_path == path]

    async def metadata_of(self, site: Site) -> ProviderMetadata:
        """Return the metadata of the site's OP. Raises ``OpError`` when it cannot be had."""
        discovery, host, path = self.op.discovery, site.op_host, site.op_discovery_path
        return discovery.cached(host, path) or await discovery.get(host, path)

    async def uma_metadata_of(self, site: Site) -> UmaMetadata:
        """Return the metadata of the site's authorization server. Raises ``OpError`` when it cannot be had."""
        return await self.op.uma_discovery.get(site.op_host, site.op_discovery_path)
