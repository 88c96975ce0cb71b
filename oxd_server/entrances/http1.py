"""A small HTTP/1.1 server on trio: h11 parses, this module bounds and refuses.

One connection is one task. A request is read whole (its head, then its body, each with its own size
and time limit), handed to the handler, and answered before the next one is looked at; that is also
what makes pipelining come out in order. Bytes that follow a request wait in our buffer, not in h11's. Of a body with a
length there is nothing to parse.

Every request has an id, which its answer tells (`X-Request-Id`): the client's own where that is a plain word, else a
new one.

A head means the same each time, and a client that keeps its connections says the same again and again. So what short
heads mean is kept for a while, for all connections.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from functools import lru_cache, partial

import msgspec
import trio

from oxd_server.entrances.http1_answer import CONTINUE, answer_bytes, phrase
from oxd_server.entrances.http1_body import ChunkedBody, too_large
from oxd_server.entrances.http1_head import BARE_CR_OR_LF_OR_NUL, Head, Refused, parse_head
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.entrances.http1_places import Idle, Open, Peer, Places, peer_of
from oxd_server.sync.first_wait import finish, run_to_first_wait
from oxd_server.sync.memo import remembered

__all__ = ["Handler", "Limits", "plain_error", "serve", "serve_connection"]

_RECEIVE_SIZE = 65_536
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1_048_576
_CLOSE_SECONDS = 2.0
_TURN_AWAY_SECONDS = 5.0
_TURNED_AWAY_AT_ONCE = 32

_ID_BYTES = 8


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class Limits(msgspec.Struct):
    """What one peer may use: sizes in bytes, times in seconds.

    They may be changed while they are in use.
    """

    max_header_bytes: int = 16_384
    max_body_bytes: int = 1_048_576
    header_timeout: float = 10.0
    body_timeout: float = 20.0
    send_timeout: float = 20.0
    idle_timeout: float = 60.0
    max_connections: int = 1000
    max_connections_per_address: int | None = None


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]
ErrorResponse = Callable[[int, str], HttpResponse]
OnException = Callable[[Exception, HttpRequest], None]
OnRefused = Callable[[int, str, str, str], None]
"""Told of a refusal: status, reason, the client and the request's id."""
RefuseAddress = Callable[[str], str | None]


def plain_error(status: int, reason: str) -> HttpResponse:
    """The default error answer: one line of text."""
    text = f"{status} {phrase(status)}: {reason}\n"
    return HttpResponse(status, [("Content-Type", "text/plain; charset=utf-8")], text.encode())


def _ignore_exception(exception: Exception, request: HttpRequest) -> None:
    del exception, request


def _ignore_refusal(status: int, reason: str, client: str, request_id: str) -> None:
    del status, reason, client, request_id


def _everybody(address: str) -> None:
    del address


class _Service(msgspec.Struct, frozen=True):
    """What all connections of one server share."""

    handler: Handler
    limits: Limits
    error_response: ErrorResponse
    on_exception: OnException
    on_refused: OnRefused
    now: Callable[[], float]
    idle: Idle = msgspec.field(default_factory=Idle)
    head_of: Callable[[bytes], Head] = msgspec.field(
        default_factory=lambda: remembered(parse_head, most=128, longest=2048)
    )


class _Connection:
    """Reads requests from one stream and writes their answers."""

    def __init__(self, stream: trio.abc.Stream, service: _Service, peer: Peer) -> None:
        self._stream = stream
        self._service = service
        self._limits = service.limits
        self._peer = peer
        self._buffer = bytearray()
        self._begin()

    def _begin(self) -> None:
        self._omit_body = self._persists = False
        self._request_id = secrets.token_hex(_ID_BYTES)

    async def run(self) -> None:
        """Serve until the peer leaves, asks to close, or must be refused."""
        first_wait, is_first = self._limits.header_timeout, True
        while True:
            self._begin()
            try:
                request = await self._read_request(first_wait, is_first=is_first)
            except Refused as refused:
                await self._refuse(refused)
                return
            if request is None:
                return
            answer, goes_on = await self._answer(request)
            await self._send(answer)
            if not goes_on:
                await self._linger()
                return
            first_wait, is_first = self._limits.idle_timeout, False

    async def refuse_unread(self, refused: Refused) -> None:
        """Answer without reading a request."""
        await self._refuse(refused)

    async def _receive(self) -> bool:
        """Add what arrives next to the buffer; False at the end of the stream."""
        data = await self._stream.receive_some(_RECEIVE_SIZE)
        self._buffer += data
        return bool(data)

    async def _read_request(self, first_wait: float, *, is_first: bool) -> HttpRequest | None:
        raw = await self._read_head(first_wait, is_first=is_first)
        if raw is None:
            return None
        self._omit_body = raw.startswith(b"HEAD ")  # RFC 9110 9.3.2: also when the answer is a refusal
        head = self._service.head_of(raw)
        self._request_id = head.id or self._request_id
        body = await self._read_body(head, raw)
        self._persists = head.persists
        return HttpRequest(
            head.method,
            head.path,
            head.query,
            head.headers,
            body,
            head.http_version,
            self._peer.name,
            self._peer.server,
            self._request_id,
        )

    async def _read_head(self, first_wait: float, *, is_first: bool) -> bytes | None:
        """The next head with its blank line; None if the peer left or sent nothing for too long."""
        has_begun = False
        with trio.CancelScope(deadline=trio.current_time() + first_wait) as scope:
            self._service.idle.enter(scope, self._peer.share, is_first=is_first)
            try:
                if not self._buffer and not await self._receive():
                    return None
                has_begun = True
                return await self._complete_head(scope)
            finally:
                self._service.idle.leave(scope)
        if has_begun and trio.current_time() >= scope.deadline:
            raise Refused(408, "the head of the request took too long")
        return None

    async def _complete_head(self, scope: trio.CancelScope) -> bytes:
        searched, empty_lines, deadline = 0, 0, trio.current_time() + self._limits.header_timeout
        while True:
            # RFC 9112 2.2: a server "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
            if empty_lines == 0 and self._buffer.startswith(b"\r\n"):
                del self._buffer[:2]
                searched, empty_lines = 0, 1
            if (end := self._buffer.find(b"\r\n\r\n", max(0, searched - 3))) >= 0:
                break
            if len(self._buffer) > self._limits.max_header_bytes:
                raise Refused(431, "the head of the request is too large")
            self._check_beginning(searched)
            if searched == 0:
                scope.deadline = deadline  # only now: mostly the head has come whole
            searched = len(self._buffer)
            if not await self._receive():
                raise Refused(400, "the request ends within its head")
        if end + 4 > self._limits.max_header_bytes:
            raise Refused(431, "the head of the request is too large")
        head = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        return head

    def _check_beginning(self, searched: int) -> None:
        """Refuse at once what can never become a request, instead of waiting for its end."""
        newest = bytes(self._buffer[max(0, searched - 1) :])
        if self._buffer and self._buffer[0] <= 0x20 and self._buffer != b"\r":
            raise Refused(400, "this is not an HTTP request")
        if BARE_CR_OR_LF_OR_NUL.search(newest.removesuffix(b"\r").removeprefix(b"\n")):
            raise Refused(400, "a line of the head does not end in CRLF")

    async def _read_body(self, head: Head, raw: bytes) -> bytes:
        limit, deadline = self._limits.max_body_bytes, trio.current_time() + self._limits.body_timeout
        if head.content_length > limit:
            raise too_large(limit)
        if head.expects_continue:
            await self._send(CONTINUE)
        if head.is_chunked:
            return await self._read_chunks(ChunkedBody(raw, self._limits.max_header_bytes, limit), deadline)
        while len(self._buffer) < head.content_length:
            await self._receive_body(deadline)
        body = bytes(self._buffer[: head.content_length])
        del self._buffer[: head.content_length]
        return body

    async def _read_chunks(self, chunks: ChunkedBody, deadline: float) -> bytes:
        body = None
        while body is None:
            if not self._buffer:
                await self._receive_body(deadline)
            data = bytes(self._buffer)
            self._buffer.clear()
            body = chunks.receive(data)
        self._buffer += chunks.rest
        return body

    async def _receive_body(self, deadline: float) -> None:
        with trio.move_on_at(deadline):
            if not await self._receive():
                raise Refused(400, "the request ends within its body")
            return
        raise Refused(408, "the body of the request took too long")

    async def _answer(self, request: HttpRequest) -> tuple[bytes, bool]:
        """The answer to a request, and whether another one may follow."""
        try:
            response = await self._service.handler(request)
            return self._bytes_of(response, close=not self._goes_on()), self._goes_on()
        except Exception as exception:  # a header that cannot be sent is the handler's mistake as well
            self._service.on_exception(exception, request)
            response = self._service.error_response(500, "something went wrong here")
            return self._bytes_of(response, close=not self._goes_on()), self._goes_on()

    def _goes_on(self) -> bool:
        return self._persists and not self._service.idle.leaving

    async def _refuse(self, refused: Refused) -> None:
        self._service.on_refused(refused.status, refused.reason, self._peer.name, self._request_id)
        await self._send(self._bytes_of(self._service.error_response(refused.status, refused.reason), close=True))
        await self._linger()

    def _bytes_of(self, response: HttpResponse, *, close: bool) -> bytes:
        return answer_bytes(
            response.status,
            response.headers,
            response.body,
            request_id=self._request_id,
            date=_date(int(self._service.now())),
            close=close,
            omit_body=self._omit_body,
        )

    async def _send(self, data: bytes) -> None:
        sending = self._stream.send_all(data)
        # Mostly the system takes all at once, and a time limit would cost as much as that. So there is one only if this
        # has to wait. (It must not have opened a cancel scope of its own by then, which no stream here does.)
        trap = run_to_first_wait(sending)
        if trap is None:
            return
        with trio.move_on_after(self._limits.send_timeout):
            await finish(sending, trap)
            return
        raise trio.BrokenResourceError("the peer does not read its answer")

    async def _linger(self) -> None:
        """Let the peer read the last answer before the close: bytes unread here would turn it into a reset."""
        left = _LINGER_BYTES
        half_close = isinstance(self._stream, trio.abc.HalfCloseableStream)
        # TLS has no half close: its peer may itself wait for the end, so not for long.
        with trio.move_on_after(_LINGER_SECONDS if half_close else _LINGER_SECONDS / 10):
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            while left > 0 and (data := await self._stream.receive_some(_RECEIVE_SIZE)):
                left -= len(data)


async def _close(stream: trio.abc.Stream) -> None:
    """Close in good order if that is quick, else at once; also while being cancelled."""
    with trio.move_on_after(_CLOSE_SECONDS, shield=True):
        try:
            await stream.aclose()
        except trio.BrokenResourceError:
            return  # the peer is gone: nobody to tell


async def _serve_stream(stream: trio.abc.Stream, service: _Service, peer: Peer) -> None:
    try:
        await _Connection(stream, service, peer).run()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the peer is gone: nobody to tell
    except Exception as exception:  # a mistake here must end this connection only, not the server
        service.on_exception(exception, HttpRequest("", "", client=peer.name))
    finally:
        await _close(stream)


async def _turn_away(stream: trio.abc.Stream, service: _Service, peer: Peer, refused: Refused) -> None:
    """Answer without reading a request, and close; over TLS this takes a handshake."""
    try:
        with trio.move_on_after(_TURN_AWAY_SECONDS):
            await _Connection(stream, service, peer).refuse_unread(refused)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
    finally:
        await trio.aclose_forcefully(stream)


async def serve_connection(
    stream: trio.abc.Stream,
    handler: Handler,
    limits: Limits,
    *,
    error_response: ErrorResponse = plain_error,
    on_exception: OnException = _ignore_exception,
    now: Callable[[], float] = time.time,
    client: str = "",
) -> None:
    """Serve one connection (TCP, TLS or any other trio stream) until it ends, then close it.

    `error_response(status, reason)` makes the answers to refused requests and failed handlers;
    `on_exception` is told of a handler's exception, whose text never reaches the peer, and of any other that ends
    this connection (then with a request without a method); `now` gives the seconds since the epoch for the Date header.
    """
    service = _Service(handler, limits, error_response, on_exception, _ignore_refusal, now)
    await _serve_stream(stream, service, Peer(client))


def _refusal(refuse_address: RefuseAddress, places: Places, peer: Peer) -> Refused | None:
    if peer.address and (reason := refuse_address(peer.address)) is not None:
        return Refused(403, reason)
    reason = places.refusal(peer.share)
    return None if reason is None else Refused(503, reason)


async def serve(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
    handler: Handler,
    limits: Limits,
    *,
    error_response: ErrorResponse = plain_error,
    on_exception: OnException = _ignore_exception,
    on_refused: OnRefused = _ignore_refusal,
    refuse_address: RefuseAddress = _everybody,
    opened: Open | None = None,
    now: Callable[[], float] = time.time,
    leave: trio.Event | None = None,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve all `listeners` until cancelled, or until `stop` is set and the running requests are answered.

    The streams of a TLS listener may leave the handshake to their first use; it counts as part of the first request's
    head. At `max_connections` the connection that has waited longest
    for a request makes room for a new one; if none waits, the new one gets 503. So it is for the share of each
    address. `refuse_address` says why an address is not served (403, before anything is read), None if it is;
    `on_refused` is told of every refusal; `opened` counts the connections. When `leave` is set, nobody new is taken,
    every connection ends after its next answer, and this function with the last of them.
    """
    service = _Service(handler, limits, error_response, on_exception, on_refused, now)
    places = Places(service.idle, limits, opened or Open())
    turned_away = 0

    async def serve_one(stream: trio.abc.Stream) -> None:
        nonlocal turned_away
        peer = peer_of(stream)
        refused = _refusal(refuse_address, places, peer)
        if refused is None:
            with places.take(peer.share):
                await _serve_stream(stream, service, peer)
        elif turned_away < _TURNED_AWAY_AT_ONCE:
            turned_away += 1
            try:
                await _turn_away(stream, service, peer, refused)
            finally:
                turned_away -= 1
        else:
            on_refused(refused.status, refused.reason, peer.name, "")
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as watching:
        async with trio.open_nursery() as connections, trio.open_nursery() as accepting:
            await accepting.start(partial(trio.serve_listeners, handler_nursery=connections), serve_one, listeners)
            task_status.started()
            for event, end in ((leave, service.idle.leave_soon), (stop, service.idle.stop)):
                if event is not None:
                    watching.start_soon(_end_when, event, accepting.cancel_scope, end)
        watching.cancel_scope.cancel()


async def _end_when(event: trio.Event, accepting: trio.CancelScope, end: Callable[[], None]) -> None:
    await event.wait()
    accepting.cancel()
    end()
