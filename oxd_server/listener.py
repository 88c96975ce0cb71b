"""The TCP entrance: sockets in, frames through ``oxd_protocol.connection``, commands to the dispatcher.

One task per connection; a connection's commands run one after the other. Every read and write is bounded in size and
time. When the server drains, connections that wait for their peer close at once and the others after their answer.
"""

import errno
import ipaddress
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from oxd_protocol.connection import CLOSED, Connection
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.messages import Response, decode_request, encode_response, error_response

__all__ = ["CommandHandler", "FrameListener", "ListenerLimits", "open_listeners"]

CommandHandler = Callable[[str, dict[str, object]], Awaitable[Response]]
"""Takes a command's name and raw params; answers whatever happens (only cancellation is raised)."""

_RECEIVE_BYTES: Final = 65_536
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1_000_000
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Timeouts are in seconds, None for no limit."""

    max_connections: int
    max_request_bytes: int
    frame_timeout: float | None
    idle_timeout: float | None
    write_timeout: float


class FrameListener:
    """Serves frames on connections until ``drain`` is called."""

    def __init__(self, handle: CommandHandler, limits: ListenerLimits) -> None:
        self._handle = handle
        self._limits = limits
        self._connections = 0
        self._draining = False
        self._waiting: set[trio.CancelScope] = set()
        self._log = structlog.get_logger("oxd_server.listener")

    @property
    def connections(self) -> int:
        """How many connections are being served."""
        return self._connections

    def drain(self) -> None:
        """Take no more frames: close every connection that waits for its peer, the others after their answer."""
        self._draining = True
        for scope in self._waiting:
            scope.cancel()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection until the peer leaves, breaks the framing or the listener drains."""
        admitted = self._connections < self._limits.max_connections
        self._connections += admitted
        try:
            async with stream:
                wire = _Wire(stream.socket, self._limits.write_timeout)
                try:
                    if not admitted:
                        raise CommandError("server_busy")
                    with trio.CancelScope() as scope:
                        await self._serve(wire, scope)
                except (CommandError, FramingError) as error:
                    await wire.send(encode_response(error_response(error)))
                    await _linger(stream)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError):
            pass  # one-shot libraries leave as soon as they have their answer, and some without reading it
        except Exception as error:
            self._log.error("connection failed", exc_info=error)
        finally:
            self._connections -= admitted

    async def _serve(self, wire: "_Wire", scope: trio.CancelScope) -> None:
        connection = Connection(
            self._limits.max_request_bytes,
            frame_timeout=self._limits.frame_timeout,
            idle_timeout=self._limits.idle_timeout,
        )
        while not self._draining:
            event = connection.next_event(time.monotonic())
            if isinstance(event, bytes):
                await wire.send(await self._answer(event))
                # The others have their turn before this peer's next frame, which mostly is here when they have had it.
                # Nothing is cancelled here: if the listener drains, the loop ends.
                await trio.lowlevel.cancel_shielded_checkpoint()
            elif event is CLOSED:
                return
            else:
                data = wire.read()
                if data is None:
                    data = await self._wait(wire, event.until, scope)
                if data is not None:
                    connection.receive_data(data)

    async def _wait(self, wire: "_Wire", until: float | None, scope: trio.CancelScope) -> bytes | None:
        self._waiting.add(scope)  # a drain cancels it now and at no other time
        try:
            return await wire.receive(until)
        finally:
            self._waiting.discard(scope)

    async def _answer(self, body: bytes) -> bytes:
        """Return the frame that answers this one. Raises ``FramingError`` for one that holds no JSON object."""
        try:
            request = decode_request(body)
        except CommandError as error:
            return encode_response(error_response(error))
        return encode_response(await self._handle(request.command, request.params))


class _Wire:
    """The bytes of one connection, straight from and to its socket.

    An answer that the kernel takes as a whole, as it does unless the peer is deaf, needs no waiting and no time-out.
    """

    def __init__(self, sock: trio.socket.SocketType, write_timeout: float) -> None:
        self._fd = sock.fileno()
        self._write_timeout = write_timeout

    def read(self) -> bytes | None:
        """Return what the peer has sent, ``b""`` at its end, None if nothing is here. Raises ``OSError``."""
        try:
            return os.read(self._fd, _RECEIVE_BYTES)
        except BlockingIOError:
            return None

    async def receive(self, until: float | None) -> bytes | None:
        """Wait for what the peer sends; None after ``until`` (``time.monotonic``). Raises ``OSError``."""
        if until is None:
            return await self._receive()
        with trio.move_on_after(until - time.monotonic()):
            return await self._receive()
        return None

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            data = self.read()
            if data is not None:
                return data

    async def send(self, data: bytes) -> None:
        """Send everything. Raises ``OSError`` when the peer has gone, ``trio.TooSlowError`` when it does not read."""
        sent = self._write(data)
        if sent < len(data):
            with trio.fail_after(self._write_timeout):
                while sent < len(data):
                    await trio.lowlevel.wait_writable(self._fd)
                    sent += self._write(data[sent:])

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0


async def _linger(stream: trio.SocketStream) -> None:
    """Let the peer read the last answer: closing with unread bytes would reset the connection and lose it."""
    await stream.send_eof()
    discarded = 0
    with trio.move_on_after(_LINGER_SECONDS):
        while discarded < _LINGER_BYTES and (data := await stream.receive_some(_RECEIVE_BYTES)):
            discarded += len(data)


async def open_listeners(addresses: Iterable[str], port: int) -> list[trio.SocketListener]:
    """Bind every address; port 0 takes one free port for all of them.

    An IPv6 address is left out where the machine has no IPv6. Raises ``OSError`` when nothing could be bound or an
    address is taken.
    """
    listeners: list[trio.SocketListener] = []
    with ExitStack() as opened:
        for address in addresses:
            listener = await _open_listener(address, port)
            if listener is not None:
                opened.callback(listener.socket.close)
                listeners.append(listener)
                port = listener.socket.getsockname()[1]
        if not listeners:
            raise OSError(errno.EADDRNOTAVAIL, "none of the addresses to bind exists on this machine")
        opened.pop_all()
    return listeners


async def _open_listener(address: str, port: int) -> trio.SocketListener | None:
    version = ipaddress.ip_address(address).version
    try:
        sock = trio.socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        if version == 6:
            return None
        raise
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if version == 6 and error.errno == errno.EADDRNOTAVAIL:
            return None
        raise OSError(error.errno, f"cannot listen on {address} port {port}: {os.strerror(error.errno or 0)}") from None
    return trio.SocketListener(sock)
