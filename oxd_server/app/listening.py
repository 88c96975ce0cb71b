"""The sockets that commands come in by: opening them, telling who can reach them, and saying so."""

import socket
from ipaddress import ip_address
from typing import Final

import structlog

from oxd_server import __version__
from oxd_server.config import Config
from oxd_server.dispatch.guard import Entrance
from oxd_server.entrances.sockets import address_of, open_listeners
from oxd_server.log.events import LISTENING
from oxd_server.process.listen_fds import Inherited, listeners_of

__all__ = ["announce", "command_listeners", "entrance_of"]

_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - asked for with localhost_only: false, and warned about


def command_listeners(config: Config, inherited: Inherited) -> list[socket.socket]:
    """The sockets for commands: those that were handed over, else those that the configuration asks for."""
    return listeners_of(inherited.command_sockets) or open_listeners(_addresses_to_bind(config), config.port)


def _addresses_to_bind(config: Config) -> tuple[str, ...]:
    if config.bind_addresses:
        return config.bind_addresses
    return _LOOPBACK if config.localhost_only else _EVERYWHERE


def entrance_of(listener: socket.socket) -> Entrance:
    """Return where commands come in by this socket: whoever can reach it decides what they may do."""
    return Entrance.LOOPBACK_SOCKET if _is_loopback(listener) else Entrance.EXPOSED_SOCKET


def _is_loopback(listener: socket.socket) -> bool:
    return ip_address(address_of(listener)[0]).is_loopback


def announce(listeners: list[socket.socket], log: structlog.stdlib.BoundLogger) -> None:
    """Say where the server listens, and warn of what other machines can reach."""
    exposed = [address_of(listener)[0] for listener in listeners if not _is_loopback(listener)]
    if exposed:
        log.warning(
            "socket_exposed",
            message="The command socket can be reached from other machines: whoever reaches it can act as every site, "
            "unless commands are protected. It has no TLS, so tokens and client secrets cross the network in the "
            "clear. Prefer localhost_only: true.",
            addresses=exposed,
        )
    addresses = [address_of(listener)[0] for listener in listeners]
    log.info(LISTENING, version=__version__, port=address_of(listeners[0])[1], addresses=addresses)
