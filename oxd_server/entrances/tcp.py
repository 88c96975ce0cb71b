"""The TCP entrance: sockets in, frames through ``oxd_protocol.connection``, commands to the dispatcher.

One task per connection; a connection's commands run one after the other. Every read and write is bounded in size and
time. When the server drains, connections that wait for their peer close at once and the others after their answer.
"""

import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from oxd_protocol.connection import CLOSED, Connection
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.messages import Response, decode_request, encode_response, error_response
from oxd_server.entrances.sockets import accept_waiting, peer_name
from oxd_server.observe.call import Caller

__all__ = ["CommandHandler", "FrameListener", "ListenerLimits"]

CommandHandler = Callable[[str, dict[str, object], Caller], Awaitable[Response]]
"""Takes a command's name, its raw params and who sends it; answers whatever happens (only cancellation is raised)."""

_RECEIVE_BYTES: Final = 16_384
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1_000_000
_FULL_SECONDS: Final = 0.1


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
        self._waiting: set[_Wire] = set()
        self._log = structlog.get_logger("oxd_server.entrances.tcp")

    @property
    def connections(self) -> int:
        """How many connections are being served."""
        return self._connections

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Serve everybody who connects, each in a task of the nursery, until cancelled; then close the listener."""
        with listener:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    for connection in accept_waiting(listener):
                        nursery.start_soon(self.serve, connection)
                except OSError as error:
                    self._log.error("no_connection_accepted", reason=str(error))
                    await trio.sleep(_FULL_SECONDS)

    def drain(self) -> None:
        """Take no more frames: close every connection that waits for its peer, the others after their answer."""
        self._draining = True
        for wire in self._waiting:
            wire.stop_reading()

    async def serve(self, connection: socket.socket) -> None:
        """Serve one connection until the peer leaves, breaks the framing or the listener drains; then close it."""
        admitted = self._connections < self._limits.max_connections
        self._connections += admitted
        caller = Caller(peer_name(connection))
        try:
            with connection:
                wire = _Wire(connection, self._limits.write_timeout)
                try:
                    if not admitted:
                        self._log.info("connection_refused", limit="max_connections", peer=caller.peer)
                        raise CommandError("server_busy")
                    await self._serve(wire, caller)
                except (CommandError, FramingError) as error:
                    if admitted:
                        self._say_refused(caller, error)
                    await wire.send(encode_response(error_response(error)))
                    await wire.linger()
        except (OSError, trio.TooSlowError):
            pass  # one-shot libraries leave as soon as they have their answer, and some without reading it
        except Exception as error:
            self._log.error("connection_failed", exc_info=error)
        finally:
            self._connections -= admitted

    async def _serve(self, wire: "_Wire", caller: Caller) -> None:
        connection = Connection(
            self._limits.max_request_bytes,
            frame_timeout=self._limits.frame_timeout,
            idle_timeout=self._limits.idle_timeout,
        )
        others_had_their_turn = True
        while not self._draining:
            event = connection.next_event(time.monotonic())
            if isinstance(event, bytes):
                answer = await self._answer(event, caller)
                if connection.expects_copies:
                    _receive_waiting(wire, connection, 2 * len(event))
                sent = wire.write(answer)
                if sent < len(answer):
                    await wire.send(answer[sent:])
                # Nothing is cancelled here: if the listener drains, the loop ends.
                await trio.lowlevel.cancel_shielded_checkpoint()
                others_had_their_turn = True
            elif event is CLOSED:
                return
            else:
                # After that turn the peer's next frame mostly is here: waiting for it would cost more than a look.
                data = wire.read() if others_had_their_turn else None
                others_had_their_turn = False
                if data is None:
                    data = await self._wait(wire, event.until)
                if data is not None:
                    connection.receive_data(data)

    async def _wait(self, wire: "_Wire", until: float | None) -> bytes | None:
        self._waiting.add(wire)
        try:
            return await wire.receive(until)
        finally:
            self._waiting.discard(wire)

    async def _answer(self, body: bytes, caller: Caller) -> bytes:
        """Return the frame that answers this one. Raises ``FramingError`` for one that holds no JSON object."""
        try:
            request = decode_request(body)
        except CommandError as error:
            self._say_refused(caller, error)
            return encode_response(error_response(error))
        return encode_response(await self._handle(request.command, request.params, caller))

    def _say_refused(self, caller: Caller, error: CommandError | FramingError) -> None:
        self._log.info("frame_refused", error=error.code, reason=str(error), peer=caller.peer)


def _receive_waiting(wire: "_Wire", connection: Connection, most: int) -> None:
    """Pass on what the peer has sent by now, about ``most`` bytes: what was here before an answer counts as a copy."""
    received = 0
    while received <= most and (data := wire.read()) is not None:
        connection.receive_data(data)
        received += len(data)
        if not data:
            return


class _Wire:
    """The bytes of one connection, straight from and to its socket."""

    def __init__(self, sock: socket.socket, write_timeout: float) -> None:
        self._socket = sock
        self._fd = sock.fileno()
        self._write_timeout = write_timeout

    def read(self) -> bytes | None:
        """Return what the peer has sent, ``b""`` at its end, None if nothing is here. Raises ``OSError``."""
        try:
            return self._socket.recv(_RECEIVE_BYTES)
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
        with trio.fail_after(self._write_timeout):
            while data:
                await trio.lowlevel.wait_writable(self._fd)
                data = data[self.write(data) :]

    def write(self, data: bytes) -> int:
        """Return how many bytes the kernel took: all of them, unless the peer does not read. Raises ``OSError``."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def stop_reading(self) -> None:
        """Read no more from the peer: whoever waits for it finds the end of the stream."""
        with suppress(OSError):  # the peer has gone already
            self._socket.shutdown(socket.SHUT_RD)

    async def linger(self) -> None:
        """Let the peer read the last answer: closing with unread bytes would reset the connection and lose it."""
        self._socket.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _LINGER_SECONDS
        discarded = 0
        while discarded < _LINGER_BYTES and (data := await self.receive(until)):
            discarded += len(data)
