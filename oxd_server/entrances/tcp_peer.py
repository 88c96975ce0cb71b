"""One connection of the TCP entrance: its socket, and what its peer may send and how long it may take."""

import socket
from typing import Final

import msgspec
import trio

from oxd_protocol.connection import Connection
from oxd_server.entrances.sockets import peer_name
from oxd_server.observe.call import Caller

__all__ = ["ListenerLimits", "Peer"]

_RECEIVE_BYTES: Final = 16_384
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1_000_000


class ListenerLimits(msgspec.Struct, frozen=True):
    """Timeouts are in seconds, None for no limit."""

    max_connections: int
    max_request_bytes: int
    frame_timeout: float | None
    idle_timeout: float | None
    write_timeout: float


class Peer:
    """One connection: its socket, who is at the other end, and what was read. ``number`` is the socket's."""

    __slots__ = (
        "_write_timeout", "admitted", "answered", "away", "busy", "caller", "connection", "frame_bytes", "number",
        "socket", "watched",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, limits: ListenerLimits) -> None:
        self.socket = sock
        self.number = sock.fileno()
        self.caller = Caller(peer_name(sock))
        self.connection = Connection(
            limits.max_request_bytes, frame_timeout=limits.frame_timeout, idle_timeout=limits.idle_timeout
        )
        self.frame_bytes = 0  # of the command that is under way
        self.answered = False
        self.admitted = False  # does it count as one of the connections?
        self.watched = False  # is it in the selector?
        self.busy = False  # does it stand in line, or is its turn under way?
        self.away = False  # is its turn finished in another task than the leader's?
        self._write_timeout = limits.write_timeout

    def read(self) -> bytes | None:
        """Return what the peer has sent, ``b""`` at its end, None if nothing is here. Raises ``OSError``."""
        try:
            return self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None

    def receive_waiting(self, most: int) -> None:
        """Pass on what has been sent by now, about ``most`` bytes: what was here before an answer counts as a copy."""
        received = 0
        while received <= most and (data := self.read()) is not None:
            self.connection.receive_data(data)
            received += len(data)
            if not data:
                return

    def write(self, data: bytes) -> int:
        """Return how many bytes the kernel took: all of them, unless the peer does not read. Raises ``OSError``."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    async def send(self, data: bytes) -> None:
        """Send everything. Raises ``OSError`` when the peer has gone, ``trio.TooSlowError`` when it does not read."""
        with trio.fail_after(self._write_timeout):
            while data:
                await trio.lowlevel.wait_writable(self.number)
                data = data[self.write(data) :]

    async def linger(self) -> None:
        """Let the peer read the last answer: closing with unread bytes would reset the connection and lose it."""
        self.socket.shutdown(socket.SHUT_WR)
        discarded = 0
        with trio.move_on_after(_LINGER_SECONDS):
            while discarded < _LINGER_BYTES:
                await trio.lowlevel.wait_readable(self.number)
                data = self.read()
                if data == b"":
                    return
                discarded += len(data or b"")
