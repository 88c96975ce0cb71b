"""An upgrade without downtime: a new process is handed the sockets, and takes over when it serves.

Both use the store for a while. That is what several workers do all the time: what one has acknowledged holds for the
other, the secret of the states is the store's, and what only one may do at a time for a site is locked in a file. The
sockets never close, so nobody who connects is refused. Those who are connected stay with the old process, which ends
with the last of them.
"""

from typing import Final

import structlog
import trio

from oxd_server.config import Config, Sources
from oxd_server.config.store_place import store_place
from oxd_server.process.listen_fds import Inherited
from oxd_server.process.starting import Started, own_command, start
from oxd_server.store import StoreError, is_of_this_version

__all__ = ["check_store", "put_successor_in_place"]

_START_SECONDS: Final = 120.0


async def put_successor_in_place(config: Config, sources: Sources, sockets: Inherited) -> bool:
    """Start the program that this process was started as, and wait until it serves; False if it does not.

    ``sockets`` are handed to it. If it fails, it is gone, and nothing here has changed.
    """
    log = structlog.get_logger("oxd_server")
    if config.storage == "memory":
        log.error("upgrade_failed", reason="storage is memory: another process would have none of the sites")
        return False
    command = [*own_command(), "serve", *sources.arguments]
    try:
        successor = await start(command, sockets, sockets.manager.variables)
    except OSError as error:
        log.error("upgrade_failed", reason=f"{command[0]} cannot be started: {error.strerror}")
        return False
    log.info("upgrade_started", pid=successor.process.pid)
    if not await _serves(successor):
        log.error("upgrade_failed", pid=successor.process.pid, exit_code=successor.process.returncode)
        return False
    await sockets.manager.main_process(successor.process.pid)
    log.info("upgraded", pid=successor.process.pid)
    return True


async def _serves(successor: Started) -> bool:
    """Wait until it serves; one that does not in time, or is not waited for any more, is killed."""
    is_ready = False
    try:
        with trio.move_on_after(_START_SECONDS):
            is_ready = await successor.is_ready()
    finally:
        if not is_ready:
            successor.process.kill()
            with trio.CancelScope(shield=True):
                await successor.process.wait()
    return is_ready


async def check_store(config: Config, inherited: Inherited) -> None:
    """Refuse to change the form of a store that the process before still uses. Raises ``StoreError``."""
    place = store_place(config)
    if inherited.ready is not None and not await is_of_this_version(place):
        raise StoreError("the store has the form of an earlier version: stop the server, then start the new one")
