"""Binding and running the sandbox: the provider and, beside it, the demo relying party."""

import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
import trio

from oxd_protocol.client.with_trio import OxdClient
from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Handler, Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.console import application as console
from oxd_server.sandbox.demo import application
from oxd_server.sandbox.pages import error_page
from oxd_server.sandbox.provider import routes
from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.web import is_loopback_host
from oxd_server.streams import TlsListener

__all__ = ["RunningSandbox", "SandboxError", "SandboxSettings", "new_token", "run_sandbox"]

Listener = trio.abc.Listener[trio.abc.Stream]

_LIMITS = Limits(max_body_bytes=200_000, max_connections=500)


class SandboxError(Exception):
    """The sandbox cannot start; the text says why, in one line."""


@dataclass(frozen=True)
class SandboxSettings:
    """Where the sandbox listens (port 0: any free one) and where the oxd server is that the demo uses.

    `jwt_tokens`: access tokens and RPTs are JWTs. `certificate`: a PEM file with a certificate for localhost and its
    key; with it the provider speaks TLS, and the demo does not.
    """

    bind_address: str = "127.0.0.1"
    port: int = 0
    demo_port: int = 0
    oxd_host: str = "127.0.0.1"
    oxd_port: int = 8099
    jwt_tokens: bool = False
    certificate: Path | None = None


@dataclass(frozen=True)
class RunningSandbox:
    """What `run_sandbox` reports when it is up; `state` is there for tests (faults, clients, users)."""

    issuer: str
    demo_url: str
    state: ProviderState = field(repr=False)


def new_token() -> str:
    """An unguessable text of 256 bits."""
    return secrets.token_urlsafe(32)


async def run_sandbox(
    settings: SandboxSettings,
    *,
    now: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[RunningSandbox] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the provider and the demo until cancelled; SandboxError if that is not possible.

    `now` gives seconds since the epoch.
    """
    if not is_loopback_host(settings.bind_address):
        raise SandboxError(
            f"the sandbox binds to loopback only (127.0.0.1, ::1 or localhost), not to {settings.bind_address}: "
            "its users and passwords are public"
        )
    sockets, issuer = await _listen(settings.bind_address, settings.port)
    listeners: Sequence[Listener] = sockets
    demo_listeners, demo_url = await _listen(settings.bind_address, settings.demo_port)
    if settings.certificate is not None:
        listeners = await trio.to_thread.run_sync(_with_tls, sockets, settings.certificate)
        issuer = f"https://localhost:{issuer.rpartition(':')[2]}"
    keys = await trio.to_thread.run_sync(SigningKeys.generate)
    state = ProviderState(issuer, keys, now, new_token)
    state.jwt_tokens = settings.jwt_tokens
    oxd = OxdClient(settings.oxd_host, settings.oxd_port)
    demo_state = application.DemoState(demo_url, issuer, oxd, now, new_token)
    console_state = console.ConsoleState(demo_url, oxd, state)
    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, listeners, partial(_recorded, state), issuer)
        beside = partial(_demo_or_console, demo_state, console_state)
        await nursery.start(_serve, demo_listeners, beside, demo_url)
        structlog.get_logger("oxd_server.sandbox").info(
            "sandbox_listening", op_host=issuer, demo=demo_url, console=f"{demo_url}/console"
        )
        task_status.started(RunningSandbox(issuer, demo_url, state))


async def _listen(host: str, port: int) -> tuple[list[trio.SocketListener], str]:
    """Listeners on one address, and the URL of what they serve."""
    try:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1" if host == "localhost" else host)
    except OSError as error:
        raise SandboxError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    name = listeners[0].socket.getsockname()
    address = f"[{name[0]}]" if ":" in name[0] else name[0]
    return listeners, f"http://{address}:{name[1]}"


def _with_tls(listeners: list[trio.SocketListener], certificate: Path) -> list[Listener]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate)
    except OSError as error:  # ssl.SSLError is one
        raise SandboxError(f"{certificate} is no PEM file of a certificate and its key: {error}") from error
    return [TlsListener(listener, context) for listener in listeners]


async def _serve(
    listeners: Sequence[Listener],
    handler: Handler,
    url: str,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    await http1.serve(
        listeners,
        partial(_only_by_name, handler, url),
        _LIMITS,
        on_exception=_log_exception,
        task_status=task_status,
    )


async def _recorded(state: ProviderState, request: HttpRequest) -> HttpResponse:
    answer = await routes.handle(state, request)
    state.journal.note(request, answer)
    return answer


async def _demo_or_console(
    demo: application.DemoState, beside: console.ConsoleState, request: HttpRequest
) -> HttpResponse:
    if request.path == "/console" or request.path.startswith("/console/"):
        return await console.handle(beside, request)
    return await application.handle(demo, request)


async def _only_by_name(
    handler: Callable[[HttpRequest], Awaitable[HttpResponse]], url: str, request: HttpRequest
) -> HttpResponse:
    """Refuse requests for other host names: a page of the internet can make its own name point to loopback."""
    authority = url.partition("://")[2]
    local = f"localhost:{authority.rpartition(':')[2]}"
    if request.header("host") not in (authority, local):
        text = f"This sandbox is reached as {url} only."
        return error_page("Another host was asked for", text, 421)
    return await handler(request)


def _log_exception(exception: Exception, request: HttpRequest) -> None:
    log = structlog.get_logger("oxd_server.sandbox")
    log.error("sandbox_handler_failed", method=request.method, path=request.path, exc_info=exception)
