"""The HTTPS entrance: paths become commands, which go through the same dispatch as those of the socket.

A dialect (see ``dialects``) says what a path and a body mean and what the answer looks like. Beside the commands there
are a health check, the OpenAPI descriptions and a page for people.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import structlog
import trio

from oxd_protocol.discreet import Discreet
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.messages import Response, error_response
from oxd_server import __version__
from oxd_server.config import Config
from oxd_server.entrances import http1
from oxd_server.entrances.callers import Callers, make_callers
from oxd_server.entrances.certificates import ensure_self_signed, expiry_of, make_server_context, names_of
from oxd_server.entrances.dialects.base import Answer, Dialect, NeedsToken, Refused
from oxd_server.entrances.dialects.choice import AUTO, NEWER, Dialects, Marks
from oxd_server.entrances.dialects.envelope import Envelope
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.entrances.http1_places import Open
from oxd_server.entrances.openapi import openapi_document
from oxd_server.entrances.openapi_flat import flat_document
from oxd_server.entrances.pages import POLICY, FrontPage
from oxd_server.entrances.refusals import Refusals
from oxd_server.entrances.sockets import as_trio_listeners, open_listeners
from oxd_server.entrances.style import style_sheet
from oxd_server.observe.call import Caller
from oxd_server.streams import TlsListener

__all__ = [
    "Document",
    "FrontSettings",
    "HttpsFront",
    "PublicKeys",
    "documents",
    "front_settings",
    "make_certificate",
    "open_https_listeners",
    "respond",
]

_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - where there is a certificate for it
_IDLE_TIMEOUT: Final = 60.0

_JWKS: Final = "/jwks"
_JWKS_TYPE: Final = "application/jwk-set+json"
"""RFC 7517, section 8.5.2."""
_SHOWN_OF_PATH: Final = 100
_EVERYBODY: Final = Callers(None, frozenset({"*"}))

_SECURITY: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
_PAGE_SECURITY: Final = (*_SECURITY[:-1], ("Content-Security-Policy", POLICY))


class Document(Discreet, frozen=True):
    """Something to be read with GET."""

    shows = ("media_type", "for_programs", "page")

    media_type: str
    body: bytes
    for_programs: "Document | None" = None
    """What a request is sent that accepts JSON and nothing else."""
    page: FrontPage | None = None
    """What makes the body, where it depends on the request."""


def documents(version: str, port: int, dialect: str = AUTO) -> dict[str, Document]:
    """Return what can be read, by path. It is made once (and reads a file of the package)."""
    described = {"3": openapi_document(version)} | {name: flat_document(version, name) for name in NEWER}
    descriptions = {name: Document("application/json", msgspec.json.encode(each)) for name, each in described.items()}
    return {
        "/": Document("text/html; charset=utf-8", b"", page=FrontPage(version, port)),
        "/style.css": Document("text/css; charset=utf-8", style_sheet()),
        "/openapi.json": descriptions.get(dialect, descriptions["3"]),
        **{f"/openapi-{name}.json": description for name, description in descriptions.items()},
        "/health-check": _health_check(version, dialect),
    }


def _health_check(version: str, dialect: str) -> Document:
    told = {"application": "oxd", "version": version, "status": "running"}
    flat = Document("application/json", msgspec.json.format(msgspec.json.encode(told), indent=2))
    in_words = Document("text/plain; charset=utf-8", b"running", for_programs=flat if dialect == AUTO else None)
    beta = Document("application/json", b'{"status" : "running"}')
    return {"4": flat, "4-beta": beta}.get(dialect, in_words)


PublicKeys = Callable[[], Mapping[str, object]]
"""Gives the JWK Set of this server's public keys, as it is now."""


def _no_keys() -> Mapping[str, object]:
    return {"keys": []}


Figures = Callable[[], Awaitable[HttpResponse]]
"""Makes the answer to a GET, anew each time."""
NO_FIGURES: Final[Mapping[str, Figures]] = MappingProxyType({})

HttpsHandler = Callable[[str, dict[str, object], Caller], Awaitable[Response]]
"""Takes a command's name, its raw params and who sends it; answers whatever happens."""


async def respond(
    handle: HttpsHandler,
    readable: Mapping[str, Document],
    dialects: Dialects,
    request: HttpRequest,
    *,
    callers: Callers = _EVERYBODY,
    public_keys: PublicKeys = _no_keys,
    figures: Mapping[str, Figures] = NO_FIGURES,
    refusals: Refusals | None = None,
) -> HttpResponse:
    """Answer one request; ``handle`` runs the command, ``figures`` make what changes from one reading to the next."""
    refuse = partial(_refuse, refusals or Refusals(), request)
    if (reason := callers.refuse_request(request)) is not None:
        return refuse(403, reason)
    reading = readable.get(request.path) or figures.get(request.path)
    if request.path == _JWKS:
        reading = Document(_JWKS_TYPE, msgspec.json.encode(public_keys()))
    if reading is not None:
        if request.method not in ("GET", "HEAD"):
            return refuse(405, "This can be read with GET.", ("Allow", "GET, HEAD"))
        return _read(reading, request) if isinstance(reading, Document) else await reading()
    dialect = await dialects.choose(request)
    route = dialect.find(request.path)
    if route is None:
        return refuse(404, "There is no such path. GET / lists the commands.", dialect=dialect)
    if request.method != route.method:
        reason = f"Commands are sent with {route.method}."
        return refuse(405, reason, ("Allow", route.method), dialect=dialect)
    try:
        params = dialect.read(route, request)
    except Refused as refused:
        return refuse(refused.status, str(refused), dialect=dialect)
    except (FramingError, CommandError) as error:
        answer = dialect.encode(route.command, error_response(error))
        (refusals or Refusals()).request(answer.status, str(error), request.client, request.id, request.path)
        return _sent(answer)
    caller = Caller(request.client, dialect.name, request.id, request.header("traceparent"))
    response = await handle(route.command.name, params, caller)
    return _sent(dialect.encode(route.command, response))


def _read(document: Document, request: HttpRequest) -> HttpResponse:
    if document.for_programs is not None and request.header("accept") == "application/json":
        document = document.for_programs
    security = _PAGE_SECURITY if document.media_type.startswith("text/html") else _SECURITY
    page = document.page
    body = document.body if page is None else page.render(request.header("host"), request.query)
    return HttpResponse(200, [("Content-Type", document.media_type), *security], body)


def error(status: int, description: str, *headers: tuple[str, str]) -> HttpResponse:
    """Return an answer of the front itself, before anybody knows the dialect: in the shape of the first one."""
    return _sent(Envelope().error(status, description), *headers)


def _refuse(
    refusals: Refusals,
    request: HttpRequest,
    status: int,
    reason: str,
    *headers: tuple[str, str],
    dialect: Dialect | None = None,
) -> HttpResponse:
    """Refuse a request of its own, and say so in the log."""
    refusals.request(status, reason, request.client, request.id, request.path)
    return error(status, reason, *headers) if dialect is None else _sent(dialect.error(status, reason), *headers)


def _sent(answer: Answer, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(answer.status, [("Content-Type", answer.media_type), *_SECURITY, *headers], answer.body)


def _refused(status: int, reason: str) -> HttpResponse:
    return error(status, f"The request was not taken: {reason}.")


class FrontSettings(msgspec.Struct, frozen=True):
    """What a front takes from the configuration; a reload gives it another one of these."""

    context: ssl.SSLContext
    respond: http1.Handler
    limits: Limits
    callers: Callers
    certificate_expires: float | None
    """In seconds since 1970; None if the certificate does not tell."""


class HttpsFront:
    """A front whose ports are open; ``addresses`` are those that were bound."""

    def __init__(self, listeners: list[socket.socket], settings: FrontSettings, refusals: Refusals) -> None:
        self._listeners = [TlsListener(listener, settings.context) for listener in as_trio_listeners(listeners)]
        self._limits = settings.limits
        self._settings = settings
        self.refusals = refusals
        self._open = Open()
        self._log = structlog.get_logger("oxd_server.https")

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Address and port of every listener."""
        return tuple(listener.address for listener in self._listeners)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The file descriptors of the sockets, for another process."""
        return tuple(listener.descriptor for listener in self._listeners)

    def use(self, settings: FrontSettings) -> None:
        """Go on with other settings. Connections that are open live on, with the certificate that they began with."""
        self._settings = settings
        for name, value in msgspec.structs.asdict(settings.limits).items():
            setattr(self._limits, name, value)
        for listener in self._listeners:
            listener.context = settings.context

    @property
    def certificate_expires(self) -> float | None:
        """When the certificate expires, in seconds since 1970; None if it does not tell."""
        return self._settings.certificate_expires

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._open.connections

    async def serve(
        self, leave: trio.Event, stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until ``stop`` is set and the requests that are being handled are answered.

        From ``leave`` on, nobody new is taken, and every connection ends after its next answer.
        """
        await http1.serve(
            self._listeners,
            lambda request: self._settings.respond(request),
            self._limits,
            error_response=_refused,
            on_exception=self._log_exception,
            on_refused=self.refusals.request,
            opened=self._open,
            refuse_address=lambda address: self._settings.callers.refuse_address(address),
            leave=leave,
            stop=stop,
            task_status=task_status,
        )

    def _log_exception(self, exception: Exception, request: HttpRequest) -> None:
        self._log.error(
            "request_failed",
            method=request.method,
            path=request.path[:_SHOWN_OF_PATH],
            request_id=request.id,
            exc_info=exception,
        )


def open_https_listeners(config: Config) -> list[socket.socket]:
    """Bind the configured addresses. Raises ``OSError`` for one that cannot be bound.

    Without any, it is loopback: a self-signed certificate for localhost is good for nobody else.
    """
    default = _LOOPBACK if config.https.cert_path is None else _EVERYWHERE
    return open_listeners(config.https.bind_addresses or default, config.https.port)


async def front_settings(
    config: Config,
    addresses: Sequence[tuple[str, int]],
    handle: HttpsHandler,
    marks: Marks,
    *,
    needs_token: NeedsToken,
    public_keys: PublicKeys,
    figures: Mapping[str, Figures],
    refusals: Refusals,
) -> FrontSettings:
    """Read what a front on these addresses needs: the configured certificate, or the one for localhost.

    ``marks`` knows the dialects of sites; ``needs_token`` says whether a command needs a protection token;
    ``public_keys`` gives what OPs read at ``/jwks``; ``figures`` are read by their paths; ``refusals`` is told of what
    the front refuses.

    Raises ``ConfigError`` for a certificate that cannot be used.
    """
    cert_path, key_path = await make_certificate(config)
    context = await trio.to_thread.run_sync(make_server_context, cert_path, key_path)
    readable = await trio.to_thread.run_sync(documents, __version__, addresses[0][1], config.https.dialect)
    callers = make_callers(
        config.bind_ip_addresses,
        bound=[address for address, _ in addresses],
        names=await trio.to_thread.run_sync(names_of, cert_path),
        allowed=config.https.allowed_hosts,
    )
    dialects = Dialects(config.https.dialect, marks, needs_token)
    answer = partial(respond, handle, readable, dialects, callers=callers, public_keys=public_keys)
    return FrontSettings(
        context,
        partial(answer, figures=figures, refusals=refusals),
        _limits(config),
        callers,
        await trio.to_thread.run_sync(expiry_of, cert_path),
    )


async def make_certificate(config: Config) -> tuple[Path, Path]:
    """Return the paths of certificate and key; without configured ones a self-signed one is made, once."""
    if config.https.cert_path is not None and config.https.key_path is not None:
        return config.https.cert_path, config.https.key_path
    pair = await trio.to_thread.run_sync(ensure_self_signed, config.store_path.parent, datetime.now(UTC))
    log = structlog.get_logger("oxd_server.https")
    log.warning("self_signed_certificate", message="For localhost; clients must trust it.", cert=str(pair[0]))
    return pair


def _limits(config: Config) -> Limits:
    timeout = config.frame_timeout_in_seconds
    return Limits(
        max_body_bytes=config.max_request_bytes,
        header_timeout=timeout,
        body_timeout=timeout,
        send_timeout=timeout,
        idle_timeout=config.idle_timeout_in_seconds or _IDLE_TIMEOUT,
        max_connections=config.https.max_connections,
        max_connections_per_address=config.https.max_connections_per_address,
    )
