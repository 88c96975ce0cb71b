"""What ``check-config`` finds out beyond the words of the configuration: whether a server could start with it.

It reads the files that the configuration names and binds the ports, each for a moment, and changes nothing.
"""

import errno
import os
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import trio

from oxd_server.app.building import load_certificates, load_keys, open_op_context
from oxd_server.app.listening import tcp_listeners
from oxd_server.config import Config, ConfigError
from oxd_server.config.store_place import store_place
from oxd_server.entrances.certificates import make_server_context
from oxd_server.entrances.https import open_https_listeners
from oxd_server.entrances.monitor import monitor_listeners
from oxd_server.entrances.unix_socket import check_unix_socket
from oxd_server.observe.sight import Sight
from oxd_server.op.errors import KeyFileError
from oxd_server.store import StoreError, open_file_store
from oxd_server.store.importers.sources import read_source

__all__ = ["Findings", "check"]

_ERRORS: Final = (ConfigError, KeyFileError, StoreError, OSError)


class Findings(NamedTuple):
    """What would stop the start, and what should be known, a line each."""

    problems: list[str]
    notes: list[str]


async def check(config: Config) -> Findings:
    """Try what a start would need."""
    found = Findings([], [])
    for step in (_op, _keys, _certificate, _store, _old_sites, _ports):
        await _try(step, config, found)
    return found


async def _try(step: Callable[[Config, Findings], Awaitable[None]], config: Config, found: Findings) -> None:
    try:
        await step(config, found)
    except _ERRORS as error:
        found.problems.append(str(error))


async def _op(config: Config, _: Findings) -> None:
    async with open_op_context(config, time.time, Sight()):
        pass


async def _keys(config: Config, _: Findings) -> None:
    await load_keys(config)
    await load_certificates(config)


async def _certificate(config: Config, _: Findings) -> None:
    if config.https.enabled and config.https.cert_path is not None and config.https.key_path is not None:
        await trio.to_thread.run_sync(make_server_context, config.https.cert_path, config.https.key_path)


async def _store(config: Config, _: Findings) -> None:
    place = store_place(config)
    if not isinstance(place, Path):
        return
    if place.exists():
        async with open_file_store(place):
            return
    folder = next(parent for parent in place.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"the store {place} cannot be made: {folder} cannot be written")


async def _old_sites(config: Config, _: Findings) -> None:
    if config.migration_source_folder_path is not None:
        await trio.to_thread.run_sync(read_source, config.migration_source_folder_path)


async def _ports(config: Config, found: Findings) -> None:
    opened = [partial(tcp_listeners, config)]
    if config.https.enabled:
        opened.append(partial(open_https_listeners, config))
    if config.metrics.enabled:
        opened.append(partial(monitor_listeners, config))
    if config.unix_socket_path is not None:
        opened.append(partial(_unix_socket, config.unix_socket_path, config.unix_socket_group))
    for listen in opened:
        try:
            for listener in listen():
                listener.close()
        except OSError as error:
            # A server may be running with this very configuration.
            where = found.notes if error.errno == errno.EADDRINUSE else found.problems
            where.append(str(error.strerror or error))


def _unix_socket(path: Path, group: str | None) -> list[socket.socket]:
    check_unix_socket(path, group)
    return []
