"""A server, from its start to its end.

``serve`` opens the store, the transport and the listeners, runs until a signal asks it to stop, and then lets the
commands in flight finish within a deadline.
"""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec
import structlog
import trio

from oxd_server.admin import WATCH_INTERVAL
from oxd_server.app.building import Lasting, make_edition, make_room, open_site_locks, to_applications
from oxd_server.app.listening import announce, told_of
from oxd_server.app.migrating import migrate
from oxd_server.app.open_entrances import OpenEntrances, open_entrances
from oxd_server.app.reloading import Editions, Reloadable
from oxd_server.app.upgrading import check_store, put_successor_in_place
from oxd_server.app.watching import make_monitor, make_sight, readings_of, sample_of
from oxd_server.config import Config, Sources, load_default_site
from oxd_server.config.store_place import store_place
from oxd_server.dispatch.routes import check_routes
from oxd_server.dispatch.shares import Registrations
from oxd_server.entrances.monitor import Monitor
from oxd_server.entrances.refusals import Refusals
from oxd_server.log import Log
from oxd_server.observe.readiness import Readiness
from oxd_server.observe.sample import Sample
from oxd_server.process.figures import report_on_signal
from oxd_server.process.listen_fds import Inherited
from oxd_server.process.service_manager import ServiceManager
from oxd_server.process.signals import HANDLED, until_ended, while_connected
from oxd_server.process.starting import tell_ready
from oxd_server.process.workers import stop_with_supervisor
from oxd_server.store import open_store
from oxd_server.store.file import FileStore

__all__ = ["Running", "serve"]

NOTHING_INHERITED: Final = Inherited()


class Running(msgspec.Struct, frozen=True):
    """What is told when the server listens: the addresses that were bound, of the socket and of the HTTPS front."""

    addresses: tuple[tuple[str, int], ...]
    https_addresses: tuple[tuple[str, int], ...] = ()


async def serve(
    config: Config,
    sources: Sources,
    *,
    output: Log | None = None,
    inherited: Inherited = NOTHING_INHERITED,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the server until SIGTERM or SIGINT, or until a successor has taken over (SIGUSR2).

    SIGHUP reloads the configuration, SIGUSR1 logs figures.

    ``sources`` are what ``config`` was read from, and a reload reads again. ``output`` is the process's log; without it
    there are no lines of commands. ``inherited`` are sockets that systemd or a supervisor handed to this process; it
    opens those that it lacks. Its service manager is told when the server is ready, reloads and stops. ``now`` gives
    seconds since 1970.

    Raises ``ConfigError``, ``KeyFileError``, ``StoreError`` or ``OSError`` when it cannot start.
    """
    check_routes()
    log = structlog.get_logger("oxd_server")
    sight = make_sight(config, inherited, output)
    make_room(config)
    default_site = load_default_site(config.default_site_path)
    for warning in (*config.warnings, *default_site.warnings):
        log.warning("configuration_warning", message=warning)
    with trio.open_signal_receiver(*HANDLED) as signals:
        await check_store(config, inherited)
        opened_store = open_store(store_place(config), watch_interval=WATCH_INTERVAL)
        async with opened_store as store, to_applications() as applications:
            with open_site_locks(config, store) as locks:
                await migrate(config, store, log)
                registrations = Registrations(config.open_registrations_per_hour)
                lasting = Lasting(store, locks, registrations, sight, applications, now)
                readiness = Readiness(store, now, os.urandom)
                edition = await make_edition(config, default_site, lasting)
                editions = Editions(edition, readings_of(sight, readiness))
                try:
                    await _serve(sources, lasting, editions, readiness, signals, inherited, log, task_status)
                finally:
                    await editions.current.opened.aclose()
    log.info("stopped")


async def _serve(
    sources: Sources,
    lasting: Lasting,
    editions: Editions,
    readiness: Readiness,
    signals: AsyncIterator[int],
    inherited: Inherited,
    log: structlog.stdlib.BoundLogger,
    task_status: trio.TaskStatus[Running],
) -> None:
    config = editions.current.config
    entrances = await open_entrances(editions, inherited, Refusals(lasting.sight.see_refusal), log)
    monitor = make_monitor(config, inherited, editions.readings)
    reload = Reloadable(sources, lasting, editions, entrances.listeners, entrances.front)
    upgrade = partial(_upgrade, config, sources, inherited, entrances.handed(inherited, monitor))

    def sample() -> Sample:
        return sample_of(editions.current, entrances.listeners, entrances.front)

    async with (
        lasting.sight.open(sample),
        _watched(monitor) as watched,
        trio.open_nursery() as connections,
        trio.open_nursery() as background,
    ):
        if entrances.front is not None:
            lasting.sight.see_certificate(entrances.front.certificate_expires)
        await entrances.start_front(connections)
        if isinstance(lasting.store, FileStore):
            background.start_soon(lasting.store.fold_when_idle)
        await background.start(report_on_signal, partial(_counts, editions, entrances))
        async with trio.open_nursery() as accepting:
            entrances.start_accepting(accepting, connections)
            if inherited.lifeline is None:
                announce(entrances.sockets, entrances.https_addresses, told_of(config, await lasting.store.count()))
                await inherited.manager.ready()
            else:
                background.start_soon(stop_with_supervisor, inherited.lifeline)
            tell_ready(inherited)
            task_status.started(Running(entrances.addresses, entrances.https_addresses))
            on_signal = {signal.SIGHUP: partial(_reload, reload, connections, inherited.manager)}
            ending = await until_ended(signals, on_signal, upgrade)
            log.info("stopping", signal=ending.name)
            readiness.draining = True
            accepting.cancel_scope.cancel()
        if ending == signal.SIGUSR2:
            watched.cancel()  # who asks there means the successor
            await _while_connected(entrances, editions, signals)
        else:
            await inherited.manager.stopping()
        background.cancel_scope.cancel()
        editions.current.services.under_way.logout_waits.stop()
        entrances.drain()
        seconds = editions.current.config.shutdown_timeout_in_seconds
        connections.cancel_scope.deadline = trio.current_time() + seconds
    if connections.cancel_scope.cancelled_caught:
        log.warning("commands_abandoned", message="Some commands did not finish in time.")


async def _while_connected(entrances: OpenEntrances, editions: Editions, signals: AsyncIterator[int]) -> None:
    """Serve those who are connected to this process, while its successor takes everybody else."""
    entrances.leave()
    seconds = editions.current.config.handover_timeout_in_seconds
    await while_connected(lambda: entrances.connections > 0, signals, seconds)


@asynccontextmanager
async def _watched(monitor: Monitor | None) -> AsyncIterator[trio.CancelScope]:
    """Answer on the port of the metrics inside the block, also while the server drains, or until that is cancelled."""
    answering = trio.CancelScope()

    async def answer(task_status: trio.TaskStatus[None]) -> None:
        assert monitor is not None
        with answering:
            await monitor.serve(task_status=task_status)

    async with trio.open_nursery() as nursery:
        if monitor is not None:
            await nursery.start(answer)
        yield answering
        nursery.cancel_scope.cancel()


async def _reload(reloadable: Reloadable, retiring: trio.Nursery, manager: ServiceManager) -> None:
    await manager.reloading()
    await reloadable.reload(retiring)
    await manager.ready()


async def _upgrade(config: Config, sources: Sources, inherited: Inherited, handed: Inherited) -> bool:
    if inherited.lifeline is not None:
        return True  # the supervisor has seen to it
    return await put_successor_in_place(config, sources, handed)


def _counts(editions: Editions, entrances: OpenEntrances) -> dict[str, int]:
    edition = editions.current
    op = edition.services.op
    return {
        "connections": sum(listener.connections for listener in entrances.listeners),
        "commands_in_flight": edition.dispatcher.in_flight,
        "providers_known": len(op.discovery) + len(op.uma_discovery),
        "key_sets_known": len(op.key_sets),
        "sites_locked": len(edition.services.under_way.site_locks),
    }
