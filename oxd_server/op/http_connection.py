"""One HTTP/1.1 connection to an OP: a request goes out in one write, its answer is read whole, within bounds.

Each answer has a parser of its own (h11), so that nothing of one gets into the next. It has a bound for the bytes of
its body, and one for raw bytes, whatever HTTP makes of them. A read costs something beside its bytes, so that bytes
that come one by one are as dear as they are to us. One cancel scope watches over a request; its deadline moves with
every read. A request is one join of bytes, which costs a tenth of what h11 takes for it.
"""

import base64
import re
from collections.abc import Iterable
from contextlib import suppress
from math import inf

import h11
import httpx2
import trio

from oxd_server.op.reach import Zone
from oxd_server.streams import TcpStream, TlsStream

__all__ = ["HttpConnection"]

_MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 16 * 1024
_READ_COST = 64
# Each piece of a body costs its bytes and this: pieces of a byte each are as dear as they are to us.
_PIECE_COST = 64
_PIECES_A_TURN = 64
_CLOSE_SECONDS = 1.0
_PROXY_AUTHENTICATION_REQUIRED = 407

_LINE = re.compile(rb"[\t\x20-\x7e\x80-\xff]+")
# What the parser has to know of a request, to read its answer: all methods but CONNECT are alike (HEAD is not used).
_REQUEST = h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"op")])
_CONNECT = h11.Request(method=b"CONNECT", target=b"op:443", headers=[(b"host", b"op")])


class HttpConnection:
    """A connection that serves one request after the other.

    Attributes:
        zone: where the other end lies.
        is_reusable: another request may follow: the last answer is complete, and both sides want to go on.
    """

    def __init__(self, stream: TcpStream | TlsStream, zone: Zone, proxy: httpx2.Proxy | None = None) -> None:
        """`proxy` is at the other end, and passes requests on that are not hidden from it by TLS."""
        self.zone = zone
        self.is_reusable = False
        self._stream = stream
        self._proxy = proxy
        self._parser = h11.Connection(h11.CLIENT)
        self._silence = trio.CancelScope()
        self._read_timeout = inf
        self._until = inf
        self._bytes_left = 0

    async def exchange(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and read its answer, whose body the response's stream holds in one piece.

        Args:
            request: its body is a `ByteStream`; its extensions are httpx2's `timeout` (of which `read` and `write`
                count), `until`, when the answer must be complete (by trio's clock), and `max_bytes`, the most that its
                body may have.

        Raises:
            httpx2.ReadTimeout: the other side does not read, is silent for too long, or takes too long in all.
            httpx2.ReadError: the connection broke before the head of an answer.
            httpx2.RemoteProtocolError: the answer is no HTTP, too large, or breaks off.
            httpx2.ProxyError: the proxy wants other credentials.
        """
        self.is_reusable = False
        timeout, self._until = request.extensions["timeout"], request.extensions["until"]
        self._read_timeout = timeout["read"]
        late = "timed out: the request is not taken"
        with trio.CancelScope(deadline=self._at_most(timeout["write"])) as self._silence:
            is_sent = await self._send(request)
            late = "timed out: there is no answer"
            head = await self._read_head()
            late = "the answer stalled"
            body = await self._read_body(request.extensions["max_bytes"])
            self.is_reusable = is_sent and self._is_at_an_end()
            return _response(head, body, self.zone)
        raise httpx2.ReadTimeout(late if trio.current_time() < self._until else "no complete answer in time")

    async def open_tunnel(self, authority: bytes) -> TcpStream | TlsStream:
        """Ask the proxy for a tunnel to `authority` (RFC 9110 section 9.3.6), which takes this connection's place.

        Raises:
            httpx2.ReadError, httpx2.RemoteProtocolError
            httpx2.ProxyError: it opens none.
        """
        assert self._proxy is not None
        headers = [(b"Host", authority), *_proxy_headers(self._proxy)]
        await self._write(_CONNECT, _request_head(b"CONNECT", authority, headers))
        head = await self._read_head()
        # RFC 9110 section 9.3.6: "Any 2xx (Successful) response indicates that the sender [...] will switch to tunnel
        # mode". The server behind it says nothing before TLS begins.
        if head.status_code >= 300 or self._parser.trailing_data[0]:
            raise httpx2.ProxyError(f"the proxy opens no way there: HTTP status {head.status_code}")
        return self._stream

    def is_silent(self) -> bool:
        """Whether nothing has come since the last answer. Nothing may: what did come is the end, or nonsense."""
        return not self._stream.is_readable()

    async def aclose(self) -> None:
        """Close the connection, in good order if that is quick; also while being cancelled."""
        shield = trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS)
        with shield, suppress(trio.BrokenResourceError):
            await self._stream.aclose()

    async def _send(self, request: httpx2.Request) -> bool:
        assert isinstance(request.stream, httpx2.ByteStream)
        target, headers = request.url.raw_path, request.headers.raw
        if self._proxy is not None:
            # RFC 9112 section 3.2.2: to a proxy "a client MUST send the target URI in "absolute-form"".
            target = str(request.url).encode("ascii")
            # There are proxies that know a header in its usual spelling only, and add it again.
            headers = [*((name.title(), value) for name, value in headers), *_proxy_headers(self._proxy)]
        return await self._write(
            _REQUEST, _request_head(request.method.encode("ascii"), target, headers), *request.stream
        )

    async def _write(self, kind: h11.Request, *parts: bytes) -> bool:
        """Send a request of this kind; False if the connection broke, as it may when the answer is there already."""
        self._bytes_left = _MAX_HEAD_BYTES
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES + _READ_BYTES)
        self._parser.send(kind)
        try:
            await self._stream.send_all(b"".join(parts))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def _read_head(self) -> h11.Response:
        while True:
            event = self._next_event("the answer is not HTTP")
            if type(event) is h11.Response:
                break
            if event is h11.NEED_DATA:
                data = await self._receive("the head of the answer is too large")
                if not data:
                    raise httpx2.ReadError("the connection broke before an answer")
                self._parser.receive_data(data)
        if self._proxy is not None and event.status_code == _PROXY_AUTHENTICATION_REQUIRED:
            raise httpx2.ProxyError("the proxy wants other credentials: HTTP status 407")
        return event

    async def _read_body(self, limit: int) -> bytes:
        too_large = f"the answer is larger than {limit} bytes"
        self._bytes_left += 2 * limit
        body, pieces = bytearray(), 0
        while True:
            event = self._next_event("the answer breaks off")
            if type(event) is h11.EndOfMessage:
                return bytes(body)
            if event is h11.NEED_DATA:
                self._parser.receive_data(await self._receive(too_large))
            elif type(event) is h11.Data:
                body += event.data
                pieces += 1
                if len(body) > limit:
                    raise httpx2.RemoteProtocolError(too_large)
                if len(body) + pieces * _PIECE_COST > 2 * limit + _PIECE_COST * _PIECES_A_TURN:
                    raise httpx2.RemoteProtocolError("the answer comes in too many pieces")
                if pieces % _PIECES_A_TURN == 0:
                    await trio.lowlevel.checkpoint()

    def _next_event(self, problem: str) -> object:
        try:
            return self._parser.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx2.RemoteProtocolError(problem) from error

    async def _receive(self, too_much: str) -> bytes:
        """What comes next; nothing at the end of the connection, in whatever way it ends."""
        if self._bytes_left <= 0:
            raise httpx2.RemoteProtocolError(too_much)
        self._silence.deadline = self._at_most(self._read_timeout)
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""
        self._bytes_left -= len(data) + _READ_COST
        return bytes(data)

    def _at_most(self, seconds: float) -> float:
        return min(trio.current_time() + seconds, self._until)

    def _is_at_an_end(self) -> bool:
        """Whether the other end is ready for another request. What came after the answer belongs to none."""
        return self._parser.their_state is h11.DONE and not self._parser.trailing_data[0]


def _request_head(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Request line and headers (RFC 9112 sections 3 and 5), none of which may hold the end of a line.

    Raises:
        httpx2.LocalProtocolError: one does.
    """
    lines = [b"%s %s HTTP/1.1" % (method, target), *(b"%s: %s" % header for header in headers)]
    if not all(map(_LINE.fullmatch, lines)):
        raise httpx2.LocalProtocolError("a header of the request holds a control character")
    return b"\r\n".join((*lines, b"", b""))


def _response(head: h11.Response, body: bytes, zone: Zone) -> httpx2.Response:
    stream = httpx2.ByteStream(body)
    return httpx2.Response(head.status_code, headers=list(head.headers), stream=stream, extensions={"zone": zone})


def _proxy_headers(proxy: httpx2.Proxy) -> list[tuple[bytes, bytes]]:
    """What tells the proxy who asks (RFC 9110 section 11.7.2)."""
    if proxy.raw_auth is None:
        return []
    return [(b"Proxy-Authorization", b"Basic " + base64.b64encode(b":".join(proxy.raw_auth)))]
