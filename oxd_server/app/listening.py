"""The sockets that commands come in by: opening them, telling who can reach them, and saying so."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

import structlog

from oxd_server import __version__
from oxd_server.config import Config
from oxd_server.config.store_place import named, store_place
from oxd_server.dispatch.guard import Entrance
from oxd_server.entrances.sockets import address_of, open_listeners
from oxd_server.entrances.unix_socket import open_unix_listener
from oxd_server.log.events import LISTENING
from oxd_server.process.listen_fds import Inherited, listeners_of

__all__ = ["addresses_of", "announce", "command_listeners", "entrance_of", "tcp_listeners", "told_of"]

_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - asked for with localhost_only: false, and warned about


def command_listeners(config: Config, inherited: Inherited) -> list[socket.socket]:
    """The sockets for commands: those that were handed over, else those that the configuration asks for.

    Handed over sockets of TCP stand for those of the configuration, and so does a handed over Unix socket.
    """
    handed = listeners_of(inherited.command_sockets, unix=True)
    opened = [] if any(map(_is_tcp, handed)) else tcp_listeners(config)
    if config.unix_socket_path is not None and all(map(_is_tcp, handed)):
        opened.append(open_unix_listener(config.unix_socket_path, config.unix_socket_mode, config.unix_socket_group))
    return handed + opened


def tcp_listeners(config: Config) -> list[socket.socket]:
    """Bind the port for commands; nothing where TCP is off. Raises ``OSError``."""
    return open_listeners(_addresses_to_bind(config), config.port) if config.tcp_enabled else []


def addresses_of(listeners: Sequence[socket.socket]) -> tuple[tuple[str, int], ...]:
    """Return address and port of those that have them."""
    return tuple(address_of(listener) for listener in listeners if _is_tcp(listener))


def _addresses_to_bind(config: Config) -> tuple[str, ...]:
    if config.bind_addresses:
        return config.bind_addresses
    return _LOOPBACK if config.localhost_only else _EVERYWHERE


def _is_tcp(listener: socket.socket) -> bool:
    return listener.family != socket.AF_UNIX


def entrance_of(listener: socket.socket) -> Entrance:
    """Return where commands come in by this socket: whoever can reach it decides what they may do.

    A Unix socket is reached from this machine only, and by whom its file lets in.
    """
    local = not _is_tcp(listener) or ip_address(address_of(listener)[0]).is_loopback
    return Entrance.LOOPBACK_SOCKET if local else Entrance.EXPOSED_SOCKET


def told_of(config: Config, sites: int) -> dict[str, Any]:
    """Return what the line of the start says of the configuration, and of what is in its store."""
    return {
        "configuration": None if config.config_path is None else str(config.config_path.absolute()),
        "store": named(store_place(config)),
        "sites": sites,
        "workers": config.workers,
        "https_dialect": config.https.dialect if config.https.enabled else None,
    }


def announce(
    listeners: Sequence[socket.socket], https_addresses: Sequence[tuple[str, int]], told: dict[str, Any]
) -> None:
    """Say where the server listens, and warn of what other machines can reach."""
    log = structlog.get_logger("oxd_server")
    exposed = [address_of(each)[0] for each in listeners if entrance_of(each) is Entrance.EXPOSED_SOCKET]
    if exposed:
        log.warning(
            "socket_exposed",
            message="The command socket can be reached from other machines: whoever reaches it can act as every site, "
            "unless commands are protected. It has no TLS, so tokens and client secrets cross the network in the "
            "clear. Prefer localhost_only: true.",
            addresses=exposed,
        )
    addresses = addresses_of(listeners)
    unix = [each.getsockname() for each in listeners if not _is_tcp(each)]
    entrances = {
        "port": addresses[0][1] if addresses else None,
        "addresses": [address for address, _ in addresses],
        "unix_socket": unix[0] if unix else None,
        "https_port": https_addresses[0][1] if https_addresses else None,
        "https_addresses": [address for address, _ in https_addresses],
    }
    shown = {name: value for name, value in {**entrances, **told}.items() if value not in (None, [])}
    log.info(LISTENING, version=__version__, **shown)
