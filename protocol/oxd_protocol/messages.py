"""Envelopes and parameters: from the bytes of a frame's body to a typed command, and from a result to bytes.

The libraries send unset parameters in many disguises. One rule for each kind of parameter undoes them:

* null, blank text, ``[]``, ``[""]``, ``[null]`` and the literal text ``null`` in a token all mean "absent";
* a list may come as one text (a scope list then is split at white space), a truth value as text, a mapping as an
  empty list, and the sector identifier as a list;
* unknown keys are ignored, aliases are mapped to their parameter unless that is given itself.

What cannot be read even so raises ``ParamsError``, naming the parameter and what was expected.
"""

import functools
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from oxd_protocol.errors import CommandError, FramingError, ParamsError
from oxd_protocol.framing import PREFERRED_RESPONSE_BYTES, FrameTooLong, encode_frame

__all__ = [
    "Command",
    "FirstOf",
    "JsonText",
    "Milliseconds",
    "Params",
    "Request",
    "Response",
    "Result",
    "Token",
    "WordList",
    "claims_as_lists",
    "decode_object",
    "decode_params",
    "decode_request",
    "encode_body",
    "encode_response",
    "error_response",
]


class _Discreet(msgspec.Struct, frozen=True, kw_only=True):
    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # tokens and client secrets are among the fields


class Params(_Discreet, frozen=True, kw_only=True):
    """What a command takes. A field without a default is required."""


class Result(_Discreet, frozen=True, kw_only=True):
    """What a command's ok answer holds: these keys and no others."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a field's value is read where its type alone does not say it."""

    name: str


Token = Annotated[str, _Kind("token")]
"""A text in which the literal ``null`` means that there is none (the Perl library sends that)."""
FirstOf = Annotated[str, _Kind("first")]
"""A text that may come as a list: its first item counts."""
WordList = Annotated[tuple[str, ...], _Kind("words")]
"""A list that may come as one text, split at white space."""
Milliseconds = Annotated[int, _Kind("milliseconds")]
"""A time in milliseconds since 1970; 0, null, zero dates and anything unreadable mean "unknown": never an error."""
JsonText = Annotated[Any, _Kind("json")]
"""Any JSON value, kept as it is."""


@dataclass(frozen=True)
class Command:
    """One command of the wire: declared once, here all that anybody needs to know about it.

    ``protected`` says whether the command needs a ``protection_access_token`` where commands are protected;
    ``returns_secrets``, that over HTTPS it needs one even where they are not.
    ``missing`` maps a required parameter to the error code for its absence (default ``bad_request``);
    ``aliases`` maps other spellings of a parameter to its name. ``unsupported`` is the sentence that says what to
    use instead of a command that is no more. ``recomputable`` names a key of the answer that may be left out when
    the answer is too long for a frame.
    """

    name: str
    params: type[Params]
    result: type[Result]
    summary: str
    protected: bool = True
    returns_secrets: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    unsupported: str | None = None
    recomputable: str | None = None

    @functools.cached_property
    def fields(self) -> "Fields":
        """The params' fields with their readers, aliases included."""
        return Fields.of(self.params, self.aliases)


class Request(msgspec.Struct, frozen=True):
    """A command's name as sent, and its params as decoded JSON, not yet typed."""

    command: str
    params: dict[str, Any]

    def __repr__(self) -> str:
        return f"Request(command={self.command!r})"  # params hold secrets


class Response(msgspec.Struct, frozen=True):
    """What a command came to. ``data`` of an error holds error, error_description and details, nothing else.

    ``malformed`` says that the params could not even be read (HTTP calls that a bad request).
    """

    status: Literal["ok", "error"]
    data: Any
    recomputable: str | None = None
    malformed: bool = False

    @property
    def error_code(self) -> str | None:
        """The error code, None for an ok answer."""
        return self.data["error"] if self.status == "error" else None

    def __repr__(self) -> str:
        return f"Response(status={self.status!r})"  # data may hold secrets


_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()

_MAX_DEPTH: Final = 100
"""Levels of nesting in a request: far more than any command needs, far fewer than Python's recursion limit."""


def decode_request(body: bytes) -> Request:
    """Decode a frame's body.

    Raises ``FramingError`` when it is not a JSON object (the connection closes) and ``CommandError`` when the
    object is no request (the connection stays open).
    """
    value = decode_object(body)
    command, params = value.get("command"), value.get("params")
    if not isinstance(command, str) or not command.strip():
        raise CommandError("invalid_request", 'The request has no "command": send {"command": "...", "params": {...}}.')
    if params is None or params == []:  # PHP encodes an empty map as []
        params = {}
    if not isinstance(params, dict):
        raise ParamsError('"params" must be a JSON object.')
    return Request(command, params)


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
    # A level takes two bytes, and one of them opens it.
    if (
        len(body) > 2 * _MAX_DEPTH
        and body.count(b"[") + body.count(b"{") > _MAX_DEPTH
        and _is_deeper(value, _MAX_DEPTH)
    ):
        raise _too_deep()
    return value


def _too_deep() -> ParamsError:
    return ParamsError(f"The request is nested deeper than {_MAX_DEPTH} levels.")


def _decode_json(body: bytes) -> Any:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The standard library reads halves of surrogate pairs, too; what is no character becomes U+FFFD.
        return _as_unicode(json.loads(body.decode("utf-8", "replace"), parse_constant=_refuse_constant))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as_unicode(value: Any) -> Any:
    """Return the JSON value with U+FFFD for every half of a surrogate pair, which no encoding can express."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_as_unicode(key): _as_unicode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_unicode(item) for item in value]
    return value


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, dict | list) for item in level)


P = TypeVar("P", bound=msgspec.Struct)


def decode_params(command: Command, raw: Mapping[str, Any]) -> Params:
    """Return ``raw`` as the command's typed params.

    Raises ``ParamsError`` for a value of the wrong type and ``CommandError`` for a required one that is absent.
    """
    values = command.fields.read(raw, "")
    for name in command.fields.required:
        if name not in values:
            raise CommandError(command.missing.get(name, "bad_request"), f"'{name}' is missing or blank.")
    return command.params(**values)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a struct, and how the value of each is read."""

    readers: Mapping[str, tuple[str, bool, "Reader"]]  # key as sent -> (field, is it an alias?, reader)
    required: tuple[str, ...]

    @classmethod
    def of(cls, struct: type[msgspec.Struct], aliases: Mapping[str, str]) -> "Fields":
        """Derive the readers from the struct's annotations."""
        hints = typing.get_type_hints(struct, include_extras=True)
        fields = {f.name: (f.encode_name, _reader(hints[f.name])) for f in msgspec.structs.fields(struct)}
        readers = {key: (name, False, reader) for name, (key, reader) in fields.items()}
        readers |= {alias: (name, True, fields[name][1]) for alias, name in aliases.items()}
        return cls(readers, tuple(f.name for f in msgspec.structs.fields(struct) if f.required))

    def read(self, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the values that are there; unknown keys are ignored, blank values are absent."""
        values: dict[str, Any] = {}
        for key, value in raw.items():
            entry = self.readers.get(key)
            if entry is None or _is_absent(value):
                continue
            name, is_alias, reader = entry
            if is_alias and name in values:
                continue
            read = reader(value, where + key)
            if read is not None:
                values[name] = read
        return values


Reader = Callable[[Any, str], Any]
"""Takes a value (never one of the disguises of "absent") and the parameter's name; returns None if the value comes
to nothing all the same; raises ``ParamsError``."""


def _is_absent(value: Any) -> bool:
    return all(map(_is_blank, value)) if isinstance(value, list) else _is_blank(value)


def _is_blank(value: Any) -> bool:
    return not value.strip() if isinstance(value, str) else value is None


def _reader(hint: Any) -> Reader:
    """Return the reader for a field's type; ``X | None`` is read like ``X``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
    if typing.get_origin(hint) is Annotated:
        kinds = [note.name for note in hint.__metadata__ if isinstance(note, _Kind)]
        return _READERS[kinds[0]] if kinds else _reader(hint.__origin__)
    if typing.get_origin(hint) is tuple and issubclass(typing.get_args(hint)[0], msgspec.Struct):
        return functools.partial(_read_structs, typing.get_args(hint)[0])
    return _READERS[hint]


def _read_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(where, "a text", value)
    return value


def _read_token(value: Any, where: str) -> str | None:
    text = _read_text(value, where)
    return None if text == "null" else text


def _read_first(value: Any, where: str) -> str:
    return _read_texts(value, where)[0]


def _read_texts(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise _wrong_type(where, "a list of texts", value)
    return tuple(_read_text(item, where) for item in value if not _is_blank(item))


def _read_words(value: Any, where: str) -> tuple[str, ...]:
    return _read_texts(value.split() if isinstance(value, str) else value, where)


def _read_flag(value: Any, where: str) -> bool:
    flag = _FLAGS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if flag is None:
        raise _wrong_type(where, "true or false", value)
    return flag


_FLAGS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


def _read_mapping(value: Any, where: str) -> dict[str, str] | None:
    if not isinstance(value, dict):
        raise _wrong_type(where, "an object", value)
    return {key: _as_text(item) for key, item in value.items() if item is not None} or None


def _read_milliseconds(value: Any, where: str) -> int | None:
    """Never fail: libraries send 0, zero dates and what their languages make of them."""
    if isinstance(value, str):
        value = _milliseconds_of_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < _FAR_FUTURE else None


_FAR_FUTURE: Final = 1 << 53
"""The largest number of milliseconds that every JSON reader takes for the same integer."""


def _milliseconds_of_text(text: str) -> int | None:
    if text.isdecimal():
        return int(text) if len(text) <= len(str(_FAR_FUTURE)) else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _read_json(value: Any, _where: str) -> Any:
    return None if value == {} else value


def _read_structs(struct: type[P], value: Any, where: str) -> tuple[P, ...] | None:
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise _wrong_type(where, "a list of objects", value)
    fields = _fields_of(struct)
    structs = []
    for number, item in enumerate(value):
        if _is_blank(item):
            continue
        if not isinstance(item, dict):
            raise _wrong_type(f"{where}[{number}]", "an object", item)
        values = fields.read(item, f"{where}[{number}].")
        missing = next((name for name in fields.required if name not in values), None)
        if missing:
            raise ParamsError(f"'{where}[{number}].{missing}' is missing or blank.")
        structs.append(struct(**values))
    return tuple(structs) or None


@functools.cache
def _fields_of(struct: type[msgspec.Struct]) -> Fields:
    return Fields.of(struct, {})


_READERS: Mapping[Any, Reader] = {
    str: _read_text,
    bool: _read_flag,
    tuple[str, ...]: _read_texts,
    dict[str, str]: _read_mapping,
    "token": _read_token,
    "first": _read_first,
    "words": _read_words,
    "milliseconds": _read_milliseconds,
    "json": _read_json,
}

_JSON_TYPES: Mapping[type, str] = {
    bool: "a truth value",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _wrong_type(where: str, expected: str, value: Any) -> ParamsError:
    # The value itself stays out of the sentence: it may be a secret in the wrong place.
    return ParamsError(f"'{where}' must be {expected}, not {_JSON_TYPES[type(value)]}.")


def _as_text(value: Any) -> str:
    """Return a JSON value as one text: digits of a number, true or false, the JSON text of a list or an object."""
    return value if isinstance(value, str) else _encode_json(value).decode()


def _encode_json(value: Any) -> bytes:
    """Return JSON text. Raises ``CommandError`` for data (an OP's, then) that is nested too deeply."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_as_unicode(msgspec.to_builtins(value)))
    except RecursionError:
        raise CommandError("op_invalid_response", "The OP's answer is nested too deeply.") from None


def claims_as_lists(claims: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return claims in the wire's shape: every value a list of texts, numbers included.

    An array gives one text per item, an object its JSON text; a claim that is null is left out.
    """
    return {
        name: [_as_text(item) for item in (value if isinstance(value, list) else [value]) if item is not None]
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
        body = _encode_json({"status": response.status, "data": response.data})
    except CommandError as error:
        return encode_body(error_response(error))
    if body.isascii():
        return body
    # Characters beyond ASCII occur in strings only, where an escape means the same.
    return _NOT_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], body.decode()).encode("ascii")


_NOT_ASCII: Final = re.compile("[^\x00-\x7f]+")
_SHORT_DESCRIPTION: Final = 500
"""Characters of an error's description that always fit; escaped, a character has twelve bytes at most."""


def encode_response(response: Response) -> bytes:
    """Return the answer as one frame that every library can read.

    What the client can compute itself is left out of an answer that is longer than the libraries read at once. An ok
    answer that does not fit even so becomes the error ``response_too_long``; an error keeps its code and loses its
    details.
    """
    body = encode_body(response)
    if len(body) > PREFERRED_RESPONSE_BYTES:
        body = encode_body(_shortened(response))
    try:
        return encode_frame(body)
    except FrameTooLong as error:
        return encode_frame(encode_body(_reduced(response, error.size)))


def _shortened(response: Response) -> Response:
    if response.status == "error":
        short = response.data["error_description"][:_SHORT_DESCRIPTION]
        return Response("error", {**response.data, "error_description": short})
    if response.recomputable is None:
        return response
    data = msgspec.to_builtins(response.data)
    data.pop(response.recomputable, None)
    return Response("ok", data)


def _reduced(response: Response, size: int) -> Response:
    if response.status == "error":
        return _shortened(Response("error", {**response.data, "details": None}))
    return error_response(
        CommandError(
            "response_too_long",
            f"The answer has {size} bytes and does not fit into one frame. "
            "Ask for it over HTTPS, which has no such limit.",
        )
    )
