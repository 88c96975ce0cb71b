"""The rules for what a client sends, applied to the bytes of one connection. Pure."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from oxd_protocol.catalog import find_command
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.framing import FrameReader
from oxd_protocol.messages import Request, decode_request
from oxd_protocol.params import decode_params

__all__ = ["MAX_SENT_BYTES", "SENT_RULES", "broken_rules", "frames_of", "request_of"]

MAX_SENT_BYTES: Final = 1_000_000

SENT_RULES: Final = {
    "four digits": "A frame begins with four digits, the length of its body.",
    "length in bytes": "The length counts the bytes of the body in UTF-8, and the body is not longer than 9999 bytes.",
    "one object": 'The body is {"command": "...", "params": {...}} in UTF-8.',
    "sent once": "A command is sent once. Copies are dropped here, but a server cannot know what is meant.",
    "known command": "The command is one of the protocol's and is still supported.",
    "readable params": "The params have the types that the command takes, and those that it needs are there.",
}
"""By its name: what a client is to do."""


def frames_of(sent: bytes) -> list[bytes]:
    """Return the bodies of the whole frames at the beginning of these bytes, up to what is no frame."""
    reader = FrameReader(MAX_SENT_BYTES)
    reader.receive_data(sent)
    bodies = []
    try:
        while (body := reader.next_frame()) is not None:
            bodies.append(body)
    except FramingError:
        pass  # what breaks the framing is judged by the rules
    return bodies


def request_of(body: bytes) -> Request | None:
    """Return what a body asks for, None if it is no request."""
    try:
        return decode_request(body)
    except (FramingError, CommandError):
        return None


def broken_rules(sent: bytes) -> Iterator[tuple[str, str]]:
    """Yield the name of each rule that these bytes break, and how."""
    bodies = frames_of(sent)
    yield from _framing(sent, bodies)
    if not bodies:
        yield "one object", f"no JSON object in {sent[:60]!r}"
        return
    if bodies[0] in bodies[1:]:
        yield "sent once", f"the first frame came {bodies.count(bodies[0])} times"
    for body in dict.fromkeys(bodies):
        yield from _content(body)


def _framing(sent: bytes, bodies: list[bytes]) -> Iterator[tuple[str, str]]:
    header = re.match(rb"[0-9]*", sent)
    assert header is not None  # it matches nothing, too
    digits = header.group()
    if len(digits) != 4:
        yield "four digits", f"the frame begins with {sent[:8]!r}"
    elif bodies and int(digits) != len(bodies[0]):
        yield "length in bytes", f"{digits.decode()} is announced for a body of {len(bodies[0])} bytes"
    if bodies and len(bodies[0]) > 9999:
        yield "length in bytes", f"a body of {len(bodies[0])} bytes; {_TOO_LONG}"


_TOO_LONG: Final = "four digits announce 9999 at most"


def _content(body: bytes) -> Iterator[tuple[str, str]]:
    request = request_of(body)
    if request is None or not _is_plain(body):
        yield "one object", f"the body begins with {body[:60]!r}"
        return
    command = find_command(request.command)
    if command is None or command.unsupported is not None:
        yield "known command", f"{request.command[:60]!r}"
        return
    try:
        decode_params(command, request.params)
    except CommandError as error:
        yield "readable params", error.description


def _is_plain(body: bytes) -> bool:
    """Whether the body is UTF-8, and its params, where it has any, are an object as it stands."""
    try:
        value: dict[str, Any] = json.loads(body.decode())
    except ValueError:
        return False
    return isinstance(value.get("params", {}), dict)
