"""What handlers are handed: everything they may use, built once by ``app``."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from oxd_server.config import Config, DefaultSite
from oxd_server.log.known import note_secrets
from oxd_server.op.client_auth import ClientCredentials, secret_expires_within
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.key_store import KeyStore
from oxd_server.op.transport import Transport
from oxd_server.op.uma_discovery import UmaMetadata
from oxd_server.rp.access import Access
from oxd_server.rp.certificates import ClientCertificates
from oxd_server.rp.logins import Logins
from oxd_server.rp.site_as_client import as_registered, credentials_of, metadata_of, uses_certificate
from oxd_server.rp.under_way import UnderWay
from oxd_server.store.base import Site, SiteNotFound, Store
from oxd_server.sync.memo import Memo

__all__ = ["Services"]

_WARN_SECONDS = 24 * 3600.0
_MOST_SHOWN = 500
_MOST_CLIENTS = 500


class Services(msgspec.Struct, frozen=True):
    """``now`` gives seconds since 1970, ``random`` that many random bytes, ``access`` how commands come in.

    ``to_applications`` calls URLs that applications on this machine have named; OPs are called by ``op``.
    ``shown_sites`` holds what the socket's ``get_rp`` answers: it fits into a frame. ``clients`` holds what those of
    the sites authenticate with, ``templates`` what the default site alone makes of a new one.
    """

    config: Config
    default_site: DefaultSite
    store: Store
    op: OpContext
    to_applications: Transport
    logins: Logins
    keys: KeyStore | None
    now: Callable[[], float]
    random: Callable[[int], bytes]
    certificates: ClientCertificates = msgspec.field(default_factory=ClientCertificates)
    access: Access = msgspec.field(default_factory=Access)
    under_way: UnderWay = msgspec.field(default_factory=UnderWay)
    shown_sites: Memo[Any] = msgspec.field(default_factory=lambda: Memo(_MOST_SHOWN))
    templates: Memo[Site] = msgspec.field(default_factory=Memo)
    clients: Memo[ClientCredentials] = msgspec.field(default_factory=lambda: Memo(_MOST_CLIENTS))
    log: Any = msgspec.field(default_factory=lambda: structlog.get_logger("oxd_server.handlers"))

    @property
    def key_store(self) -> KeyStore | None:
        """The private keys as they are now: they come and go in rotations."""
        return None if self.keys is None else self.keys.at(self.now())

    def public_jwks(self) -> dict[str, Any]:
        """Return the JWK Set of the public keys, for OPs; it is empty without a key store."""
        own: Any = [] if self.key_store is None else self.key_store.public_jwks()["keys"]
        shown = self.certificates.for_all
        return {"keys": own if shown is None else [*own, shown.jwk]}

    async def site(self, oxd_id: str) -> Site:
        """Return the site. Raises ``SiteNotFound``."""
        site = self.site_at_hand(oxd_id)
        if site is not None:
            return site
        site = await self.store.get(oxd_id)
        if site is None:
            raise SiteNotFound(oxd_id)
        note_secrets(site)
        return site

    def site_at_hand(self, oxd_id: str) -> Site | None:
        """Return what ``site`` returns, if that need not wait; None: it has to."""
        site = self.store.cached(oxd_id)
        if site is not None:
            note_secrets(site)
        return site

    def credentials_of(self, site: Site) -> ClientCredentials:
        """Return what the site's client authenticates with; warn when its secret is about to expire."""
        keys, identity = self.key_store, self.certificates.of(site)
        # Where there are keys, they are made anew each time: keys come and go.
        credentials = self.clients.get(
            site.oxd_id, (site, keys, identity), lambda: credentials_of(site, keys, identity)
        )
        if secret_expires_within(credentials, self.now(), _WARN_SECONDS):
            self.log.warning(
                "client_secret_expires",
                message="The client secret expires soon or has expired; renew it with update_site or register again.",
                oxd_id=site.oxd_id,
                client_id=site.client_id,
                expires_at=site.client_secret_expires_at // 1000,
            )
        return credentials

    def identity_of(self, site: Site) -> ClientIdentity | None:
        """Return what the site's client shows in TLS; None if it shows nothing."""
        return self.certificates.of(site) if uses_certificate(as_registered(site)) else None

    def asked_of(self, site: Site, metadata: ProviderMetadata) -> dict[str, Any]:
        """Return what the site's OP is asked to register, keys and certificate included."""
        identity = self.certificates.of(site)
        required = metadata.require_signed_request_object
        asked = metadata_of(site, self.key_store, identity, requests_are_signed=bool(required))
        # RFC 7591, section 2: a server "MUST ignore any client metadata sent by the client that it does not
        # understand". Keycloak refuses this one. Who knows it says so in its own metadata.
        if required is None:
            asked.pop("require_signed_request_object", None)
        return asked

    async def metadata_of(self, site: Site) -> ProviderMetadata:
        """Return the metadata of the site's OP. Raises ``OpError`` when it cannot be had."""
        return self.metadata_at_hand(site) or await self.op.discovery.get(site.op_host, site.op_discovery_path)

    def metadata_at_hand(self, site: Site) -> ProviderMetadata | None:
        """Return what ``metadata_of`` returns, if that need not wait; None: it has to."""
        return self.op.discovery.cached(site.op_host, site.op_discovery_path)

    async def uma_metadata_of(self, site: Site) -> UmaMetadata:
        """Return the metadata of the site's authorization server. Raises ``OpError`` when it cannot be had."""
        return await self.op.uma_discovery.get(site.op_host, site.op_discovery_path)
