"""Parameters: from decoded JSON to a typed command.

The libraries send unset parameters in many disguises. One rule for each kind of parameter undoes them:

* null, blank text, ``[]``, ``[""]``, ``[null]`` and the literal text ``null`` in a token all mean "absent";
* a list may come as one text (a scope list then is split at white space), a truth value as text, a mapping as an
  empty list, and the sector identifier as a list;
* unknown keys are ignored, aliases are mapped to their parameter unless that is given itself.

What cannot be read even so raises ``ParamsError``, naming the parameter and what was expected.
"""

import functools
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from oxd_protocol.dates import read_date
from oxd_protocol.discreet import Discreet
from oxd_protocol.errors import CommandError, ParamsError
from oxd_protocol.json_text import as_text

__all__ = [
    "AnyCommand",
    "Command",
    "FirstOf",
    "JsonObject",
    "JsonText",
    "Milliseconds",
    "Params",
    "Result",
    "Token",
    "WordList",
    "decode_params",
]


class Params(Discreet, frozen=True, kw_only=True, omit_defaults=True):
    """What a command takes. A field without a default is required; what is absent is not written either."""


class Result(Discreet, frozen=True, kw_only=True):
    """What a command's ok answer holds: these keys and no others."""

    def in_envelope(self) -> "Result":
        """Return what an envelope holds of it: less than a newer dialect shows, or in another shape."""
        return self


class _Kind(msgspec.Struct, frozen=True):
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
JsonObject = Annotated[dict[str, Any], _Kind("object")]
"""A JSON object that may come as its text."""
JsonText = Annotated[Any, _Kind("json")]
"""Any JSON value, kept as it is."""


P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)
S = TypeVar("S", bound=msgspec.Struct)


class Command(msgspec.Struct, Generic[P, R], frozen=True, dict=True):
    """One command of the wire: declared once, here all that anybody needs to know about it.

    The types of its params and of its result are its own type's parameters, so that a type checker sees whether a
    handler fits.
    ``result`` is what an envelope holds; ``typed_result``, where it differs, is what the handler returns and a flat
    answer shows. ``generation`` is that of the HTTP API in which the command first occurs.
    ``protected`` says whether the command needs a ``protection_access_token`` where commands are protected;
    ``returns_secrets``, that over HTTPS it needs one even where they are not. ``changes`` says that running the command
    once more by mistake would change something, here or at the OP.
    ``missing`` maps a required parameter to the error code for its absence (default ``bad_request``);
    ``instead`` maps one that is a text to the parameter that may stand in its place: it is blank then.
    ``aliases`` maps other spellings of a parameter to its name. ``unsupported`` is the sentence that says what to
    use instead of a command that is no more. ``recomputable`` names a key of the answer that may be left out when
    the answer is too long for a frame.
    """

    name: str
    params: type[P]
    result: type[R]
    summary: str
    protected: bool = True
    returns_secrets: bool = False
    changes: bool = False
    missing: Mapping[str, str] = {}
    instead: Mapping[str, str] = {}
    aliases: Mapping[str, str] = {}
    unsupported: str | None = None
    recomputable: str | None = None
    typed_result: type[Result] | None = None
    generation: int = 3

    @functools.cached_property
    def fields(self) -> "Fields":
        """The params' fields with their readers, aliases included."""
        return Fields.of(self.params, self.aliases)


AnyCommand: TypeAlias = Command[Any, Any]
"""A command of which only the name and what is said about it matters."""


def decode_params(command: Command[P, R], raw: Mapping[str, Any]) -> P:
    """Return ``raw`` as the command's typed params.

    Raises ``ParamsError`` for a value of the wrong type and ``CommandError`` for a required one that is absent.
    """
    fields = command.fields
    values = fields.read(raw, "")
    for name in fields.required:
        if name not in values and command.instead.get(name) in values:
            values[name] = ""
        if name not in values:
            details = {"check": "missing_parameter", "parameter": name}
            raise CommandError(command.missing.get(name, "bad_request"), f"'{name}' is missing or blank.", details)
    return command.params(**values)


class Fields(msgspec.Struct, frozen=True):
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
        readers = self.readers
        for key, value in raw.items():
            entry = readers.get(key)
            if entry is None or (not value.strip() if isinstance(value, str) else _is_absent(value)):
                continue
            name, is_alias, reader = entry
            if is_alias and name in values:
                continue
            read = reader(value, where + key)
            if read is not None:
                values[name] = read
        return values

    def lenient(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``raw`` with text for each number or truth value that stands where text is due."""
        return {
            key: as_text(value) if isinstance(value, int | float) and self._wants_text(key) else value
            for key, value in raw.items()
        }

    def _wants_text(self, key: str) -> bool:
        return key in self.readers and self.readers[key][2] in (_read_text, _read_token, _read_first)


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
    return {key: as_text(item) for key, item in value.items() if item is not None} or None


def _read_object(value: Any, where: str) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            raise ParamsError(f"'{where}' must be an object or the JSON text of one.") from None
    if not isinstance(value, dict):
        raise _wrong_type(where, "an object", value)
    return value or None


def _read_number(value: Any, where: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value.strip()):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(where, "a whole number", value)
    return value


def _read_milliseconds(value: Any, _where: str) -> int | None:
    """Never fail: libraries send 0, zero dates and what their languages make of them."""
    date = read_date(value, 1000)
    return date if date is not None and 0 < date < _FAR_FUTURE else None


_FAR_FUTURE: Final = 1 << 53
"""The largest number of milliseconds that every JSON reader takes for the same integer."""


def _read_json(value: Any, _where: str) -> Any:
    return None if value == {} else value


def _read_structs(struct: type[S], value: Any, where: str) -> tuple[S, ...] | None:
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
    int: _read_number,
    tuple[str, ...]: _read_texts,
    dict[str, str]: _read_mapping,
    "token": _read_token,
    "first": _read_first,
    "words": _read_words,
    "milliseconds": _read_milliseconds,
    "json": _read_json,
    "object": _read_object,
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
