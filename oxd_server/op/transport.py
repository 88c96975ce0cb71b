"""The only HTTP caller: every byte to and from an OP goes through `Transport.send`.

TLS is verified; each request has a connect, a read and a total timeout; the answer has a size limit, in raw bytes and
in what comes out of it; nothing is called that the OP may not lead to; no cookie or other setting is taken from the
environment, nor a proxy that the operator did not ask for. A redirect is followed only where the caller says so: to
documents that are public anyway. A GET is sent once more if the connection broke before an answer; nothing else is. One
host gets so many requests at a time and no more.
"""

import ssl
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import httpx2
import msgspec
import trio
from msgspec.structs import replace

from oxd_protocol.discreet import Discreet
from oxd_server import __version__
from oxd_server.log.known import note_secrets
from oxd_server.op.answer import Answer
from oxd_server.op.body import BodyTooLarge, UnreadableBody, unpacked
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.errors import Failure, OpBusy, OpHostRefused, OpInvalidResponse, OpUnreachable
from oxd_server.op.http_connection import HttpAnswer, HttpRequest
from oxd_server.op.http_pool import HttpPool
from oxd_server.op.network import Resolve, Resolver
from oxd_server.op.no_connection import NoConnection
from oxd_server.op.observed import (
    Begin,
    Observe,
    OpRequest,
    Outcome,
    nobody_follows,
    nobody_looks,
    outcome_of,
    outcome_of_failure,
)
from oxd_server.op.proxy import Proxies, make_proxies
from oxd_server.op.reach import Reach
from oxd_server.op.targets import Target, Targets
from oxd_server.sync.busy import TooBusy
from oxd_server.sync.host_slots import HostSlots

__all__ = ["MAX_REDIRECTS", "USER_AGENT", "Transport", "TransportSettings"]

USER_AGENT = f"oxd-server/{__version__}"

MAX_REDIRECTS = 3
"""Of a document that is public."""

_MOST_WAITING_SHARED = 200
_REDIRECTS = (301, 302, 303, 307, 308)

FormFields = Mapping[str, str] | Iterable[tuple[str, str]]


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
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
        proxies: what goes through which proxy.
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
    proxies: Proxies = msgspec.field(default_factory=make_proxies)
    max_connections: int = 2000
    max_idle_connections: int = 100
    idle_connection_seconds: float = 4.0


class Transport:
    """Sends requests over connections that are kept for a moment; use as an async context manager."""

    def __init__(
        self,
        settings: TransportSettings,
        resolve: Resolve | None = None,
        observe: Observe = nobody_looks,
        begin: Begin = nobody_follows,
    ) -> None:
        """Prepare the pool; `resolve` gives the addresses of a host; `begin` and `observe` are told of each request.

        Raises:
            ValueError: a host in the settings is none.
        """
        self._settings = settings
        self._observe = observe
        self._begin = begin
        self._targets = Targets(settings.allowed_op_hosts, settings.plain_http_hosts)
        self._slots = HostSlots(settings.max_requests_per_host)
        self._shared_slots = HostSlots(-(-settings.max_requests_per_host // 4), most_waiting=_MOST_WAITING_SHARED)
        self._pool = HttpPool(
            settings.ssl_context,
            resolve or Resolver().addresses,
            proxy_of=settings.proxies.of,
            connect_timeout=settings.connect_timeout,
            silence=settings.read_timeout,
            max_connections=settings.max_connections,
            max_idle=settings.max_idle_connections,
            idle_seconds=settings.idle_connection_seconds,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pool.aclose()

    def check_url(self, url: str) -> httpx2.URL:
        """The parsed URL, if the configuration allows to contact it.

        Raises:
            OpHostRefused: it is no http(s) URL, its host is not among the allowed ones, or it would need plain HTTP
                to a host where that is not allowed.
        """
        return self._targets.of(url).url

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
        identity: ClientIdentity | None = None,
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
            identity: shown in TLS, on a connection that serves nobody else (RFC 8705).

        Raises:
            OpHostRefused: the URL may not be contacted (nothing was sent).
            OpBusy: too many requests to the host are under way and waiting (nothing was sent).
            OpUnreachable: no connection, or no complete answer in time.
            OpInvalidResponse: what came back is no HTTP, too large, unreadable, or breaks off.
        """
        head = {"user-agent": USER_AGENT, "accept": "application/json", "accept-encoding": "identity"}
        if headers:
            head.update((name.lower(), value) for name, value in headers.items())
        content, content_type = _content(form, json)
        if content_type is not None:
            head["content-type"] = content_type
        note_secrets(head.get("authorization"))
        note_secrets(form)
        target = self._targets.of(url)
        request = _Request(
            method,
            head,
            content,
            step,
            shared,
            min(max_bytes, self._settings.max_response_bytes),
            trio.current_time() + self._settings.total_timeout,
            identity,
        )
        answer = await self._observed(request, target, within, redirects)
        if not shared:  # what is shared by many is public
            note_secrets(answer.body)
        return answer

    async def _observed(self, request: "_Request", target: Target, within: Reach | None, redirects: int) -> Answer:
        started = trio.current_time()
        follow = self._begin(request.method, target.host, request.head)

        def tell(outcome: Outcome) -> None:
            told = OpRequest(target.host, outcome, trio.current_time() - started)
            self._observe(told)
            follow(told)

        try:
            answer = await self._follow(request, target, within, redirects)
        except (OpHostRefused, OpBusy):
            raise  # nothing was sent
        except BaseException as error:
            tell(outcome_of_failure(error))
            raise
        tell(outcome_of(answer.status))
        return answer

    async def _follow(self, request: "_Request", target: Target, within: Reach | None, redirects: int) -> Answer:
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

    def _redirected(self, request: "_Request", target: Target, location: str) -> Target:
        try:
            return self._targets.of(str(target.url.join(location)))
        except (httpx2.InvalidURL, ValueError, OpHostRefused) as error:
            reason = f"it redirects to what may not be called: {error}"
            raise OpInvalidResponse(target.host, request.step, reason) from error

    async def _exchange(self, request: "_Request", target: Target, within: Reach | None) -> Answer:
        problem = within.problem(target.origin) if within is not None else None
        if problem is not None:
            raise OpHostRefused(target.host, problem)
        slots = self._shared_slots if request.shared else self._slots
        exchange = _Exchange(self._pool, target, request, within)
        try:
            async with slots.hold(target.host):
                return await exchange.run()
        except TooBusy as busy:
            raise OpBusy(str(busy), busy.limit) from None


def _content(form: FormFields | None, json: object) -> tuple[bytes, str | None]:
    """The body of a request, and its type; None for no body."""
    if form is not None:
        fields = form.items() if isinstance(form, Mapping) else form
        return urlencode(list(fields)).encode("ascii"), "application/x-www-form-urlencoded"
    return (b"", None) if json is None else (msgspec.json.encode(json), "application/json")


class _Request(Discreet, frozen=True):
    """What is sent, wherever redirects lead to, and how large its answer may be; `until` when it must be here."""

    shows = ("method", "step", "shared", "max_bytes", "until", "identity")

    method: str
    head: dict[str, str]
    content: bytes
    step: str
    shared: bool
    max_bytes: int
    until: float
    identity: ClientIdentity | None

    def to(self, target: Target, within: Reach | None) -> HttpRequest:
        """The request as it goes to one place."""
        zone = None if within is None else within.zone
        return HttpRequest(
            self.method, target, self.head, self.content, self.until, self.max_bytes, zone, self.identity
        )


class _Exchange(msgspec.Struct):
    """One request to one place, and its answer."""

    pool: HttpPool
    target: Target
    request: _Request
    within: Reach | None

    async def run(self) -> Answer:
        try:
            answer = await self._answered()
        except httpx2.TimeoutException as error:
            raise self._unreachable(str(error), "timeout") from error
        except NoConnection as error:
            raise self._unreachable(str(error), error.cause) from error
        except httpx2.ProxyError as error:
            raise self._unreachable(str(error), "proxy") from error
        except httpx2.ReadError as error:
            raise self._unreachable(str(error)) from error
        except httpx2.RemoteProtocolError as error:
            raise self._invalid(str(error)) from error
        return self._read(answer)

    async def _answered(self) -> HttpAnswer:
        """What came back. A GET is sent once more if the connection broke before an answer."""
        request = self.request.to(self.target, self.within)
        try:
            return await self.pool.exchange(request)
        except httpx2.ReadError:
            if self.request.method != "GET":
                raise
        try:
            return await self.pool.exchange(request)
        except httpx2.ReadError as error:
            raise httpx2.ReadError(f"{error}, twice") from error

    def _read(self, answer: HttpAnswer) -> Answer:
        body = self._unpacked(answer.body, answer.headers)
        foreign = self.within is not None and self.within.origin != self.target.origin
        host, step = self.target.host, self.request.step
        return Answer(answer.status, answer.headers, body, host, step, zone=answer.zone, foreign=foreign)

    def _unpacked(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        try:
            return unpacked(body, headers.get("content-encoding", ""), self.request.max_bytes)
        except UnreadableBody as error:
            raise self._invalid(f"the answer cannot be read: {error}") from error
        except BodyTooLarge:
            raise self._invalid(f"the answer is larger than {self.request.max_bytes} bytes") from None

    def _unreachable(self, reason: str, cause: Failure = "other") -> OpUnreachable:
        return OpUnreachable(self.target.host, self.request.step, reason, cause)

    def _invalid(self, reason: str) -> OpInvalidResponse:
        return OpInvalidResponse(self.target.host, self.request.step, reason)
