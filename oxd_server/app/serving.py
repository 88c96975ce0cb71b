"""A server, from its start to its end.

``serve`` opens the store, the transport and the listeners, runs until a signal asks it to stop, and then lets the
commands in flight finish within a deadline.
"""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import trio

from oxd_server.admin import WATCH_INTERVAL
from oxd_server.app.building import (
    listener_limits,
    load_keys,
    make_dispatcher,
    open_logins_of,
    open_op_context,
    open_site_locks,
    to_applications,
)
from oxd_server.app.listening import announce, command_listeners, entrance_of
from oxd_server.app.migrating import migrate
from oxd_server.config import Config, ConfigError, load_default_site
from oxd_server.config.store_place import store_place
from oxd_server.dispatch.dispatcher import Dispatcher
from oxd_server.dispatch.guard import Entrance
from oxd_server.dispatch.routes import check_routes
from oxd_server.entrances.https import HttpsFront, open_https_front
from oxd_server.entrances.sockets import address_of
from oxd_server.entrances.tcp import FrameListener
from oxd_server.log import Log
from oxd_server.observe.sight import Sight
from oxd_server.op.errors import KeyFileError
from oxd_server.process.figures import raise_open_files, report_on_signal
from oxd_server.process.listen_fds import Inherited, listeners_of
from oxd_server.process.service_manager import ServiceManager
from oxd_server.process.workers import stop_with_supervisor
from oxd_server.rp.default_site import DefaultSiteHolder
from oxd_server.rp.keys import KeyStoreHolder
from oxd_server.rp.refreshes import Refreshes
from oxd_server.rp.services import Services
from oxd_server.rp.site_marks import SiteMarks
from oxd_server.store import open_store
from oxd_server.store.file import FileStore

__all__ = ["Running", "serve"]

NOTHING_INHERITED: Final = Inherited()
_THREADS: Final = 40
_OTHER_FILES: Final = 64  # the store, the log, the listeners, name resolution


@dataclass(frozen=True, slots=True)
class Running:
    """What is told when the server listens: the addresses that were bound, of the socket and of the HTTPS front."""

    addresses: tuple[tuple[str, int], ...]
    https_addresses: tuple[tuple[str, int], ...] = ()


async def serve(
    config: Config,
    *,
    output: Log | None = None,
    inherited: Inherited = NOTHING_INHERITED,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reloads the default site and the keys, SIGUSR1 logs figures.

    ``output`` is the process's log; without it there are no lines of commands. ``inherited`` are sockets that systemd
    or a supervisor handed to this process; it opens those that it lacks. Its service manager is told when the server is
    ready, reloads and stops. ``now`` gives seconds since 1970.

    Raises ``ConfigError``, ``KeyFileError``, ``StoreError`` or ``OSError`` when it cannot start.
    """
    check_routes()
    log = structlog.get_logger("oxd_server")
    sight = Sight(output)
    _make_room(config, log)
    default_site = load_default_site(config.default_site_path)
    for warning in (*config.warnings, *default_site.warnings):
        log.warning("configuration_warning", message=warning)
    receiver = trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with receiver as signals, open_site_locks(config) as locks:
        opened_store = open_store(store_place(config), watch_interval=WATCH_INTERVAL)
        opened_op = open_op_context(config, now, sight.see_op_request)
        async with opened_store as store, opened_op as op, to_applications() as applications:
            await migrate(config, store, log)
            services = Services(
                config=config,
                default_site=DefaultSiteHolder(default_site),
                store=store,
                op=op,
                to_applications=applications,
                logins=await open_logins_of(config, store, now),
                keys=KeyStoreHolder(await load_keys(config)),
                now=now,
                random=os.urandom,
                site_locks=locks if store.locks is None else store.locks,
                refreshes=Refreshes(store.locks),
            )
            await _serve(services, sight, signals, inherited, log, task_status)
    log.info("stopped")


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
            "too_few_open_files",
            message="max_connections cannot be reached: raise the limit of open files (ulimit -n, LimitNOFILE).",
            allowed=allowed,
            wanted=wanted,
        )


async def _serve(
    services: Services,
    sight: Sight,
    signals: AsyncIterator[int],
    inherited: Inherited,
    log: structlog.stdlib.BoundLogger,
    task_status: trio.TaskStatus[Running],
) -> None:
    config = services.config
    dispatcher = make_dispatcher(services, sight.calls)
    listeners = command_listeners(config, inherited)
    servers = [FrameListener(entrance_of(dispatcher, listener), listener_limits(config)) for listener in listeners]
    front = await _open_front(services, dispatcher, inherited)
    stop_front = trio.Event()
    async with sight.open(), trio.open_nursery() as connections:
        if front is not None:
            await connections.start(front.serve, stop_front)
        async with trio.open_nursery() as accepting:
            for server, listener in zip(servers, listeners, strict=True):
                accepting.start_soon(server.accept, listener, connections)
            if isinstance(services.store, FileStore):
                accepting.start_soon(services.store.fold_when_idle)
            await accepting.start(report_on_signal, partial(_counts, services, dispatcher, servers))
            if inherited.lifeline is None:
                announce(listeners, log)
                await inherited.manager.ready()
            else:
                accepting.start_soon(stop_with_supervisor, inherited.lifeline)
            addresses = tuple(address_of(listener) for listener in listeners)
            task_status.started(Running(addresses, () if front is None else front.addresses))
            await _until_stopped(signals, services, sight, log, inherited.manager)
            accepting.cancel_scope.cancel()
        services.logout_waits.stop()
        for server in servers:
            server.drain()
        stop_front.set()
        connections.cancel_scope.deadline = trio.current_time() + config.shutdown_timeout_in_seconds
    if connections.cancel_scope.cancelled_caught:
        log.warning("commands_abandoned", message="Some commands did not finish in time.")


async def _open_front(services: Services, dispatcher: Dispatcher, inherited: Inherited) -> HttpsFront | None:
    config = services.config
    if not config.https.enabled:
        return None
    listeners = listeners_of(inherited.https_sockets) or None
    handle, needs_token = partial(dispatcher.dispatch, Entrance.HTTPS), partial(dispatcher.needs_token, Entrance.HTTPS)
    return await open_https_front(
        config,
        handle,
        SiteMarks(services.store),
        listeners,
        needs_token=needs_token,
        public_keys=services.public_jwks,
    )


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
    signals: AsyncIterator[int],
    services: Services,
    sight: Sight,
    log: structlog.stdlib.BoundLogger,
    manager: ServiceManager,
) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            log.info("stopping", signal=signal.Signals(number).name)
            await manager.stopping()
            return
        await manager.reloading()
        sight.reopen_log()
        await _reload(services, log)
        await manager.ready()


async def _reload(services: Services, log: structlog.stdlib.BoundLogger) -> None:
    """Read the default site and the key store again; each stays as it was if it cannot be used."""
    config, default_site = services.config, services.default_site
    try:
        default_site.current = await trio.to_thread.run_sync(load_default_site, config.default_site_path)
    except ConfigError as error:
        log.error("default_site_not_reloaded", message="The one before stays.", reason=str(error))
    else:
        log.info("default_site_reloaded", warnings=default_site.current.warnings)
    if services.keys.current is None:
        return
    try:
        services.keys.current = await load_keys(config)
    except KeyFileError as error:
        log.error("key_store_not_reloaded", message="The one before stays.", reason=str(error))
    else:
        log.info("key_store_reloaded")
