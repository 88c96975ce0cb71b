"""Envelopes: from the bytes of a frame's body to a command's name and raw params, and from a result to bytes."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from oxd_protocol.discreet import Discreet
from oxd_protocol.errors import CommandError, FramingError, ParamsError
from oxd_protocol.framing import PREFERRED_RESPONSE_BYTES, FrameTooLong, encode_frame
from oxd_protocol.json_text import as_text, decode_object, encode_json, may_be_too_deep
from oxd_protocol.params import Result

__all__ = [
    "Request",
    "Response",
    "claims_as_lists",
    "decode_request",
    "encode_body",
    "encode_response",
    "error_response",
]


class Request(Discreet, frozen=True):
    """A command's name as sent, and its params as decoded JSON, not yet typed."""

    shows = ("command",)

    command: str
    params: dict[str, Any]


class Response(Discreet, frozen=True):
    """What a command came to. ``data`` of an error holds error, error_description and details, nothing else.

    ``malformed`` says that the params could not even be read (HTTP calls that a bad request).
    """

    shows = ("status",)

    status: Literal["ok", "error"]
    data: Any
    recomputable: str | None = None
    malformed: bool = False

    @property
    def error_code(self) -> str | None:
        """The error code, None for an ok answer."""
        return self.data["error"] if self.status == "error" else None


_request_decoder = msgspec.json.Decoder(Request)


def decode_request(body: bytes) -> Request:
    """Decode a frame's body.

    Raises ``FramingError`` when it is not a JSON object (the connection closes) and ``CommandError`` when the
    object is no request (the connection stays open).
    """
    try:
        sent = _request_decoder.decode(body)
        if sent.command and not sent.command.isspace() and not may_be_too_deep(body):
            return sent
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # said in another way, or wrong: in which way, the slow reading finds out
    value = decode_object(body)
    command, params = value.get("command"), value.get("params")
    if not isinstance(command, str) or not command.strip():
        raise CommandError("invalid_request", 'The request has no "command": send {"command": "...", "params": {...}}.')
    if params is None or params == []:  # PHP encodes an empty map as []
        params = {}
    if not isinstance(params, dict):
        raise ParamsError('"params" must be a JSON object.')
    return Request(command, params)


def claims_as_lists(claims: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return claims in the wire's shape: every value a list of texts, numbers included.

    An array gives one text per item, an object its JSON text; a claim that is null is left out.
    """
    return {
        name: [as_text(item) for item in (value if isinstance(value, list) else [value]) if item is not None]
        for name, value in claims.items()
        if value is not None
    }


def error_response(error: CommandError | FramingError) -> Response:
    """Return the error envelope for what went wrong."""
    if isinstance(error, FramingError):
        broken = {"error": error.code, "error_description": str(error), "details": None}
        return Response("error", broken, malformed=True)
    data = {"error": error.code, "error_description": error.description, "details": error.details}
    return Response("error", data, malformed=isinstance(error, ParamsError))


def encode_body(response: Response) -> bytes:
    """Return the envelope as ASCII JSON, however long it is."""
    try:
        body = encode_json({"status": response.status, "data": _in_envelope(response.data)})
    except CommandError as error:
        return encode_body(error_response(error))
    if body.isascii():
        return body
    # Characters beyond ASCII occur in strings only, where an escape means the same.
    return _NOT_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], body.decode()).encode("ascii")


def _in_envelope(data: Any) -> Any:
    return data.in_envelope() if isinstance(data, Result) else data


_NOT_ASCII: Final = re.compile("[^\x00-\x7f]+")
_SHORT_DESCRIPTION: Final = 500
"""Characters of an error's description that always fit; escaped, a character has twelve bytes at most."""


def encode_response(response: Response) -> bytes:
    """Return the answer as one frame that every library can read.

    What the client can compute itself is left out of an answer that is longer than the libraries read at once. An ok
    answer that does not fit even so becomes the error ``response_too_long``; an error keeps its code and loses its
    details.
    """
    try:
        return _frame_of(response)
    except FrameTooLong as error:
        return encode_frame(encode_body(_reduced(response, error.size)))


def check_fits(response: Response) -> None:
    """Raise ``CommandError`` response_too_long for an ok answer that no frame can carry."""
    try:
        _frame_of(response)
    except FrameTooLong as error:
        raise _too_long(error.size) from None


def _frame_of(response: Response) -> bytes:
    body = encode_body(response)
    return encode_frame(encode_body(_shortened(response)) if len(body) > PREFERRED_RESPONSE_BYTES else body)


def _shortened(response: Response) -> Response:
    if response.status == "error":
        short = response.data["error_description"][:_SHORT_DESCRIPTION]
        return Response("error", {**response.data, "error_description": short})
    if response.recomputable is None:
        return response
    data = msgspec.to_builtins(_in_envelope(response.data))
    data.pop(response.recomputable, None)
    return Response("ok", data)


def _reduced(response: Response, size: int) -> Response:
    if response.status == "error":
        return _shortened(Response("error", {**response.data, "details": None}))
    return error_response(_too_long(size))


def _too_long(size: int) -> CommandError:
    return CommandError(
        "response_too_long",
        f"The answer has {size} bytes and does not fit into one frame. Ask for it over HTTPS, which has no such limit.",
    )
