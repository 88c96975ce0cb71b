"""The only HTTP caller: every byte to and from an OP goes through `Transport.send`.

TLS is verified; each request has a connect, a read and a total timeout; the answer has a size limit; no redirect is
followed; no proxy, cookie or other setting is taken from the environment; compressed answers are refused, so that
a small answer cannot become a large one. A GET is sent once more if the connection broke before an answer; nothing
else is. One host gets so many requests at a time and no more.
"""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import h11
import httpx2
import msgspec
import trio

from oxd_server import __version__
from oxd_server.log.known import note_secrets
from oxd_server.op.answer import Answer
from oxd_server.op.errors import OpBusy, OpHostRefused, OpInvalidResponse, OpUnreachable
from oxd_server.sync.busy import TooBusy
from oxd_server.sync.host_slots import HostSlots

USER_AGENT = f"oxd-server/{__version__}"

_CHECKED_URLS = 1000

FormFields = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """How to talk to OPs; timeouts in seconds.

    Attributes:
        ssl_context: from `tls.make_ssl_context`.
        total_timeout: from the first attempt to connect to the last byte of the answer.
        allowed_op_hosts: hosts that may be contacted (`host` for any port, `host:port`; a URL is reduced to that);
            empty: any.
            It holds for every request, so an OP whose endpoints lie on several hosts needs all of them here.
        plain_http_hosts: hosts beside loopback that may be contacted without TLS. Insecure.
        max_requests_per_host: so many run at a time, twice as many wait, more are refused.
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
    """Sends requests over a pool of kept connections; use as an async context manager."""

    def __init__(self, settings: TransportSettings) -> None:
        """Prepare the pool.

        Raises:
            ValueError: a host in the settings is none.
        """
        self._settings = settings
        self._allowed_hosts = frozenset(_host_entry(entry) for entry in settings.allowed_op_hosts)
        self._plain_http_hosts = frozenset(_host_entry(entry) for entry in settings.plain_http_hosts)
        self._slots = HostSlots(settings.max_requests_per_host)
        self._checked: dict[str, _Target] = {}
        limits = httpx2.Limits(
            max_connections=settings.max_connections,
            max_keepalive_connections=settings.max_idle_connections,
            keepalive_expiry=settings.idle_connection_seconds,
        )
        self._http = httpx2.AsyncHTTPTransport(verify=settings.ssl_context, trust_env=False, limits=limits)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(exc_type, exc_value, traceback)

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
            self._checked[url] = target
        return target

    def _check_url(self, url: str) -> "_Target":
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError) as error:
            raise OpHostRefused("?", "not a valid URL") from error
        host = _host_and_port(parsed)
        names = {parsed.host, host}
        if parsed.scheme not in ("http", "https") or not _names_a_host(parsed) or parsed.userinfo:
            raise OpHostRefused(host or "?", "not an http or https URL of a host")
        if self._allowed_hosts and not self._allowed_hosts & names:
            raise OpHostRefused(host, "not among the allowed_op_hosts")
        if parsed.scheme == "http" and not (is_loopback(parsed.host) or self._plain_http_hosts & names):
            raise OpHostRefused(host, "plain http is allowed for loopback hosts only")
        return _Target(parsed, host)

    async def send(
        self,
        method: str,
        url: str,
        *,
        step: str,
        headers: Mapping[str, str] | None = None,
        form: FormFields | None = None,
        json: object = None,
        shared: bool = False,
    ) -> Answer:
        """One request, one answer of any status.

        Args:
            step: what is being done, in a word or two, for error reports.
            form: fields of an `application/x-www-form-urlencoded` body.
            json: the value of an `application/json` body.
            shared: the answer is for many who wait for it, asked for once at a time: it needs no slot of the host,
                for whoever waits for it in the middle of a login must not be sent away.

        Raises:
            OpHostRefused: the URL may not be contacted (nothing was sent).
            OpBusy: too many requests to the host are under way and waiting (nothing was sent).
            OpUnreachable: no connection, or no complete answer in time.
            OpInvalidResponse: what came back is no HTTP, too large, compressed, or breaks off.
        """
        target = self._target(url)
        exchange = _Exchange(self._settings, target, step)
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
        with trio.move_on_after(self._settings.total_timeout):
            try:
                async with nullcontext() if shared else self._slots.hold(target.host):
                    answer = await exchange.run(self._http, method, head, content)
                    if not shared:  # what is shared by many is public
                        note_secrets(answer.body)
                    return answer
            except TooBusy as busy:
                raise OpBusy(str(busy)) from None
        raise OpUnreachable(target.host, step, "no complete answer in time")


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that may be contacted, and its host (with the port, if one is named)."""

    url: httpx2.URL
    host: str


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request and its answer."""

    settings: TransportSettings
    target: _Target
    step: str

    async def run(self, http: httpx2.AsyncHTTPTransport, method: str, head: dict[str, str], content: bytes) -> Answer:
        try:
            return await self._attempt(http, method, head, content)
        except _ConnectionBroke as error:
            if method != "GET":
                raise self._unreachable("the connection broke before an answer") from error
        try:
            return await self._attempt(http, method, head, content)
        except _ConnectionBroke as error:
            raise self._unreachable("the connection broke before an answer, twice") from error

    async def _attempt(
        self, http: httpx2.AsyncHTTPTransport, method: str, head: dict[str, str], content: bytes
    ) -> Answer:
        request = httpx2.Request(method, self.target.url, headers=head, content=content, extensions=self._extensions())
        response = await self._answer_head(http, request)
        try:
            body = await self._read_body(response)
        finally:
            if not response.is_closed:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await response.aclose()
        answer_headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, answer_headers, body, self.target.host, self.step)

    def _extensions(self) -> dict[str, object]:
        settings = self.settings
        timeouts = {
            "connect": settings.connect_timeout,
            "read": settings.read_timeout,
            "write": settings.read_timeout,
            "pool": settings.total_timeout,
        }
        return {"timeout": timeouts}

    async def _answer_head(self, http: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> httpx2.Response:
        try:
            return await http.handle_async_request(request)
        except httpx2.ConnectError as error:
            raise self._unreachable(_connect_reason(error)) from error
        except httpx2.TimeoutException as error:
            raise self._unreachable(f"timed out ({type(error).__name__})") from error
        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            if _is_malformed(error):
                raise self._invalid("the answer is not HTTP") from error
            raise _ConnectionBroke from error

    async def _read_body(self, response: httpx2.Response) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise self._invalid("a compressed answer was not asked for")
        limit = self.settings.max_response_bytes
        body = bytearray()
        try:
            async with aclosing(response.aiter_raw()) as chunks:
                async for chunk in chunks:
                    if len(body) <= limit:
                        body += chunk
                    if len(body) > limit:
                        # Closing makes the next read fail, which ends the iterators below this one in good order;
                        # leaving the loop would leave them to the garbage collector.
                        await response.aclose()
        except httpx2.TimeoutException as error:
            raise self._unreachable("the answer stalled") from error
        except (httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            if len(body) <= limit:
                raise self._invalid("the answer breaks off") from error
        if len(body) > limit:
            raise self._invalid(f"the answer is larger than {limit} bytes")
        return bytes(body)

    def _unreachable(self, reason: str) -> OpUnreachable:
        return OpUnreachable(self.target.host, self.step, reason)

    def _invalid(self, reason: str) -> OpInvalidResponse:
        return OpInvalidResponse(self.target.host, self.step, reason)


class _ConnectionBroke(Exception):
    """The connection broke before the head of an answer arrived."""


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its very name or address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_and_port(url: httpx2.URL) -> str:
    return url.netloc.decode("ascii")


def _names_a_host(url: httpx2.URL) -> bool:
    # The parser percent-encodes what no host can hold.
    return bool(url.host) and "%" not in url.host


def _host_entry(entry: str) -> str:
    """A configured host as it is compared: with its port if it names one that is not the scheme's own."""
    text = entry.strip().lower()
    try:
        parsed = httpx2.URL(text if "://" in text else f"https://{text}")
    except httpx2.InvalidURL as error:
        raise ValueError(f"{entry!r} is no host") from error
    if not _names_a_host(parsed):
        raise ValueError(f"{entry!r} is no host")
    return parsed.host if parsed.port is None else _host_and_port(parsed)


def _is_malformed(error: Exception) -> bool:
    """Whether bytes came that are no HTTP, in contrast to a connection that closed without any."""
    return any(isinstance(cause, h11.RemoteProtocolError) for cause in _causes(error))


def _connect_reason(error: Exception) -> str:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or 'handshake'}"
    return "no connection"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
