"""Dialect 3, of oxd 3.1: paths are commands' names with dashes, and the answer is the socket's envelope. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from oxd_protocol.catalog import COMMANDS, find_command
from oxd_protocol.json_text import decode_object
from oxd_protocol.messages import Response, encode_body
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.dialects.base import Answer, NeedsToken, Refused, Route, bearer_token, op_status
from oxd_server.entrances.http1_messages import HttpRequest
from oxd_server.entrances.reference import HTTP_ALIASES, http_path

__all__ = ["Envelope"]

_GENERATION: Final = 3
_NO_TOKEN: Final = "The protection token is missing. Send it in one header: Authorization: Bearer <token>."
_NO_TOKEN_OF_LIBRARY: Final = (
    "The protection token is missing. For a library that cannot send one, name {} in https_commands_without_token. "
    "Others send it in one header: Authorization: Bearer <token>."
)


def _by_path() -> dict[str, Route]:
    paths = {http_path(command): command for command in COMMANDS if command.generation <= _GENERATION}
    paths |= {path: command for path, name in HTTP_ALIASES.items() if (command := find_command(name))}
    return {path: Route(command) for path, command in paths.items()}


_ROUTES: Final[Mapping[str, Route]] = _by_path()


class Envelope:
    """``{"status": "ok" or "error", "data": {...}}``, with HTTP status 200 for refused commands too."""

    name = "3"

    def __init__(self, needs_token: NeedsToken = lambda command: command.protected) -> None:
        self._needs_token = needs_token

    def find(self, path: str) -> Route | None:
        """Return the command with this name."""
        return _ROUTES.get(path)

    def read(self, route: Route, request: HttpRequest) -> dict[str, Any]:
        """Return the body, with the header's token, which wins over the body's."""
        token = bearer_token(request)
        if token is None and self._needs_token(route.command):
            raise Refused(403, _no_token(route.command))
        params = decode_object(request.body)
        if token is not None:
            params["protection_access_token"] = token
        return params

    def encode(self, command: AnyCommand, response: Response) -> Answer:
        """Return the envelope. Existing libraries accept nothing but 200; only the OP's own answers keep theirs."""
        del command
        code = response.error_code
        status = None if code is None else op_status(code)
        return Answer(400 if response.malformed else status or 200, encode_body(response))

    def error(self, status: int, description: str) -> Answer:
        """Return an error in the shape of every error: the status is the code."""
        data = {"error": str(status), "error_description": description, "details": None}
        return Answer(status, encode_body(Response("error", data)))


def _no_token(command: AnyCommand) -> str:
    return _NO_TOKEN if command.returns_secrets else _NO_TOKEN_OF_LIBRARY.format(command.name)
