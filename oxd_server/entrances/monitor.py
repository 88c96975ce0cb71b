"""What operators' programs read: on a port of its own, without TLS, or among the paths of the HTTPS front."""

import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog
import trio

from oxd_server.config import Config
from oxd_server.entrances import http1
from oxd_server.entrances.callers import ANY, Callers, make_callers
from oxd_server.entrances.http1 import Limits, plain_error
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.entrances.https import Figures
from oxd_server.entrances.sockets import address_of, as_trio_listeners, open_listeners

__all__ = ["Monitor", "monitor_listeners", "text_of", "told_of"]

READY: Final = "/ready"
HEALTH: Final = "/health-check"
METRICS: Final = "/metrics"

_LOOPBACK: Final = ("127.0.0.1", "::1")
_LIMITS: Final = Limits(max_body_bytes=1000, max_connections=100, max_connections_per_address=50)
_HEADERS: Final = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_UNAVAILABLE: Final = 503


def told_of(problem: Callable[[], Awaitable[str | None]]) -> Figures:
    """Return what answers whether the server is ready: 200, or 503 and why not."""

    async def answer() -> HttpResponse:
        reason = await problem()
        told = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
        head = [("Content-Type", "application/json"), *_HEADERS]
        return HttpResponse(200 if reason is None else _UNAVAILABLE, head, msgspec.json.encode(told))

    return answer


def text_of(media_type: str, text: Callable[[], Awaitable[bytes]]) -> Figures:
    """Return what answers with a text that is made anew each time."""

    async def answer() -> HttpResponse:
        return HttpResponse(200, [("Content-Type", media_type), *_HEADERS], await text())

    return answer


def monitor_listeners(config: Config) -> list[socket.socket]:
    """Bind the addresses of the metrics. Raises ``OSError`` for one that cannot be bound."""
    return open_listeners(config.metrics.bind_addresses or _LOOPBACK, config.metrics.port)


async def _running() -> HttpResponse:
    return HttpResponse(200, [("Content-Type", "text/plain; charset=utf-8"), *_HEADERS], b"running")


class Monitor(msgspec.Struct, frozen=True):
    """Answers on sockets that listen: the ``figures``, by path, and the health check."""

    listeners: list[socket.socket]
    figures: Mapping[str, Figures]

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        log = structlog.get_logger("oxd_server.metrics")
        addresses = [address_of(listener)[0] for listener in self.listeners]
        # A web page can make a name of its own resolve to this machine, and read what is meant for its programs.
        names = [ANY] if set(addresses) - set(_LOOPBACK) else addresses
        callers = make_callers(None, bound=names, names=(), allowed=())
        port = address_of(self.listeners[0])[1]
        handler = partial(_respond, {HEALTH: _running, **self.figures}, callers)
        async with trio.open_nursery() as nursery:
            await nursery.start(http1.serve, as_trio_listeners(self.listeners), handler, _LIMITS)
            log.info("metrics_listening", port=port, addresses=addresses)
            task_status.started()


async def _respond(figures: Mapping[str, Figures], callers: Callers, request: HttpRequest) -> HttpResponse:
    if (reason := callers.refuse_request(request)) is not None:
        return plain_error(403, reason)
    reading = figures.get(request.path)
    if reading is None:
        return plain_error(404, f"there are {', '.join(sorted(figures))}")
    if request.method not in ("GET", "HEAD"):
        return plain_error(405, "this can be read with GET")
    return await reading()
