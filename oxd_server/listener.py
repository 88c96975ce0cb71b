"""The TCP entrance: sockets in, frames through ``oxd_protocol.connection``, commands to the dispatcher.

One task per connection; a connection's commands run one after the other. Every read and write is bounded in size and
time. When the server drains, connections that wait for their peer close at once and the others after their answer.
"""

import errno
import ipaddress
import socket
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
        """How many connections are open."""
        return self._connections

    def drain(self) -> None:
        """Take no more frames: close every connection that waits for its peer, the others after their answer."""
        self._draining = True
        for scope in self._waiting:
            scope.cancel()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection until the peer leaves, breaks the framing or the listener drains."""
        self._connections += 1
        try:
            async with stream:
                if self._connections > self._limits.max_connections:
                    await self._send(stream, error_response(CommandError("server_busy")))
                else:
                    await self._serve(stream)
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # one-shot libraries leave as soon as they have their answer, and some without reading it
        except Exception as error:
            self._log.error("connection failed", exc_info=error)
        finally:
            self._connections -= 1

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = Connection(
            self._limits.max_request_bytes,
            frame_timeout=self._limits.frame_timeout,
            idle_timeout=self._limits.idle_timeout,
        )
        try:
            while not self._draining:
                event = connection.next_event(trio.current_time())
                if event is CLOSED:
                    return
                if isinstance(event, bytes):
                    await self._send(stream, await self._run(event))
                else:
                    data = await self._receive(stream, event.until)
                    if data is not None:
                        connection.receive_data(data)
        except FramingError as error:
            await self._send(stream, error_response(error))
            await _linger(stream)

    async def _run(self, body: bytes) -> Response:
        try:
            request = decode_request(body)
        except CommandError as error:
            return error_response(error)
        return await self._handle(request.command, request.params)

    async def _receive(self, stream: trio.SocketStream, until: float | None) -> bytes | None:
        """Return what the peer sent, None when the time is over or the listener drains."""
        scope = trio.CancelScope() if until is None else trio.CancelScope(deadline=until)
        self._waiting.add(scope)
        try:
            with scope:
                return bytes(await stream.receive_some(_RECEIVE_BYTES))
        finally:
            self._waiting.discard(scope)
        return None

    async def _send(self, stream: trio.SocketStream, response: Response) -> None:
        with trio.fail_after(self._limits.write_timeout):
            await stream.send_all(encode_response(response))


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
        raise
    return trio.SocketListener(sock)
