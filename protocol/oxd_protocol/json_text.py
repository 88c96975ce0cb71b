"""JSON as the libraries write it and as they can read it: mangled text is only text, too deep is an error."""

import json
import re
from typing import Any, Final

import msgspec

from oxd_protocol.errors import CommandError, FramingError, ParamsError

__all__ = ["as_text", "as_unicode", "decode_object", "encode_json", "may_be_too_deep"]

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()

_MAX_DEPTH: Final = 100
"""Levels of nesting in a request: far more than any command needs, far fewer than Python's recursion limit."""


def decode_object(body: bytes) -> dict[str, Any]:
    """Decode one JSON object; mangled text in it is only text.

    Raises ``FramingError`` for anything else and ``ParamsError`` for one that is nested too deeply.
    """
    try:
        value = _decode_json(body)
    except ValueError as error:
        why = str(error).partition(";")[0]  # what Python adds about too many digits is for its own programmers
        raise FramingError(f"The request is not a JSON object: {why}.") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise FramingError("The request is not a JSON object.")
    if may_be_too_deep(body) and _is_deeper(value, _MAX_DEPTH):
        raise _too_deep()
    return value


def may_be_too_deep(body: bytes) -> bool:
    """Return whether JSON text is long enough, and opens enough, to be nested more deeply than a request may be."""
    # A level takes two bytes, and one of them opens it.
    return len(body) > 2 * _MAX_DEPTH and body.count(b"[") + body.count(b"{") > _MAX_DEPTH


def _too_deep() -> ParamsError:
    return ParamsError(f"The request is nested deeper than {_MAX_DEPTH} levels.")


def _decode_json(body: bytes) -> Any:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The standard library reads halves of surrogate pairs, too; what is no character becomes U+FFFD.
        return as_unicode(json.loads(body.decode("utf-8", "replace"), parse_constant=_refuse_constant))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def as_unicode(value: Any) -> Any:
    """Return the JSON value with U+FFFD for every half of a surrogate pair, which no encoding can express."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {as_unicode(key): as_unicode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_unicode(item) for item in value]
    return value


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, dict | list) for item in level)


def as_text(value: Any) -> str:
    """Return a JSON value as one text: digits of a number, true or false, the JSON text of a list or an object."""
    return value if isinstance(value, str) else encode_json(value).decode()


def encode_json(value: Any) -> bytes:
    """Return JSON text. Raises ``CommandError`` for data (an OP's, then) that is nested too deeply."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(as_unicode(msgspec.to_builtins(value)))
    except RecursionError:
        raise CommandError("op_invalid_response", "The OP's answer is nested too deeply.") from None
