"""What every dialect can do, and what they share. Pure.

A dialect stands between HTTP and the one dispatch: it maps paths and fields to a command, and a response to a status
and a body. No handler knows dialects.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from oxd_protocol.discreet import Discreet
from oxd_protocol.errors import HTTP_STATUS_PREFIX
from oxd_protocol.messages import Response
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.http1_messages import HttpRequest

__all__ = ["Answer", "Dialect", "NeedsToken", "Refused", "Route", "bearer_token", "op_status"]

_BEARER: Final = re.compile(r"bearer[ \t]+(\S+)", re.IGNORECASE)
_FIRST_ERROR_STATUS: Final = 400
_LAST_STATUS: Final = 599
_BAD_GATEWAY: Final = 502


class Refused(Exception):
    """A request that the front refuses by itself, with this status."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__(description)
        self.status = status


class Route(Discreet, frozen=True):
    """Where a path leads: to a command, by a method; ``params`` are those that the path itself names."""

    shows = ("command", "method")

    command: AnyCommand
    method: str = "POST"
    params: Mapping[str, str] = {}


class Answer(Discreet, frozen=True):
    """What is sent back."""

    shows = ("status", "media_type")

    status: int
    body: bytes
    media_type: str = "application/json"


NeedsToken = Callable[[AnyCommand], bool]
"""Says whether a command needs a protection token over HTTPS."""


class Dialect(Protocol):
    """One dialect of the HTTP API; ``name`` is how the configuration and a site's mark spell it."""

    name: str

    def find(self, path: str) -> Route | None:
        """Return where the path leads, None if it leads nowhere in this dialect."""

    def read(self, route: Route, request: HttpRequest) -> dict[str, Any]:
        """Return the command's raw params, its token among them.

        Raises ``Refused``, ``FramingError`` for a body that is no JSON object, and ``CommandError``.
        """
        ...

    def encode(self, command: AnyCommand, response: Response) -> Answer:
        """Return the answer for what the command came to."""
        ...

    def error(self, status: int, description: str) -> Answer:
        """Return an error of the front itself."""
        ...


def bearer_token(request: HttpRequest) -> str | None:
    """Return the token of the request's Authorization header (RFC 6750, section 2.1); None without exactly one."""
    values = [value for name, value in request.headers if name == "authorization"]
    match = _BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    return match.group(1) if match else None


def op_status(code: str) -> int | None:
    """Return the HTTP status of an OP's own answer that the code tells of, None for every other code."""
    if not code.startswith(HTTP_STATUS_PREFIX):
        return None
    status = int(code.removeprefix(HTTP_STATUS_PREFIX))
    return status if _FIRST_ERROR_STATUS <= status <= _LAST_STATUS else _BAD_GATEWAY
