"""The only HTTP caller: every byte to and from an OP goes through `Transport.send`.

TLS is verified; each request has a connect, a read and a total timeout; the answer has a size limit, in raw bytes and
in what comes out of it; nothing is called that the OP may not lead to; no proxy, cookie or other setting is taken from
the environment. A redirect is followed only where the caller says so: to documents that are public anyway. A GET is
sent once more if the connection broke before an answer; nothing else is. One host gets so many requests at a time and
no more.
"""

import socket
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

import h11
import httpcore2
import httpx2
import msgspec
import trio

from oxd_server import __version__
from oxd_server.log.known import note_secrets
from oxd_server.op.answer import Answer
from oxd_server.op.body import BodyTooLarge, UnreadableBody, unpacked
from oxd_server.op.errors import Failure, OpBusy, OpHostRefused, OpInvalidResponse, OpUnreachable
from oxd_server.op.network import CheckedNetwork, CountedStream, Resolve, Resolver, TooManyBytes
from oxd_server.op.observed import Observe, OpRequest, nobody_looks, outcome_of, outcome_of_failure
from oxd_server.op.reach import Reach, Zone, is_loopback, origin_of
from oxd_server.sync.busy import TooBusy
from oxd_server.sync.host_slots import HostSlots

__all__ = ["MAX_REDIRECTS", "USER_AGENT", "Transport", "TransportSettings"]

USER_AGENT = f"oxd-server/{__version__}"

MAX_REDIRECTS = 3
"""Of a document that is public."""

_CHECKED_URLS = 1000
_LONGEST_KEPT_URL = 500
_LONGEST_URL = 8000
_MOST_WAITING_SHARED = 200
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PORTS = {"http": 80, "https": 443}

# Each piece of a body costs its bytes and this: pieces of a byte each are as dear as they are to us.
_PIECE_COST = 64
_PIECES_A_TURN = 64

FormFields = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """How to talk to OPs; timeouts in seconds.

    Attributes:
        ssl_context: from `tls.make_ssl_context`.
        total_timeout: from the first attempt to connect to the last byte of the answer.
        allowed_op_hosts: hosts that may be contacted; empty: any. `host` is meant with any port, `host:port` with
            that port only, a URL with its own port or that of its scheme.
            It holds for every request, so an OP whose endpoints lie on several hosts needs all of them here.
        plain_http_hosts: hosts beside loopback that may be contacted without TLS. Insecure.
        max_requests_per_host: so many run at a time, twice as many wait, more are refused; beside them a quarter as
            many for what is fetched once for all (metadata and keys).
        max_connections: to all hosts together. It is not meant to be reached: whoever waits in the pool waits for
            hosts that are not its own.
    """

    ssl_context: ssl.SSLContext
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    total_timeout: float = 20.0
    max_response_bytes: int = 1024 * 1024
    allowed_op_hosts: frozenset[str] = frozenset()
    plain_http_hosts: frozenset[str] = frozenset()
    max_requests_per_host: int = 100
    max_connections: int = 2000
    max_idle_connections: int = 20
    idle_connection_seconds: float = 4.0


class Transport:
    """Sends requests over pools of kept connections; use as an async context manager.

    There is a pool for each zone that an OP may live in: a connection is used again only by those who may have it.
    """

    def __init__(
        self, settings: TransportSettings, resolve: Resolve | None = None, observe: Observe = nobody_looks
    ) -> None:
        """Prepare the pools; `resolve` gives the addresses of a host, `observe` is told of each request.

        Raises:
            ValueError: a host in the settings is none.
        """
        self._settings = settings
        self._observe = observe
        self._allowed_hosts = frozenset(_host_entry(entry) for entry in settings.allowed_op_hosts)
        self._plain_http_hosts = frozenset(_host_entry(entry) for entry in settings.plain_http_hosts)
        self._slots = HostSlots(settings.max_requests_per_host)
        self._shared_slots = HostSlots(-(-settings.max_requests_per_host // 4), most_waiting=_MOST_WAITING_SHARED)
        self._checked: dict[str, _Target] = {}
        resolve = resolve or Resolver().addresses
        self._pools = {zone: self._make_pool(CheckedNetwork(zone, resolve)) for zone in (None, *Zone)}

    def _make_pool(self, network: CheckedNetwork) -> httpcore2.AsyncConnectionPool:
        return httpcore2.AsyncConnectionPool(
            ssl_context=self._settings.ssl_context,
            max_connections=self._settings.max_connections,
            max_keepalive_connections=self._settings.max_idle_connections,
            keepalive_expiry=self._settings.idle_connection_seconds,
            network_backend=network,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        async with AsyncExitStack() as stack:
            for pool in self._pools.values():
                stack.push_async_callback(pool.aclose)

    def check_url(self, url: str) -> httpx2.URL:
        """The parsed URL, if the configuration allows to contact it.

        Raises:
            OpHostRefused: it is no http(s) URL, its host is not among the allowed ones, or it would need plain HTTP
                to a host where that is not allowed.
        """
        return self._target(url).url

    def _target(self, url: str) -> "_Target":
        target = self._checked.get(url)
        if target is None:
            target = self._check_url(url)
            if len(self._checked) >= _CHECKED_URLS:
                self._checked.clear()
            if len(url) <= _LONGEST_KEPT_URL:
                self._checked[url] = target
        return target

    def _check_url(self, url: str) -> "_Target":
        if len(url) > _LONGEST_URL:
            raise OpHostRefused("?", f"a URL of more than {_LONGEST_URL} characters")
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError) as error:
            raise OpHostRefused("?", "not a valid URL") from error
        host = _host_and_port(parsed)
        origin = origin_of(str(parsed))  # none where the port is no port
        if not origin or parsed.scheme not in ("http", "https") or not _names_a_host(parsed) or parsed.userinfo:
            raise OpHostRefused(host or "?", "not an http or https URL of a host")
        names = {parsed.host, _with_port(parsed)}
        if self._allowed_hosts and not self._allowed_hosts & names:
            raise OpHostRefused(host, "not among the allowed_op_hosts")
        if parsed.scheme == "http" and not (is_loopback(parsed.host) or self._plain_http_hosts & names):
            raise OpHostRefused(host, "plain http is allowed for loopback hosts only")
        return _Target(parsed, host, origin)

    async def send(
        self,
        method: str,
        url: str,
        *,
        step: str,
        within: Reach | None = None,
        headers: Mapping[str, str] | None = None,
        form: FormFields | None = None,
        json: object = None,
        shared: bool = False,
        redirects: int = 0,
        max_bytes: int = sys.maxsize,
    ) -> Answer:
        """One request, one answer of any status.

        Args:
            method: the HTTP method.
            url: an absolute URL.
            step: what is being done, in a word or two, for error reports.
            within: how far the OP may lead that named the URL; None: the operator or a caller named it.
            headers: sent besides those that every request has.
            form: fields of an `application/x-www-form-urlencoded` body.
            json: the value of an `application/json` body.
            shared: the answer is for many who wait for it, asked for once at a time: it has slots of its own, for
                whoever waits for it in the middle of a login must not be sent away for others' requests.
            redirects: so many are followed. For a GET of what is public.
            max_bytes: of the answer, where that is less than the settings allow.

        Raises:
            OpHostRefused: the URL may not be contacted (nothing was sent).
            OpBusy: too many requests to the host are under way and waiting (nothing was sent).
            OpUnreachable: no connection, or no complete answer in time.
            OpInvalidResponse: what came back is no HTTP, too large, unreadable, or breaks off.
        """
        head = {"user-agent": USER_AGENT, "accept": "application/json", "accept-encoding": "identity"}
        if headers:
            head.update((name.lower(), value) for name, value in headers.items())
        content = b""
        if form is not None:
            content = urlencode(list(form.items()) if isinstance(form, Mapping) else list(form)).encode("ascii")
            head["content-type"] = "application/x-www-form-urlencoded"
        elif json is not None:
            content = msgspec.json.encode(json)
            head["content-type"] = "application/json"
        note_secrets(head.get("authorization"))
        note_secrets(form)
        target = self._target(url)
        request = _Request(method, head, content, step, shared, min(max_bytes, self._settings.max_response_bytes))
        answer = await self._observed(request, target, within, redirects)
        if not shared:  # what is shared by many is public
            note_secrets(answer.body)
        return answer

    async def _observed(self, request: "_Request", target: "_Target", within: Reach | None, redirects: int) -> Answer:
        started = trio.current_time()
        try:
            answer = await self._in_time(request, target, within, redirects)
        except (OpHostRefused, OpBusy):
            raise  # nothing was sent
        except BaseException as error:
            self._observe(OpRequest(target.host, outcome_of_failure(error), trio.current_time() - started))
            raise
        self._observe(OpRequest(target.host, outcome_of(answer.status), trio.current_time() - started))
        return answer

    async def _in_time(self, request: "_Request", target: "_Target", within: Reach | None, redirects: int) -> Answer:
        with trio.move_on_after(self._settings.total_timeout):
            return await self._follow(request, target, within, redirects)
        raise OpUnreachable(target.host, request.step, "no complete answer in time", "timeout")

    async def _follow(self, request: "_Request", target: "_Target", within: Reach | None, redirects: int) -> Answer:
        answer = await self._exchange(request, target, within)
        for _ in range(redirects):
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                break
            # All who had a say in where the answer comes from lead us, so we go where each of them may lead.
            zone = answer.zone if within is None else max(within.zone, answer.zone)
            within = Reach(zone, target.origin)
            target = self._redirected(request, target, answer.headers["location"])
            answer = await self._exchange(request, target, within)
            answer = replace(answer, zone=max(zone, answer.zone))
        return answer

    def _redirected(self, request: "_Request", target: "_Target", location: str) -> "_Target":
        try:
            return self._target(str(target.url.join(location)))
        except (httpx2.InvalidURL, ValueError, OpHostRefused) as error:
            reason = f"it redirects to what may not be called: {error}"
            raise OpInvalidResponse(target.host, request.step, reason) from error

    async def _exchange(self, request: "_Request", target: "_Target", within: Reach | None) -> Answer:
        problem = within.problem(target.origin) if within is not None else None
        if problem is not None:
            raise OpHostRefused(target.host, problem)
        slots = self._shared_slots if request.shared else self._slots
        exchange = _Exchange(self._settings, target, request, within)
        try:
            async with slots.hold(target.host):
                return await exchange.run(self._pools[within.zone if within is not None else None])
        except TooBusy as busy:
            raise OpBusy(str(busy), busy.limit) from None


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that may be contacted, its host (with the port, if one is named) and its origin."""

    url: httpx2.URL
    host: str
    origin: str


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent, wherever redirects lead to, and how large its answer may be."""

    method: str
    head: dict[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    step: str
    shared: bool
    max_bytes: int

    def to(self, target: _Target, settings: TransportSettings) -> httpcore2.Request:
        """The request as it goes to one place."""
        url = target.url
        head = {"host": target.host, **self.head}
        if self.content or self.method not in ("GET", "DELETE"):
            head["content-length"] = str(len(self.content))
        return httpcore2.Request(
            self.method,
            httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[(name.encode(), value.encode()) for name, value in head.items()],
            content=self.content,
            extensions={
                "timeout": {
                    "connect": settings.connect_timeout,
                    "read": settings.read_timeout,
                    "write": settings.read_timeout,
                    "pool": settings.total_timeout,
                }
            },
        )


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request to one place, and its answer."""

    settings: TransportSettings
    target: _Target
    request: _Request
    within: Reach | None

    async def run(self, pool: httpcore2.AsyncConnectionPool) -> Answer:
        try:
            return await self._attempt(pool)
        except _ConnectionBroke as error:
            if self.request.method != "GET":
                raise self._unreachable("the connection broke before an answer") from error
        try:
            return await self._attempt(pool)
        except _ConnectionBroke as error:
            raise self._unreachable("the connection broke before an answer, twice") from error

    async def _attempt(self, pool: httpcore2.AsyncConnectionPool) -> Answer:
        response = await self._answer_head(pool)
        stream = response.extensions["network_stream"]
        zone: Zone = stream.get_extra_info("zone")
        try:
            body = await self._read_body(response)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await response.aclose()
        headers = _joined(response.headers)
        foreign = self.within is not None and self.within.origin != self.target.origin
        body = self._unpacked(body, headers)
        host, step = self.target.host, self.request.step
        return Answer(response.status, headers, body, host, step, zone=zone, foreign=foreign)

    async def _answer_head(self, pool: httpcore2.AsyncConnectionPool) -> httpcore2.Response:
        try:
            return await pool.handle_async_request(self.request.to(self.target, self.settings))
        except TooManyBytes:
            raise self._invalid("the head of the answer is too large") from None
        except httpcore2.ConnectError as error:
            raise self._unreachable(*_connect_reason(error)) from error
        except httpcore2.TimeoutException as error:
            raise self._unreachable(f"timed out ({type(error).__name__})", "timeout") from error
        except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
            if _is_malformed(error):
                raise self._invalid("the answer is not HTTP") from error
            raise _ConnectionBroke from error

    async def _read_body(self, response: httpcore2.Response) -> bytes:
        limit = self.request.max_bytes
        most_work = 2 * limit + _PIECE_COST * _PIECES_A_TURN
        body, pieces = bytearray(), 0
        stream = response.extensions["network_stream"]
        if isinstance(stream, CountedStream):
            stream.allow(2 * limit)
        try:
            async with aclosing(response.aiter_stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    pieces += 1
                    if len(body) > limit:
                        raise self._too_large()
                    if len(body) + pieces * _PIECE_COST > most_work:
                        raise self._invalid("the answer comes in too many pieces")
                    if pieces % _PIECES_A_TURN == 0:
                        await trio.lowlevel.checkpoint()
        except TooManyBytes:
            raise self._too_large() from None
        except httpcore2.TimeoutException as error:
            raise self._unreachable("the answer stalled", "timeout") from error
        except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
            raise self._invalid("the answer breaks off") from error
        return bytes(body)

    def _unpacked(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        try:
            return unpacked(body, headers.get("content-encoding", ""), self.request.max_bytes)
        except UnreadableBody as error:
            raise self._invalid(f"the answer cannot be read: {error}") from error
        except BodyTooLarge:
            raise self._too_large() from None

    def _unreachable(self, reason: str, cause: Failure = "other") -> OpUnreachable:
        return OpUnreachable(self.target.host, self.request.step, reason, cause)

    def _invalid(self, reason: str) -> OpInvalidResponse:
        return OpInvalidResponse(self.target.host, self.request.step, reason)

    def _too_large(self) -> OpInvalidResponse:
        return self._invalid(f"the answer is larger than {self.request.max_bytes} bytes")


class _ConnectionBroke(Exception):
    """The connection broke before the head of an answer arrived."""


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by lower-case name; what stands in several lines is joined (RFC 9110 section 5.2)."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _host_and_port(url: httpx2.URL) -> str:
    return url.netloc.decode("ascii")


def _names_a_host(url: httpx2.URL) -> bool:
    # The parser percent-encodes what no host can hold.
    return bool(url.host) and "%" not in url.host


def _with_port(url: httpx2.URL) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{host}:{url.port or _DEFAULT_PORTS[url.scheme]}"


def _host_entry(entry: str) -> str:
    """A configured host as it is compared: with a port where one was written, or a scheme that has one."""
    text = entry.strip().lower()
    try:
        parsed = httpx2.URL(text if "://" in text else f"https://{text}")
        names_port = "://" in text or urlsplit(f"//{text}").port is not None
    except (httpx2.InvalidURL, ValueError) as error:
        raise ValueError(f"{entry!r} is no host") from error
    if not _names_a_host(parsed) or parsed.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"{entry!r} is no host")
    return _with_port(parsed) if names_port else parsed.host


def _is_malformed(error: Exception) -> bool:
    """Whether bytes came that are no HTTP, in contrast to a connection that closed without any."""
    return any(isinstance(cause, h11.RemoteProtocolError) for cause in _causes(error))


def _connect_reason(error: Exception) -> tuple[str, Failure]:
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its TLS certificate is not trusted: {cause.verify_message}", "tls"
            case ssl.SSLError():
                return f"TLS failed: {cause.reason or 'handshake'}", "tls"
            case socket.gaierror() | UnicodeError():
                return "no connection: its name has no address", "dns"
            case ConnectionRefusedError():
                return "no connection: nobody listens there", "refused"
    return "no connection", "other"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            for each in cause.exceptions:
                yield from _causes(each)
        cause = cause.__cause__ or cause.__context__
