"""The only place that builds things, and the root of every task.

``serve`` opens the store, the transport and the listeners, runs until a signal asks it to stop, and then lets the
commands in flight finish within a deadline.
"""

import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog
import trio

from oxd_protocol.site import DIALECTS
from oxd_server import __version__
from oxd_server.admin import WATCH_INTERVAL, import_folder, import_old_keys, import_once
from oxd_server.config import Config, ConfigError, load_default_site
from oxd_server.config.store_place import legacy_database, store_place
from oxd_server.dispatch.disk_shares import DiskShares
from oxd_server.dispatch.dispatcher import Dispatcher
from oxd_server.dispatch.guard import Entrance, Guard
from oxd_server.dispatch.routes import ROUTES, check_routes
from oxd_server.dispatch.shares import Registrations
from oxd_server.entrances.https import HttpsFront, make_certificate, open_https_front, open_https_listeners
from oxd_server.entrances.sockets import address_of, open_listeners
from oxd_server.entrances.tcp import CommandHandler, FrameListener, ListenerLimits
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import WELL_KNOWN, discovery_url
from oxd_server.op.errors import InvalidOpHost
from oxd_server.op.key_store import KeyStore, load_key_store
from oxd_server.op.settings import SettingsOf, settings_of
from oxd_server.op.tls import make_ssl_context
from oxd_server.op.transport import Transport, TransportSettings
from oxd_server.process.figures import raise_open_files, report_on_signal
from oxd_server.process.listen_fds import Inherited, listeners_of
from oxd_server.process.workers import Supervisor, stop_with_supervisor
from oxd_server.rp.default_site import DefaultSiteHolder
from oxd_server.rp.logins import Logins, open_logins
from oxd_server.rp.refreshes import Refreshes
from oxd_server.rp.services import Services
from oxd_server.rp.site_marks import SiteMarks
from oxd_server.store import Store, open_store
from oxd_server.store.file import FileStore
from oxd_server.sync.locks import KeyedLocks, ProcessLocks

__all__ = ["Running", "serve", "supervise"]

LISTENING: Final = "Start listening for notifications"
"""Init scripts of the old server wait for a log line with these words."""

NOTHING_INHERITED: Final = Inherited()
_SECONDS_PER_MINUTE: Final = 60
_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - asked for with localhost_only: false, and warned about
_WRITE_TIMEOUT: Final = 30.0
_THREADS: Final = 40
_REQUESTS_IN_TIME: Final = 4
_OTHER_FILES: Final = 64  # the store, the log, the listeners, name resolution


@dataclass(frozen=True, slots=True)
class Running:
    """What is told when the server listens: the addresses that were bound, of the socket and of the HTTPS front."""

    addresses: tuple[tuple[str, int], ...]
    https_addresses: tuple[tuple[str, int], ...] = ()


async def supervise(config: Config, config_path: Path | None, inherited: Inherited) -> None:
    """Run ``config.workers`` servers behind the same sockets until SIGTERM or SIGINT.

    ``inherited``: see ``serve``, which also says what is raised.
    """
    log = structlog.get_logger("oxd_server")
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
        listeners = _listeners(config, inherited)
        https_listeners: list[socket.socket] = []
        if config.https.enabled:
            await make_certificate(config)  # before the workers, so that they find the same one
            https_listeners = listeners_of(inherited.https_sockets) or open_https_listeners(config)
        async with open_store(store_place(config)):
            pass  # it is made, or found to be unusable, once and here
        supervisor = Supervisor(
            config_path,
            config.workers,
            command_sockets=tuple(listener.fileno() for listener in listeners),
            https_sockets=tuple(listener.fileno() for listener in https_listeners),
            shutdown_timeout=config.shutdown_timeout_in_seconds,
        )
        await supervisor.run(signals, partial(_announce, listeners, log))
    log.info("Stopped")


async def serve(
    config: Config,
    *,
    inherited: Inherited = NOTHING_INHERITED,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reloads the default site configuration, SIGUSR1 logs figures.

    ``inherited`` are sockets that systemd or a supervisor handed to this process; it opens those that it lacks. ``now``
    gives seconds since 1970.

    Raises ``ConfigError``, ``KeyFileError``, ``StoreError`` or ``OSError`` when it cannot start.
    """
    check_routes()
    log = structlog.get_logger("oxd_server")
    _make_room(config, log)
    default_site = load_default_site(config.default_site_path)
    for warning in (*config.warnings, *default_site.warnings):
        log.warning(warning)
    receiver = trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with receiver as signals, _open_locks(config) as locks:
        # Other workers' changes count from the next command on; those from the command line may take a moment.
        interval = WATCH_INTERVAL if config.workers == 1 else 0.0
        opened_store = open_store(store_place(config), watch_interval=interval)
        async with opened_store as store, _open_op_context(config, now) as op:
            await _migrate(config, store, log)
            services = Services(
                config=config,
                default_site=DefaultSiteHolder(default_site),
                store=store,
                op=op,
                logins=await _open_logins(config, store, now),
                key_store=await _load_key_store(config),
                now=now,
                random=os.urandom,
                site_locks=locks if store.locks is None else store.locks,
                refreshes=Refreshes(store.locks),
            )
            await _serve(services, signals, inherited, log, task_status)
    log.info("Stopped")


def _make_room(config: Config, log: structlog.stdlib.BoundLogger) -> None:
    """Allow for threads and open files as the configuration needs them; say so where the system does not."""
    # A host name that does not resolve occupies a thread until the resolver gives up, longer than anybody waits for it:
    # those of one OP must not use up the threads that look up the others.
    trio.to_thread.current_default_thread_limiter().total_tokens = max(_THREADS, config.max_commands_in_flight)
    allowed = raise_open_files()
    connections = config.max_connections + (config.https.max_connections if config.https.enabled else 0)
    wanted = connections + config.max_commands_in_flight + _OTHER_FILES
    if allowed < wanted:
        log.warning(
            "max_connections cannot be reached: raise the limit of open files (ulimit -n, LimitNOFILE).",
            allowed=allowed,
            wanted=wanted,
        )


@contextmanager
def _open_locks(config: Config) -> Iterator[KeyedLocks]:
    """Locks of this process, or of all workers on the same store."""
    if config.workers == 1 or config.storage == "redis":
        yield KeyedLocks()
        return
    with closing(ProcessLocks(config.store_path.with_name(config.store_path.name + ".lock"))) as locks:
        yield locks


async def _migrate(config: Config, store: Store, log: structlog.stdlib.BoundLogger) -> None:
    """Take over the sites of an old server's folder and database; those that are here already stay as they are."""
    if config.migration_source_folder_path is not None:
        done = await import_folder(store, config.migration_source_folder_path)
        folder = str(config.migration_source_folder_path)
        log.info("Sites were imported", folder=folder, added=done.added, known=len(done.known))
    database = await trio.to_thread.run_sync(legacy_database, config)
    if database is not None:
        imported = await import_once(store, database)
        if imported is not None:
            log.info(
                "The sites of the old server's database were imported; it is not read again.",
                database=str(database),
                added=imported.added,
                known=len(imported.known),
            )
    old_keys = await import_old_keys(store, config)
    if old_keys is not None:
        log.info(
            "The old server's sites in Redis were imported; its keys stay, and are not read again.",
            added=old_keys.added,
            known=len(old_keys.known),
        )


@asynccontextmanager
async def _open_op_context(config: Config, now: Callable[[], float]) -> AsyncIterator[OpContext]:
    context = await trio.to_thread.run_sync(
        partial(
            make_ssl_context,
            config.trust_store_path,
            config.trust_store_password,
            trust_all=config.trust_all_certs,
        )
    )
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
    )
    async with Transport(settings) as transport:
        yield OpContext.over(
            transport,
            clock=now,
            discovery_lifetime=config.discovery_cache_expiration_in_minutes * _SECONDS_PER_MINUTE,
            key_set_lifetime=config.public_op_key_cache_expiration_in_minutes * _SECONDS_PER_MINUTE,
            settings=settings_of_ops,
        )


def _settings_of_ops(config: Config) -> SettingsOf:
    def url_of(op: str) -> str:
        try:
            return discovery_url(op).removesuffix(WELL_KNOWN)
        except InvalidOpHost as error:
            raise ConfigError(f"op_settings, op_issuers and op_exceptions name OPs by URL: {op!r}: {error}") from None

    return settings_of(config.op_settings, config.op_issuers, config.op_exceptions, url_of)


async def _load_key_store(config: Config) -> KeyStore | None:
    path, password = config.crypt_provider_key_store_path, config.crypt_provider_key_store_password
    return None if path is None else await trio.to_thread.run_sync(load_key_store, path, password)


async def _open_logins(config: Config, store: Store, now: Callable[[], float]) -> Logins:
    # A nonce lives as long as the state that it is derived from, so the shorter of the two settings counts.
    minutes = min(config.state_expiration_in_minutes, config.nonce_expiration_in_minutes)
    return await open_logins(store, minutes * _SECONDS_PER_MINUTE, now, os.urandom)


async def _serve(
    services: Services,
    signals: AsyncIterator[int],
    inherited: Inherited,
    log: structlog.stdlib.BoundLogger,
    task_status: trio.TaskStatus[Running],
) -> None:
    config = services.config
    dispatcher = _make_dispatcher(services)
    listeners = _listeners(config, inherited)
    servers = [FrameListener(_entrance(dispatcher, listener), _limits(config)) for listener in listeners]
    front = await _open_front(services, dispatcher, inherited)
    stop_front = trio.Event()
    async with trio.open_nursery() as connections:
        if front is not None:
            await connections.start(front.serve, stop_front)
        async with trio.open_nursery() as accepting:
            for server, listener in zip(servers, listeners, strict=True):
                accepting.start_soon(server.accept, listener, connections)
            if isinstance(services.store, FileStore):
                accepting.start_soon(services.store.fold_when_idle)
            await accepting.start(report_on_signal, partial(_counts, services, dispatcher, servers))
            if inherited.lifeline is None:
                _announce(listeners, log)
            else:
                accepting.start_soon(stop_with_supervisor, inherited.lifeline)
            addresses = tuple(address_of(listener) for listener in listeners)
            task_status.started(Running(addresses, () if front is None else front.addresses))
            await _until_stopped(signals, services.default_site, config, log)
            accepting.cancel_scope.cancel()
        for server in servers:
            server.drain()
        stop_front.set()
        connections.cancel_scope.deadline = trio.current_time() + config.shutdown_timeout_in_seconds
    if connections.cancel_scope.cancelled_caught:
        log.warning("Some commands did not finish in time and were abandoned.")


def _listeners(config: Config, inherited: Inherited) -> list[socket.socket]:
    """The sockets for commands: those that were handed over, else those that the configuration asks for."""
    return listeners_of(inherited.command_sockets) or open_listeners(_addresses_to_bind(config), config.port)


async def _open_front(services: Services, dispatcher: Dispatcher, inherited: Inherited) -> HttpsFront | None:
    config = services.config
    if not config.https.enabled:
        return None
    listeners = listeners_of(inherited.https_sockets) or None
    handle, needs_token = partial(dispatcher.dispatch, Entrance.HTTPS), partial(dispatcher.needs_token, Entrance.HTTPS)
    return await open_https_front(config, handle, SiteMarks(services.store), listeners, needs_token=needs_token)


def _counts(services: Services, dispatcher: Dispatcher, servers: list[FrameListener]) -> dict[str, int]:
    op = services.op
    return {
        "connections": sum(server.connections for server in servers),
        "commands_in_flight": dispatcher.in_flight,
        "providers_known": len(op.discovery) + len(op.uma_discovery),
        "key_sets_known": len(op.key_sets),
        "sites_locked": len(services.site_locks),
    }


async def _until_stopped(
    signals: AsyncIterator[int], default_site: DefaultSiteHolder, config: Config, log: structlog.stdlib.BoundLogger
) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            log.info("Stopping", signal=signal.Signals(number).name)
            return
        try:
            default_site.current = await trio.to_thread.run_sync(load_default_site, config.default_site_path)
        except ConfigError as error:
            log.error("The default site configuration was not reloaded; the one before stays.", reason=str(error))
        else:
            log.info("The default site configuration was reloaded.", warnings=default_site.current.warnings)


def _make_dispatcher(services: Services) -> Dispatcher:
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
        registrations=Registrations(config.open_registrations_per_hour),
        disk_shares=DiskShares(config.max_sites_without_token),
    )


def _limits(config: Config) -> ListenerLimits:
    return ListenerLimits(
        max_connections=config.max_connections,
        max_request_bytes=config.max_request_bytes,
        frame_timeout=config.frame_timeout_in_seconds or None,
        idle_timeout=config.idle_timeout_in_seconds or None,
        write_timeout=config.frame_timeout_in_seconds or _WRITE_TIMEOUT,
    )


def _addresses_to_bind(config: Config) -> tuple[str, ...]:
    if config.bind_addresses:
        return config.bind_addresses
    return _LOOPBACK if config.localhost_only else _EVERYWHERE


def _entrance(dispatcher: Dispatcher, listener: socket.socket) -> CommandHandler:
    entrance = Entrance.LOOPBACK_SOCKET if _is_loopback(listener) else Entrance.EXPOSED_SOCKET
    return partial(dispatcher.dispatch, entrance)


def _is_loopback(listener: socket.socket) -> bool:
    return ip_address(address_of(listener)[0]).is_loopback


def _announce(listeners: list[socket.socket], log: structlog.stdlib.BoundLogger) -> None:
    exposed = [address_of(listener)[0] for listener in listeners if not _is_loopback(listener)]
    if exposed:
        log.warning(
            "The command socket can be reached from other machines: whoever reaches it can act as every site, unless "
            "commands are protected. It has no TLS, so tokens and client secrets cross the network in the clear. "
            "Prefer localhost_only: true.",
            addresses=exposed,
        )
    addresses = [address_of(listener)[0] for listener in listeners]
    log.info(LISTENING, version=__version__, port=address_of(listeners[0])[1], addresses=addresses)
