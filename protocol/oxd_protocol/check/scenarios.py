"""What the scripted server does after a command, and what a client is to make of it. Pure."""

import json
import types
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec

from oxd_protocol.catalog import find_command
from oxd_protocol.framing import MAX_RESPONSE_BYTES, PREFERRED_RESPONSE_BYTES

__all__ = ["ERROR_CODE", "MARK", "SCENARIOS", "Scenario", "answer_data"]

MARK: Final = "mark-of-the-check"
"""In every text of an answer: a program that prints what it read shows this, whole."""
ERROR_CODE: Final = "error_of_the_check"
_PAUSE: Final = 0.05
_FRAGMENT: Final = 7

Pieces = list[tuple[bytes, float]]
"""What is sent, piece by piece, and for how many seconds the server pauses after each."""


class Scenario(msgspec.Struct, frozen=True):
    """One way of answering.

    ``pieces`` makes the answer to a command; None closes the connection without one. ``listens`` is False where nobody
    answers at all. ``succeeds`` says what the program's exit is to tell.
    """

    name: str
    rule: str
    pieces: Callable[[str], Pieces] | None = None
    succeeds: bool = True
    listens: bool = True
    mark: str = MARK


def answer_data(command: str, text: str) -> dict[str, Any]:
    """Return data with all the keys of the command's ok answer; each text in it is ``text``."""
    known = find_command(command)
    if known is None:
        return {"oxd_id": text}
    hints = typing.get_type_hints(known.result)
    return {name: _value(hints[name], text) for name in known.result.__struct_fields__}


def _value(hint: Any, text: str) -> Any:
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple):
        return [_value(kinds[0], text)]
    if hint is str or (origin is types.UnionType and str in kinds):
        return text
    if hint is bool:
        return True
    if hint is int or int in kinds:
        return 1
    return {"text": [text]}


def _ok(command: str, text: str = MARK) -> bytes:
    return json.dumps({"status": "ok", "data": answer_data(command, text)}).encode()


def _error() -> bytes:
    data = {"error": ERROR_CODE, "error_description": "The check wants an error here.", "details": {"why": MARK}}
    return json.dumps({"status": "error", "data": data}).encode()


def _frame(body: bytes, size: int = 0) -> bytes:
    padded = body.ljust(size)
    return b"%04d%s" % (len(padded), padded)


def _in_one_piece(command: str) -> Pieces:
    return [(_frame(_ok(command)), 0)]


def _header_alone(command: str) -> Pieces:
    frame = _frame(_ok(command))
    return [(frame[:4], _PAUSE), (frame[4:], 0)]


def _in_fragments(command: str) -> Pieces:
    frame = _frame(_ok(command))
    return [(frame[start : start + _FRAGMENT], 0.002) for start in range(0, len(frame), _FRAGMENT)]


def _padded(command: str) -> Pieces:
    return [(_frame(_ok(command), PREFERRED_RESPONSE_BYTES), 0)]


def _longest(command: str) -> Pieces:
    return [(_frame(_ok(command), MAX_RESPONSE_BYTES), 0)]


def _split_in_the_middle(command: str) -> Pieces:
    frame = _frame(_ok(command), MAX_RESPONSE_BYTES)
    return [(frame[:8192], _PAUSE), (frame[8192:], 0)]


_WITH_LENGTH: Final = "mark-0999-of-the-check"


def _with_its_length(command: str) -> Pieces:
    return [(_frame(_ok(command, _WITH_LENGTH), 999), 0)]


def _refused(command: str) -> Pieces:
    return [(_frame(_error()), 0)]


SCENARIOS: Final = (
    Scenario("in one piece", "An answer in one segment is read; the program succeeds.", _in_one_piece),
    Scenario("header alone", "The four digits may come alone: read on until the body is whole.", _header_alone),
    Scenario("in fragments", "An answer may come in any pieces: read as many bytes as it announces.", _in_fragments),
    Scenario("padded", "White space may follow the object: it belongs to the body.", _padded),
    Scenario("longest", "An answer may have 9999 bytes.", _longest),
    Scenario("split at 8192", "An answer of 9999 bytes may need two reads.", _split_in_the_middle),
    Scenario(
        "its length in it",
        "Only the first four bytes are the length: the same digits in the body are content.",
        _with_its_length,
        mark=_WITH_LENGTH,
    ),
    Scenario("an error", "An error answer is no success: the exit tells it, or the program names it.", _refused, False),
    Scenario("no answer", "A connection that closes without an answer is a failure.", succeeds=False),
    Scenario("nobody there", "Where nobody listens, the program fails and ends.", succeeds=False, listens=False),
)
"""In the order in which they are run."""
