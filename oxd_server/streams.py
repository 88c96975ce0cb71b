"""Streams of TCP and TLS for one task that sends and waits in turn, as a connection of requests and answers does.

trio's own streams let several tasks read and write at once, and give way to others at each step. That costs more than
the system calls, and with TLS more than the encryption. Here sending costs one system call and no turn where the system
takes all at once; receiving waits first, for there is hardly ever something already.
"""

import socket
import ssl
from contextlib import suppress
from typing import Self

import trio

__all__ = ["TcpStream", "TlsListener", "TlsStream"]

_READ_BYTES = 32 * 1024


class TcpStream(trio.abc.HalfCloseableStream):
    """One end of a TCP connection, for one task at a time, over a `socket` that belongs to it."""

    def __init__(self, sock: socket.socket) -> None:
        """Use a connected socket."""
        sock.setblocking(False)
        self.socket = sock

    @classmethod
    def taken_over(cls, stream: trio.SocketStream) -> Self:
        """The same connection; `stream` is of no use afterwards."""
        return cls(socket.socket(fileno=stream.socket.detach()))

    def is_readable(self) -> bool:
        """Whether something has come that was not received yet, or the end."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass  # it broke, and receiving says so
        return True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it, waiting only where the system does not take it at once.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        sent = self._send(data)
        while sent < len(data):
            await trio.lowlevel.wait_writable(self.socket)
            sent += self._send(memoryview(data)[sent:])

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the system takes something."""
        await trio.lowlevel.wait_writable(self.socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return some; none at the end of the connection.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        while True:
            await trio.lowlevel.wait_readable(self.socket)
            try:
                return self.socket.recv(max_bytes or _READ_BYTES)
            except BlockingIOError:
                continue  # what was there has gone: the system dropped it
            except OSError as error:
                raise trio.BrokenResourceError("the connection broke") from error

    async def send_eof(self) -> None:
        """Tell the peer that nothing more comes."""
        with suppress(OSError):  # it has gone
            self.socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close the connection."""
        self.socket.close()
        await trio.lowlevel.checkpoint()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError("the connection broke") from error


class TlsStream(trio.abc.Stream):
    """One end of a TLS connection, for one task at a time.

    As HTTP needs it, and as `trio.SSLStream` does with `https_compatible`: a connection that ends without a word of TLS
    ends all the same, for HTTP knows where a message ends; and closing does not wait for the peer.

    Attributes:
        transport_stream: carries the encrypted bytes.
        tls: what is known of the connection, such as its protocol and certificates.
    """

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        """Make the server's end, or that of a client who wants the certificate of `server_hostname` to be shown."""
        self.transport_stream = transport_stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._is_ready = False
        self._has_ended = False

    def is_readable(self) -> bool:
        """Whether something has come that was not received yet, here or below: bytes, a word of TLS, or the end."""
        below = self.transport_stream
        assert isinstance(below, TcpStream | TlsStream)
        return bool(self._incoming.pending or self.tls.pending()) or below.is_readable()

    async def do_handshake(self) -> None:
        """Agree on keys, unless that is done. What TLS has to say of a failure is sent (RFC 8446 section 6.2).

        Raises:
            trio.BrokenResourceError: it failed, because of an `ssl.SSLError` that says why, or the connection broke.
        """
        while not self._is_ready:
            try:
                self.tls.do_handshake()
                self._is_ready = True
            except ssl.SSLWantReadError:
                await self._fill()
            except ssl.SSLError as error:
                with suppress(trio.BrokenResourceError):
                    await self._flush()
                raise trio.BrokenResourceError("the TLS handshake failed") from error
        await self._flush()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it, after the handshake if there was none.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        await self.do_handshake()
        try:
            self.tls.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError("the TLS connection broke") from error
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the connection below takes something."""
        await self.transport_stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return some; none at the end of the connection.

        Raises:
            trio.BrokenResourceError: the connection broke.
        """
        await self.do_handshake()
        while True:
            # Where nothing has come, TLS need not be asked for it: that it wants to read is an exception, and dear.
            if not (self._incoming.pending or self.tls.pending() or self._has_ended):
                await self._fill()
            try:
                data = self.tls.read(max_bytes or _READ_BYTES)
            except ssl.SSLWantReadError:
                await self._fill()
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except ssl.SSLError as error:
                raise trio.BrokenResourceError("the TLS connection broke") from error
            self._has_ended = not data
            return data

    async def aclose(self) -> None:
        """Say that this is the end (RFC 8446 section 6.1), and close without waiting for the peer's."""
        try:
            if self._is_ready:
                with suppress(ssl.SSLError):  # the peer has not said so, which need not be waited for
                    self.tls.unwrap()
                with suppress(trio.BrokenResourceError):
                    await self._flush()
        finally:
            await self.transport_stream.aclose()

    async def _fill(self) -> None:
        """Say what TLS wants to say, and hand it what comes next."""
        await self._flush()
        data = await self.transport_stream.receive_some(_READ_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self.transport_stream.send_all(self._outgoing.read())


class TlsListener(trio.abc.Listener[TlsStream]):
    """Takes connections with the certificate in force: another `context` is for those who connect from then on."""

    def __init__(self, listener: trio.SocketListener, context: ssl.SSLContext) -> None:
        self.context = context
        self._listener = listener

    @property
    def descriptor(self) -> int:
        """The socket's file descriptor."""
        return self._listener.socket.fileno()

    @property
    def address(self) -> tuple[str, int]:
        """Address and port."""
        name = self._listener.socket.getsockname()
        return str(name[0]), int(name[1])

    async def accept(self) -> TlsStream:
        """Take a connection; the handshake comes with the first use of it."""
        stream = TcpStream.taken_over(await self._listener.accept())
        return TlsStream(stream, self.context, server_side=True)

    async def aclose(self) -> None:
        """Take no more connections."""
        await self._listener.aclose()
