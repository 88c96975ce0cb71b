"""Several servers behind the same sockets."""

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import structlog
import trio
from msgspec.structs import replace

from oxd_server.app.listening import addresses_of, announce, command_listeners, told_of
from oxd_server.app.upgrading import check_store, put_successor_in_place
from oxd_server.app.watching import shared_figures
from oxd_server.config import Config, ConfigError, Sources, load_settings
from oxd_server.config.store_place import store_place
from oxd_server.entrances.https import make_certificate, open_https_listeners
from oxd_server.entrances.monitor import monitor_listeners
from oxd_server.log import Log
from oxd_server.observe.sight import Sight
from oxd_server.process.listen_fds import Inherited, listeners_of
from oxd_server.process.signals import HANDLED
from oxd_server.process.workers import Supervisor
from oxd_server.store import open_store

__all__ = ["supervise"]


async def supervise(config: Config, sources: Sources, inherited: Inherited, output: Log | None = None) -> None:
    """Run ``config.workers`` servers behind the same sockets until SIGTERM or SIGINT.

    They take their settings from the same ``sources``. ``inherited``, ``output``: see ``serve``, which also says what
    is raised.
    """
    with trio.open_signal_receiver(*HANDLED, signal.SIGUSR1) as signals:
        listeners = command_listeners(config, inherited)
        https_listeners: list[socket.socket] = []
        if config.https.enabled:
            await make_certificate(config)  # before the workers, so that they find the same one
            https_listeners = listeners_of(inherited.https_sockets) or open_https_listeners(config)
        await check_store(config, inherited)
        async with open_store(store_place(config)) as store:  # it is made, or found to be unusable, once and here
            told = told_of(config, await store.count())
        metrics_listeners: list[socket.socket] = []
        if config.metrics.enabled:
            metrics_listeners = listeners_of(inherited.metrics_sockets) or monitor_listeners(config)
        with shared_figures(config) as variables:
            sockets = replace(
                inherited,
                command_sockets=tuple(listener.fileno() for listener in listeners),
                https_sockets=tuple(listener.fileno() for listener in https_listeners),
                metrics_sockets=tuple(listener.fileno() for listener in metrics_listeners),
            )
            supervisor = Supervisor(
                sources.arguments,
                config.workers,
                sockets,
                shutdown_timeout=config.shutdown_timeout_in_seconds,
                handover_timeout=config.handover_timeout_in_seconds,
                variables=variables,
            )
            await supervisor.run(
                _watched(signals, Sight(output), sources),
                partial(announce, listeners, addresses_of(https_listeners), told),
                partial(put_successor_in_place, config, sources, sockets),
            )
    structlog.get_logger("oxd_server").info("stopped")


async def _watched(signals: AsyncIterator[int], sight: Sight, sources: Sources) -> AsyncIterator[int]:
    """Pass the signals on; SIGHUP is meant for the supervisor's own log as well."""
    async for number in signals:
        if number == signal.SIGHUP:
            sight.reopen_log()
            with suppress(ConfigError):  # the workers say what is wrong
                read = await trio.to_thread.run_sync(load_settings, sources)
                sight.set_log_level(read.config.log_level)
        yield number
