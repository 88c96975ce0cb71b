"""The parts of a server, made from its configuration."""

import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.request import getproxies_environment

import msgspec
import structlog
import trio
from msgspec.structs import replace

from oxd_protocol.site import DIALECTS
from oxd_server.config import Config, ConfigError, DefaultSite
from oxd_server.dispatch.disk_shares import DiskShares
from oxd_server.dispatch.dispatcher import Dispatcher
from oxd_server.dispatch.guard import Entrance, Guard
from oxd_server.dispatch.routes import ROUTES
from oxd_server.dispatch.shares import Registrations
from oxd_server.entrances.tcp_peer import ListenerLimits
from oxd_server.observe.sight import Sight
from oxd_server.op.client_identity import ClientIdentity, load_client_identity
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import WELL_KNOWN, discovery_url
from oxd_server.op.errors import InvalidOpHost, KeyFileError
from oxd_server.op.key_store import KeyStore
from oxd_server.op.private_keys import load_private_keys
from oxd_server.op.proxy import DIRECT, Proxies, make_proxies
from oxd_server.op.settings import SettingsOf, settings_of
from oxd_server.op.tls import make_ssl_context
from oxd_server.op.transport import Transport, TransportSettings
from oxd_server.process.figures import raise_open_files
from oxd_server.rp.certificates import ClientCertificates
from oxd_server.rp.logins import Logins, open_logins
from oxd_server.rp.refreshes import Refreshes
from oxd_server.rp.services import Services
from oxd_server.rp.under_way import UnderWay
from oxd_server.store import Store
from oxd_server.sync.locks import KeyedLocks, ProcessLocks
from oxd_server.sync.waits import Waits

__all__ = [
    "Edition",
    "Lasting",
    "listener_limits",
    "load_certificates",
    "load_keys",
    "make_edition",
    "make_room",
    "open_op_context",
    "open_site_locks",
    "proxies_of",
    "to_applications",
]

_CERTIFICATES: Final = (".pem", ".p12", ".pfx")
_SECONDS_PER_MINUTE: Final = 60
_WRITE_TIMEOUT: Final = 30.0
_SHARE_THAT_WAITS: Final = 4  # of the commands in flight; the others must not be kept from their places
_REQUESTS_IN_TIME: Final = 4
_LOOK_SECONDS: Final = 0.1
_THREADS: Final = 40
_OTHER_FILES: Final = 64  # the store, the log, the listeners, name resolution


def make_room(config: Config) -> None:
    """Allow for threads and open files as the configuration needs them; say so where the system does not."""
    # A host name that does not resolve occupies a thread until the resolver gives up, longer than anybody waits for it:
    # those of one OP must not use up the threads that look up the others.
    trio.to_thread.current_default_thread_limiter().total_tokens = max(_THREADS, config.max_commands_in_flight)
    allowed = raise_open_files()
    connections = config.max_connections + (config.https.max_connections if config.https.enabled else 0)
    wanted = connections + config.max_commands_in_flight + _OTHER_FILES
    if allowed < wanted:
        structlog.get_logger("oxd_server").warning(
            "too_few_open_files",
            message="max_connections cannot be reached: raise the limit of open files (ulimit -n, LimitNOFILE).",
            allowed=allowed,
            wanted=wanted,
        )


@contextmanager
def open_site_locks(config: Config, store: Store) -> Iterator[KeyedLocks]:
    """Locks of all processes on the same store: workers, and the process before or after this one in an upgrade."""
    if config.storage != "file":
        yield KeyedLocks() if store.locks is None else store.locks
        return
    with closing(ProcessLocks(config.store_path.with_name(config.store_path.name + ".lock"))) as locks:
        yield locks


@asynccontextmanager
async def open_op_context(config: Config, now: Callable[[], float], sight: Sight) -> AsyncIterator[OpContext]:
    """What is needed to talk to OPs; its connections are closed at the end of the block.

    ``sight`` is told of each request.

    Raises ``KeyFileError`` for a trust store that cannot be used, ``ConfigError`` for an OP that is none.
    """
    context = await trio.to_thread.run_sync(_ssl_context, config)
    settings_of_ops = _settings_of_ops(config)
    settings = TransportSettings(
        ssl_context=context,
        connect_timeout=config.op_connect_timeout_in_seconds,
        read_timeout=config.op_read_timeout_in_seconds,
        total_timeout=config.op_total_timeout_in_seconds,
        max_response_bytes=config.op_max_response_bytes,
        max_requests_per_host=config.op_max_requests_per_host,
        allowed_op_hosts=frozenset(config.allowed_op_hosts),
        plain_http_hosts=frozenset(config.allow_http_op_hosts),
        proxies=proxies_of(config),
    )
    async with Transport(settings, observe=sight.see_op_request, begin=sight.begin_op_request) as transport:
        yield OpContext.over(
            transport,
            clock=now,
            discovery_lifetime=config.discovery_cache_expiration_in_minutes * _SECONDS_PER_MINUTE,
            key_set_lifetime=config.public_op_key_cache_expiration_in_minutes * _SECONDS_PER_MINUTE,
            settings=settings_of_ops,
        )


def to_applications() -> Transport:
    """Return what calls applications on this machine, without TLS: briefly, and whichever OPs are allowed."""
    settings = TransportSettings(
        ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nobody
        connect_timeout=1.0,
        read_timeout=3.0,
        total_timeout=3.0,
        max_response_bytes=10_000,
        max_requests_per_host=20,
    )
    return Transport(settings)


def proxies_of(config: Config) -> Proxies:
    """Return the proxies that lead to OPs. Raises ``ConfigError`` for one that is none."""
    keys = config.op_proxy
    if keys.url is None and keys.user is not None:
        raise ConfigError("op_proxy.user is set without op_proxy.url, the proxy that it is for")
    if keys.user is None and keys.password is not None:
        raise ConfigError("op_proxy.password is set without op_proxy.user")
    try:
        return make_proxies(
            None if keys.url in (None, DIRECT) else keys.url,
            None if keys.user is None else (keys.user, keys.password or ""),
            keys.hosts,
            keys.no_proxy,
            getproxies_environment() if keys.from_environment else {},
        )
    except ValueError as error:
        raise ConfigError(f"op_proxy: {error}") from None


def _settings_of_ops(config: Config) -> SettingsOf:
    def url_of(op: str) -> str:
        try:
            return discovery_url(op).removesuffix(WELL_KNOWN)
        except InvalidOpHost as error:
            raise ConfigError(f"op_settings, op_issuers and op_exceptions name OPs by URL: {op!r}: {error}") from None

    return settings_of(config.op_settings, config.op_issuers, config.op_exceptions, url_of)


async def load_certificates(config: Config) -> ClientCertificates:
    """Read the certificates that sites show in TLS, if there are any. Raises ``KeyFileError``."""
    return await trio.to_thread.run_sync(_load_certificates, config)


def _load_certificates(config: Config) -> ClientCertificates:
    path, folder = config.mtls_client_key_store_path, config.mtls_client_key_stores_path
    try:
        files = [] if folder is None else [file for file in sorted(folder.iterdir()) if file.suffix in _CERTIFICATES]
    except OSError as error:
        raise KeyFileError(f"{folder}: {error.strerror}") from error
    return ClientCertificates(
        None if path is None else _load_certificate(config, path),
        {file.stem: _load_certificate(config, file) for file in files},
    )


def _load_certificate(config: Config, path: Path) -> ClientIdentity:
    return load_client_identity(path, config.mtls_client_key_store_password, _ssl_context(config))


def _ssl_context(config: Config) -> ssl.SSLContext:
    return make_ssl_context(config.trust_store_path, config.trust_store_password, trust_all=config.trust_all_certs)


async def load_keys(config: Config) -> KeyStore | None:
    """Read the private keys that clients authenticate with, if there are any. Raises ``KeyFileError``."""
    return await trio.to_thread.run_sync(
        load_private_keys,
        config.crypt_provider_key_store_path,
        config.crypt_provider_key_store_password,
        config.crypt_provider_pkcs11_uris,
        config.crypt_provider_pkcs11_pin,
    )


async def _open_logins(config: Config, store: Store, now: Callable[[], float]) -> Logins:
    # A nonce lives as long as the state that it is derived from, so the shorter of the two settings counts.
    minutes = min(config.state_expiration_in_minutes, config.nonce_expiration_in_minutes)
    return await open_logins(store, minutes * _SECONDS_PER_MINUTE, now, os.urandom)


class Lasting(msgspec.Struct, frozen=True):
    """What is there before the first edition, and outlives every one."""

    store: Store
    site_locks: KeyedLocks
    registrations: Registrations
    sight: Sight
    to_applications: Transport
    now: Callable[[], float]


class Edition(msgspec.Struct, frozen=True):
    """Everything that is made from one reading of the configuration. A command ends in the one that it began in."""

    services: Services
    dispatcher: Dispatcher
    opened: AsyncExitStack

    @property
    def config(self) -> Config:
        """The configuration that it was made from."""
        return self.services.config

    async def retire(self) -> None:
        """Close what it talks to OPs with, when the last of its commands has ended."""
        try:
            while self.dispatcher.in_flight:  # noqa: ASYNC110 - an event would cost every command
                await trio.sleep(_LOOK_SECONDS)
        finally:
            with trio.CancelScope(shield=True):
                await self.opened.aclose()


async def make_edition(
    config: Config, default_site: DefaultSite, lasting: Lasting, before: Edition | None = None
) -> Edition:
    """Make all that commands need of this configuration; what commands share in memory is that of the edition before.

    Raises ``ConfigError``, ``KeyFileError`` or ``StoreError`` for what cannot be made; then nothing is left open.
    """
    store = lasting.store
    async with AsyncExitStack() as opened:
        op = await opened.enter_async_context(open_op_context(config, lasting.now, lasting.sight))
        logins, keys = await _open_logins(config, store, lasting.now), await load_keys(config)
        certificates = await load_certificates(config)
        if before is None:
            services = Services(
                config=config,
                default_site=default_site,
                store=store,
                op=op,
                to_applications=lasting.to_applications,
                logins=logins,
                keys=keys,
                certificates=certificates,
                now=lasting.now,
                random=os.urandom,
                under_way=UnderWay(
                    site_locks=lasting.site_locks,
                    refreshes=Refreshes(store.locks),
                    logout_waits=Waits(max(2, config.max_commands_in_flight // _SHARE_THAT_WAITS)),
                ),
            )
        else:
            services = replace(
                before.services,
                config=config,
                default_site=default_site,
                op=op,
                logins=logins,
                keys=keys,
                certificates=certificates,
            )
        return Edition(services, _make_dispatcher(services, lasting), opened.pop_all())


def _make_dispatcher(services: Services, lasting: Lasting) -> Dispatcher:
    config = services.config
    guard = Guard(
        services,
        config.protect_commands_with_access_token,
        config.https_commands_without_token,
        own_clients=config.https.dialect in DIALECTS,
        listed=config.protect_commands_with_oxd_id,
    )
    return Dispatcher(
        {entrance: replace(services, access=guard.access(entrance)) for entrance in Entrance},
        ROUTES,
        guard,
        max_in_flight=config.max_commands_in_flight,
        time_out=config.time_out_in_seconds or None,
        longest=_REQUESTS_IN_TIME * config.op_total_timeout_in_seconds,
        registrations=lasting.registrations,
        disk_shares=DiskShares(config.max_sites_without_token),
        calls=lasting.sight.calls,
    )


def listener_limits(config: Config) -> ListenerLimits:
    """Return what one connection of the socket may use."""
    return ListenerLimits(
        max_connections=config.max_connections,
        max_request_bytes=config.max_request_bytes,
        frame_timeout=config.frame_timeout_in_seconds or None,
        idle_timeout=config.idle_timeout_in_seconds or None,
        write_timeout=config.frame_timeout_in_seconds or _WRITE_TIMEOUT,
    )
