"""The entrances of a running server: opened together, handed on together, drained together."""

import socket
from functools import partial
from typing import Any

import trio

from oxd_server.app.building import listener_limits
from oxd_server.app.listening import addresses_of, command_listeners, entrance_of
from oxd_server.app.reloading import Editions
from oxd_server.config import Config
from oxd_server.entrances.https import HttpsFront, open_https_listeners
from oxd_server.entrances.monitor import Monitor
from oxd_server.entrances.refusals import Refusals
from oxd_server.entrances.sockets import address_of
from oxd_server.entrances.tcp import FrameListener
from oxd_server.process.listen_fds import Inherited, listeners_of

__all__ = ["OpenEntrances", "open_entrances"]


class OpenEntrances:
    """The listeners for frames with their sockets, and the HTTPS front where there is one."""

    def __init__(self, sockets: list[socket.socket], listeners: list[FrameListener], front: HttpsFront | None) -> None:
        self.sockets = sockets
        self.listeners = listeners
        self.front = front
        self._leave, self._stop = trio.Event(), trio.Event()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """The addresses for frames."""
        return addresses_of(self.sockets)

    @property
    def https_addresses(self) -> tuple[tuple[str, int], ...]:
        """The addresses of the HTTPS front."""
        return () if self.front is None else self.front.addresses

    @property
    def connections(self) -> int:
        """How many connections are being served."""
        return sum(listener.connections for listener in self.listeners) + (self.front.connections if self.front else 0)

    def handed(self, inherited: Inherited, monitor: Monitor | None) -> Inherited:
        """Return what a successor of this process gets."""
        return Inherited(
            tuple(one.fileno() for one in self.sockets),
            () if self.front is None else self.front.descriptors,
            manager=inherited.manager,
            metrics_sockets=() if monitor is None else tuple(one.fileno() for one in monitor.listeners),
        )

    async def start_front(self, connections: trio.Nursery) -> None:
        """Serve HTTPS in the nursery, if there is a front."""
        if self.front is not None:
            await connections.start(self.front.serve, self._leave, self._stop)

    def start_accepting(self, accepting: trio.Nursery, connections: trio.Nursery) -> None:
        """Take whoever sends frames until ``accepting`` is cancelled; serve them in ``connections``."""
        for listener, one in zip(self.listeners, self.sockets, strict=True):
            accepting.start_soon(listener.accept, one, connections)

    def leave(self) -> None:
        """Leave those who connect from now on to a successor; who is connected is served."""
        self._leave.set()

    def drain(self) -> None:
        """Close every connection that waits for its peer, and the others after their answer."""
        for listener in self.listeners:
            listener.drain()
        self._stop.set()


async def open_entrances(editions: Editions, inherited: Inherited, refusals: Refusals, log: Any) -> OpenEntrances:
    """Open what the configuration asks for and was not inherited.

    Raises ``OSError``, ``KeyFileError``, ``ConfigError``.
    """
    config = editions.current.config
    sockets = command_listeners(config, inherited)
    listeners = [
        FrameListener(partial(editions.dispatch, entrance_of(one)), listener_limits(config), refusals)
        for one in sockets
    ]
    return OpenEntrances(sockets, listeners, await _open_front(config, editions, inherited, refusals, log))


async def _open_front(
    config: Config, editions: Editions, inherited: Inherited, refusals: Refusals, log: Any
) -> HttpsFront | None:
    if not config.https.enabled:
        return None
    listeners = listeners_of(inherited.https_sockets) or open_https_listeners(config)
    addresses = [address_of(listener) for listener in listeners]
    front = HttpsFront(listeners, await editions.front_settings(config, addresses, refusals), refusals)
    log.info("https_listening", port=addresses[0][1], addresses=[address for address, _ in addresses])
    return front
