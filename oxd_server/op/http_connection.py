"""One HTTP/1.1 connection to an OP: a request goes out in one write, its answer is read whole, within bounds.

h11 parses heads (`http_head`) and bodies in chunks; of a body with a length there is nothing to parse. What comes after
an answer belongs to none, and ends the connection. An answer has a bound for the bytes of its body, and one for raw
bytes, whatever HTTP makes of them. A read costs something beside its bytes, so that bytes that come one by one are as
dear as they are to us. One cancel scope watches over a request; its deadline moves with every read. A request is one
join of texts, which costs a tenth of what h11 takes for it.
"""

import base64
import re
from collections.abc import Mapping
from contextlib import suppress
from math import inf

import h11
import httpx2
import trio

from oxd_protocol.discreet import Discreet
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.http_head import BLANK_LINE, AnswerHead, head_of
from oxd_server.op.reach import Zone
from oxd_server.op.targets import Target
from oxd_server.streams import TcpStream, TlsStream

__all__ = ["HttpAnswer", "HttpConnection", "HttpRequest"]

_MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 16 * 1024
_READ_COST = 64
# Each piece of a body costs its bytes and this: pieces of a byte each are as dear as they are to us.
_PIECE_COST = 64
_PIECES_A_TURN = 64
_CLOSE_SECONDS = 1.0
_PROXY_AUTHENTICATION_REQUIRED = 407

_LINES = re.compile(r"[\t\x20-\x7e\x80-\xff]+")
_NO_CONTENT = ("GET", "DELETE")
_HTTP = b"HTTP/"
_BREAKS_OFF = "the answer breaks off"


class HttpRequest(Discreet, frozen=True):
    """What is sent to one place, and within which bounds its answer comes.

    Attributes:
        method: the HTTP method.
        target: the place.
        headers: beside `Host` and `Content-Length`.
        content: the body.
        until: when the answer must be complete, by trio's clock.
        max_bytes: the most that its body may have.
        within: the zone of the OP that leads there; None: a caller does.
        identity: what is shown in TLS.
    """

    shows = ("method", "target", "until", "max_bytes", "within", "identity")

    method: str
    target: Target
    headers: dict[str, str]
    content: bytes
    until: float
    max_bytes: int
    within: Zone | None = None
    identity: ClientIdentity | None = None


class HttpAnswer(Discreet, frozen=True):
    """What came back, from where: names of headers are in lower case."""

    shows = ("status", "zone")

    status: int
    headers: Mapping[str, str]
    body: bytes
    zone: Zone


class HttpConnection:
    """A connection that serves one request after the other.

    Attributes:
        zone: where the other end lies.
        is_reusable: another request may follow: the last answer is complete, and both sides want to go on.
    """

    def __init__(
        self, stream: TcpStream | TlsStream, zone: Zone, silence: float, proxy: httpx2.Proxy | None = None
    ) -> None:
        """The other side may be silent for so many seconds.

        `proxy` is at the other end, and passes requests on that are not hidden from it by TLS.
        """
        self.zone = zone
        self.is_reusable = False
        self._stream = stream
        self._proxy = proxy
        self._received = bytearray()
        self._longest_silence = silence
        self._silence = trio.CancelScope()
        self._until = inf
        self._bytes_left = 0

    async def exchange(self, request: HttpRequest) -> HttpAnswer:
        """Send the request and read its whole answer.

        Raises:
            httpx2.LocalProtocolError: a header of the request would end its line (nothing was sent).
            httpx2.ReadTimeout: the other side does not read, is silent for too long, or takes too long in all.
            httpx2.ReadError: the connection broke before the head of an answer.
            httpx2.RemoteProtocolError: the answer is no HTTP, too large, or breaks off.
            httpx2.ProxyError: the proxy wants other credentials.
        """
        self.is_reusable = False
        self._until = request.until
        late = "timed out: the request is not taken"
        with trio.CancelScope(deadline=self._end_of_silence()) as self._silence:
            is_sent = await self._send(request)
            late = "timed out: there is no answer"
            head = await self._read_head()
            late = "the answer stalled"
            body = await self._read_body(head, request.max_bytes)
            self.is_reusable = is_sent and head.persists and not self._received
            return HttpAnswer(head.status, head.headers, body, self.zone)
        raise httpx2.ReadTimeout(late if trio.current_time() < self._until else "no complete answer in time")

    async def open_tunnel(self, authority: str) -> TcpStream | TlsStream:
        """Ask the proxy for a tunnel to `authority` (RFC 9110 section 9.3.6), which takes this connection's place.

        Raises:
            httpx2.ReadError, httpx2.RemoteProtocolError
            httpx2.ProxyError: it opens none.
        """
        assert self._proxy is not None
        await self._write(_request_head("CONNECT", authority, {"Host": authority, **_proxy_headers(self._proxy)}))
        head = await self._read_head()
        # RFC 9110 section 9.3.6: "Any 2xx (Successful) response indicates that the sender [...] will switch to tunnel
        # mode". The server behind it says nothing before TLS begins.
        if head.status >= 300 or self._received:
            raise httpx2.ProxyError(f"the proxy opens no way there: HTTP status {head.status}")
        return self._stream

    def is_silent(self) -> bool:
        """Whether nothing has come since the last answer. Nothing may: what did come is the end, or nonsense."""
        return not self._stream.is_readable()

    async def aclose(self) -> None:
        """Close the connection, in good order if that is quick; also while being cancelled."""
        shield = trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS)
        with shield, suppress(trio.BrokenResourceError):
            await self._stream.aclose()

    async def _send(self, request: HttpRequest) -> bool:
        target, headers = request.target.path, {"Host": request.target.host, **request.headers}
        if request.content or request.method not in _NO_CONTENT:
            headers["Content-Length"] = str(len(request.content))
        if self._proxy is not None:
            # RFC 9112 section 3.2.2: to a proxy "a client MUST send the target URI in "absolute-form"".
            target = str(request.target.url)
            # There are proxies that know a header in its usual spelling only, and add it again.
            headers = {name.title(): value for name, value in headers.items()} | _proxy_headers(self._proxy)
        return await self._write(_request_head(request.method, target, headers) + request.content)

    async def _write(self, message: bytes) -> bool:
        """Send a request; False if the connection broke, as it may when the answer is there already."""
        self._bytes_left = _MAX_HEAD_BYTES
        try:
            await self._stream.send_all(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def _read_head(self) -> AnswerHead:
        while True:
            try:
                head = head_of(await self._read_raw_head())
            except h11.RemoteProtocolError as error:
                raise httpx2.RemoteProtocolError("the answer is not HTTP") from error
            # RFC 9110 section 15.2: a client "MUST be able to parse one or more 1xx responses received prior to a final
            # response, even if the client does not expect one".
            if head.status >= 200:
                break
        if self._proxy is not None and head.status == _PROXY_AUTHENTICATION_REQUIRED:
            raise httpx2.ProxyError("the proxy wants other credentials: HTTP status 407")
        return head

    async def _read_raw_head(self) -> bytes:
        searched = 0
        while (end := BLANK_LINE.search(self._received, searched)) is None:
            searched = max(len(self._received) - 2, 0)
            data = await self._receive("the head of the answer is too large")
            if not data:
                raise httpx2.ReadError("the connection broke before an answer")
            self._received += data
            if not self._received.startswith(_HTTP[: len(self._received)]):
                raise httpx2.RemoteProtocolError("the answer is not HTTP")
        return self._taken(end.end())

    async def _read_body(self, head: AnswerHead, limit: int) -> bytes:
        too_large = f"the answer is larger than {limit} bytes"
        self._bytes_left += 2 * limit
        if head.length is None:
            return await self._read_framed_body(head.body_parser(), limit, too_large)
        if head.length > limit:
            raise httpx2.RemoteProtocolError(too_large)
        while len(self._received) < head.length:
            data = await self._receive(too_large)
            if not data:
                raise httpx2.RemoteProtocolError(_BREAKS_OFF)
            self._received += data
        return self._taken(head.length)

    async def _read_framed_body(self, parser: h11.Connection, limit: int, too_large: str) -> bytes:
        """A body in chunks, or one that ends with the connection."""
        if self._received:
            parser.receive_data(self._taken(len(self._received)))
        body, pieces = bytearray(), 0
        while True:
            event = _next_event(parser)
            if type(event) is h11.EndOfMessage:
                self._received += parser.trailing_data[0]
                return bytes(body)
            if event is h11.NEED_DATA:
                parser.receive_data(await self._receive(too_large))
            elif type(event) is h11.Data:
                body += event.data
                pieces += 1
                if len(body) > limit:
                    raise httpx2.RemoteProtocolError(too_large)
                if len(body) + pieces * _PIECE_COST > 2 * limit + _PIECE_COST * _PIECES_A_TURN:
                    raise httpx2.RemoteProtocolError("the answer comes in too many pieces")
                if pieces % _PIECES_A_TURN == 0:
                    await trio.lowlevel.checkpoint()

    def _taken(self, count: int) -> bytes:
        """The first bytes of what was received, which are done with."""
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    async def _receive(self, too_much: str) -> bytes:
        """What comes next; nothing at the end of the connection, in whatever way it ends."""
        if self._bytes_left <= 0:
            raise httpx2.RemoteProtocolError(too_much)
        self._silence.deadline = self._end_of_silence()
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""
        self._bytes_left -= len(data) + _READ_COST
        return data

    def _end_of_silence(self) -> float:
        return min(trio.current_time() + self._longest_silence, self._until)


def _next_event(parser: h11.Connection) -> object:
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        raise httpx2.RemoteProtocolError(_BREAKS_OFF) from error


def _request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Request line and headers (RFC 9112 sections 3 and 5), none of which may hold the end of a line.

    Raises:
        httpx2.LocalProtocolError: one does.
    """
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if not _LINES.fullmatch("".join(lines)):
        raise httpx2.LocalProtocolError("a header of the request holds a control character")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _proxy_headers(proxy: httpx2.Proxy) -> dict[str, str]:
    """What tells the proxy who asks (RFC 9110 section 11.7.2)."""
    if proxy.raw_auth is None:
        return {}
    return {"Proxy-Authorization": f"Basic {base64.b64encode(b':'.join(proxy.raw_auth)).decode('ascii')}"}
