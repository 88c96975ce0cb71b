"""The HTTPS entrance: paths become commands, which go through the same dispatch as those of the socket.

A path is a command's name with dashes, the body its params, the answer the socket's envelope. ``Authorization: Bearer``
carries the protection token. Beside the commands there are a health check, the OpenAPI description and a page for
people.
"""

import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from oxd_protocol.catalog import COMMANDS, find_command
from oxd_protocol.errors import HTTP_STATUS_PREFIX, CommandError, FramingError
from oxd_protocol.json_text import decode_object
from oxd_protocol.messages import Response, encode_body, error_response
from oxd_protocol.params import AnyCommand
from oxd_server import __version__
from oxd_server.config import Config
from oxd_server.entrances import http1
from oxd_server.entrances.callers import Callers, make_callers
from oxd_server.entrances.certificates import ensure_self_signed, make_server_context, names_of
from oxd_server.entrances.http1 import HttpRequest, HttpResponse, Limits
from oxd_server.entrances.openapi import openapi_document
from oxd_server.entrances.pages import POLICY, front_page, style_sheet
from oxd_server.entrances.reference import HTTP_ALIASES, http_path
from oxd_server.entrances.sockets import address_of, as_trio_listeners, open_listeners

__all__ = [
    "Document",
    "HttpsFront",
    "documents",
    "make_certificate",
    "open_https_front",
    "open_https_listeners",
    "respond",
]

_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - where there is a certificate for it
_IDLE_TIMEOUT: Final = 60.0
_FIRST_ERROR_STATUS: Final = 400
_LAST_STATUS: Final = 599

_SHOWN_OF_PATH: Final = 100
_NO_TOKEN: Final = "The protection token is missing. Send it in one header: Authorization: Bearer <token>."
_NO_TOKEN_OF_LIBRARY: Final = (
    "The protection token is missing. For a library that cannot send one, name {} in https_commands_without_token. "
    "Others send it in one header: Authorization: Bearer <token>."
)
_EVERYBODY: Final = Callers(None, frozenset({"*"}))

_BEARER: Final = re.compile(r"bearer[ \t]+(\S+)", re.IGNORECASE)
_SECURITY: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
_PAGE_SECURITY: Final = (*_SECURITY[:-1], ("Content-Security-Policy", POLICY))


@dataclass(frozen=True, slots=True)
class Document:
    """Something to be read with GET."""

    media_type: str
    body: bytes = field(repr=False)


def documents(version: str, port: int) -> dict[str, Document]:
    """Return what can be read, by path. It is made once (and reads a file of the package)."""
    return {
        "/": Document("text/html; charset=utf-8", front_page(version, port).encode()),
        "/style.css": Document("text/css; charset=utf-8", style_sheet()),
        "/openapi.json": Document("application/json", msgspec.json.encode(openapi_document(version))),
        "/health-check": Document("text/plain; charset=utf-8", b"running"),
    }


def _by_path() -> dict[str, AnyCommand]:
    paths = {http_path(command): command for command in COMMANDS}
    return paths | {path: command for path, name in HTTP_ALIASES.items() if (command := find_command(name))}


HttpsHandler = Callable[[str, dict[str, object], str], Awaitable[Response]]
"""Takes a command's name, its raw params and the caller's address; answers whatever happens."""

_COMMANDS: Final[Mapping[str, AnyCommand]] = _by_path()


def _always(command: AnyCommand) -> bool:
    return command.protected


async def respond(
    handle: HttpsHandler,
    readable: Mapping[str, Document],
    request: HttpRequest,
    *,
    callers: Callers = _EVERYBODY,
    needs_token: Callable[[AnyCommand], bool] = _always,
) -> HttpResponse:
    """Answer one request; ``handle`` runs the command, ``needs_token`` says whether one needs a protection token."""
    if (reason := callers.refuse_request(request)) is not None:
        return _refuse(request, 403, reason)
    if (document := readable.get(request.path)) is not None:
        return _read(document, request)
    command = _COMMANDS.get(request.path)
    if command is None:
        return _refuse(request, 404, "There is no such path. GET / lists the commands.")
    if request.method != "POST":
        return _refuse(request, 405, "Commands are sent with POST.", ("Allow", "POST"))
    token = bearer_token(request)
    if token is None and needs_token(command):
        return _refuse(request, 403, _no_token(command))
    return _answer(await _run(handle, command, token, request))


def _no_token(command: AnyCommand) -> str:
    return _NO_TOKEN if command.returns_secrets else _NO_TOKEN_OF_LIBRARY.format(command.name)


async def _run(handle: HttpsHandler, command: AnyCommand, token: str | None, request: HttpRequest) -> Response:
    try:
        params = decode_object(request.body)
    except (FramingError, CommandError) as refused:
        return error_response(refused)
    if token is not None:
        params["protection_access_token"] = token  # the header's wins over the body's
    return await handle(command.name, params, request.client.rpartition(":")[0])


def bearer_token(request: HttpRequest) -> str | None:
    """Return the token of the request's Authorization header (RFC 6750, section 2.1); None without exactly one."""
    values = [value for name, value in request.headers if name == "authorization"]
    match = _BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    return match.group(1) if match else None


def _read(document: Document, request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return _refuse(request, 405, "This can be read with GET.", ("Allow", "GET, HEAD"))
    security = _PAGE_SECURITY if document.media_type.startswith("text/html") else _SECURITY
    return HttpResponse(200, [("Content-Type", document.media_type), *security], document.body)


def _answer(response: Response) -> HttpResponse:
    return _json(400 if response.malformed else _status_of(response.error_code), response)


def _status_of(code: str | None) -> int:
    """Existing libraries accept nothing but 200, for refused commands too; only the OP's own answers keep theirs."""
    if code is None or not code.startswith(HTTP_STATUS_PREFIX):
        return 200
    status = int(code.removeprefix(HTTP_STATUS_PREFIX))
    return status if _FIRST_ERROR_STATUS <= status <= _LAST_STATUS else HTTPStatus.BAD_GATEWAY


def error(status: int, description: str, *headers: tuple[str, str]) -> HttpResponse:
    """Return an answer of the front itself, in the shape of every error: the status is the code."""
    data = {"error": str(status), "error_description": description, "details": None}
    return _json(status, Response("error", data), *headers)


def _refuse(request: HttpRequest, status: int, reason: str, *headers: tuple[str, str]) -> HttpResponse:
    """Refuse a request of its own, and say so in the log."""
    _log_refusal(status, reason, request.client, request.path)
    return error(status, reason, *headers)


def _log_refusal(status: int, reason: str, client: str, path: str | None = None) -> None:
    shown = None if path is None else path[:_SHOWN_OF_PATH]
    structlog.get_logger("oxd_server.https").info(
        "request refused", status=status, reason=reason, client=client, path=shown
    )


def _json(status: int, response: Response, *headers: tuple[str, str]) -> HttpResponse:
    return HttpResponse(status, [("Content-Type", "application/json"), *_SECURITY, *headers], encode_body(response))


def _refused(status: int, reason: str) -> HttpResponse:
    return error(status, f"The request was not taken: {reason}.")


class HttpsFront:
    """A front whose ports are open; ``addresses`` are those that were bound."""

    def __init__(
        self,
        listeners: list[trio.SSLListener[trio.SocketStream]],
        handler: http1.Handler,
        limits: Limits,
        callers: Callers,
    ) -> None:
        self._listeners = listeners
        self._handler = handler
        self._limits = limits
        self._callers = callers
        self._log = structlog.get_logger("oxd_server.https")

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Address and port of every listener."""
        names = [_socket_of(listener).getsockname() for listener in self._listeners]
        return tuple((str(name[0]), int(name[1])) for name in names)

    async def serve(self, stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until ``stop`` is set and the requests that are being handled are answered."""
        await http1.serve(
            self._listeners,
            self._handler,
            self._limits,
            error_response=_refused,
            on_exception=self._log_exception,
            on_refused=_log_refusal,
            refuse_address=self._callers.refuse_address,
            stop=stop,
            task_status=task_status,
        )

    def _log_exception(self, exception: Exception, request: HttpRequest) -> None:
        self._log.error("request failed", method=request.method, path=request.path[:100], exc_info=exception)


def _socket_of(listener: trio.SSLListener[trio.SocketStream]) -> trio.socket.SocketType:
    inner = listener.transport_listener
    assert isinstance(inner, trio.SocketListener)
    return inner.socket


def open_https_listeners(config: Config) -> list[socket.socket]:
    """Bind the configured addresses. Raises ``OSError`` for one that cannot be bound.

    Without any, it is loopback: a self-signed certificate for localhost is good for nobody else.
    """
    default = _LOOPBACK if config.https.cert_path is None else _EVERYWHERE
    return open_listeners(config.https.bind_addresses or default, config.https.port)


async def open_https_front(
    config: Config,
    handle: HttpsHandler,
    listeners: list[socket.socket] | None = None,
    *,
    needs_token: Callable[[AnyCommand], bool] = _always,
) -> HttpsFront:
    """Serve on ``listeners``, else on the configured addresses, with the configured certificate or one for localhost.

    ``needs_token`` says whether a command needs a protection token.

    Raises ``ConfigError`` for a certificate that cannot be used and ``OSError`` for an address that cannot be bound.
    """
    log = structlog.get_logger("oxd_server.https")
    cert_path, key_path = await make_certificate(config)
    context = await trio.to_thread.run_sync(make_server_context, cert_path, key_path)
    listeners = open_https_listeners(config) if listeners is None else listeners
    port = address_of(listeners[0])[1]
    readable = await trio.to_thread.run_sync(documents, __version__, port)
    callers = make_callers(
        config.bind_ip_addresses,
        bound=[address_of(listener)[0] for listener in listeners],
        names=await trio.to_thread.run_sync(names_of, cert_path),
        allowed=config.https.allowed_hosts,
    )
    front = HttpsFront(
        [trio.SSLListener(listener, context, https_compatible=True) for listener in as_trio_listeners(listeners)],
        partial(respond, handle, readable, callers=callers, needs_token=needs_token),
        _limits(config),
        callers,
    )
    log.info("HTTPS listens", port=port, addresses=[address for address, _ in front.addresses])
    return front


async def make_certificate(config: Config) -> tuple[Path, Path]:
    """Return the paths of certificate and key; without configured ones a self-signed one is made, once."""
    if config.https.cert_path is not None and config.https.key_path is not None:
        return config.https.cert_path, config.https.key_path
    pair = await trio.to_thread.run_sync(ensure_self_signed, config.store_path.parent, datetime.now(UTC))
    log = structlog.get_logger("oxd_server.https")
    log.warning("HTTPS uses a self-signed certificate for localhost; clients must trust it.", cert=str(pair[0]))
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
