"""Sockets that listen: opening them, and taking the connections that come in."""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Final

import trio

from oxd_server.entrances.unix_socket import peer_credentials

__all__ = ["accept_waiting", "address_of", "as_trio_listeners", "open_listeners", "peer_name"]

_BACKLOG: Final = 1024
_ACCEPTED_AT_ONCE: Final = 16  # so that several workers get their share
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def open_listeners(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Bind every address; port 0 takes one free port for all of them.

    An IPv6 address is left out where the machine has no IPv6. Raises ``OSError`` when nothing could be bound or an
    address is taken.
    """
    listeners: list[socket.socket] = []
    with ExitStack() as opened:
        for address in addresses:
            listener = _open_listener(address, port)
            if listener is not None:
                opened.callback(listener.close)
                listeners.append(listener)
                port = address_of(listener)[1]
        if not listeners:
            raise OSError(errno.EADDRNOTAVAIL, "none of the addresses to bind exists on this machine")
        opened.pop_all()
    return listeners


def _open_listener(address: str, port: int) -> socket.socket | None:
    version = ipaddress.ip_address(address).version
    try:
        sock = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        if version == 6:
            return None
        raise
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for the connections, which inherit it
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if version == 6 and error.errno == errno.EADDRNOTAVAIL:
            return None
        raise OSError(error.errno, f"cannot listen on {address} port {port}: {os.strerror(error.errno or 0)}") from None
    return sock


def accept_waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield some of the connections that wait to be accepted, non-blocking.

    One that failed before it could be accepted is passed over (accept(2), "Error handling"). Raises ``OSError`` when
    the process or the machine can open no more sockets for now, and for nothing else.
    """
    for _ in range(_ACCEPTED_AT_ONCE):
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _FULL:
                raise
            continue
        connection.setblocking(False)
        yield connection


def address_of(listener: socket.socket) -> tuple[str, int]:
    """Return the address and port that the socket is bound to."""
    name = listener.getsockname()
    return str(name[0]), int(name[1])


def peer_name(connection: socket.socket) -> str:
    """Return who is at the other end, for the log: address and port, or the process; "" when nobody is any more."""
    try:
        if connection.family == socket.AF_UNIX:
            return peer_credentials(connection)
        name = connection.getpeername()
    except OSError:
        return ""
    return f"{name[0]}:{name[1]}"


def as_trio_listeners(listeners: Iterable[socket.socket]) -> list[trio.SocketListener]:
    """Return listeners that accept with trio's streams."""
    return [trio.SocketListener(trio.socket.from_stdlib_socket(listener)) for listener in listeners]
