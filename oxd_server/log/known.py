"""The secrets of the command that is being run, so that no line of the log repeats one, wherever it turns up.

An OP can put what it was sent into any text: a kid, an audience, the name of an error, a header. Neither a name nor
its looks give that away. So whoever handles a secret notes it here, or the object that holds it. Noting costs nearly
nothing: what was noted is looked through only when a line is written.
"""

import base64
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from typing import Any, Final
from urllib.parse import quote

import msgspec

from oxd_server.log.names import is_secret_name

__all__ = ["begin_command", "end_command", "known_secrets", "note_secrets"]

_SHORTEST: Final = 8
"""Shorter texts turn up by chance."""
_MAX_NOTED: Final = 200
_MAX_SECRETS: Final = 100
_MAX_BODY_BYTES: Final = 256 * 1024
_DEEPEST: Final = 6

_noted: ContextVar[list[object] | None] = ContextVar("noted", default=None)


def begin_command(params: object) -> Token[list[object] | None]:
    """Forget what was noted before; ``params`` are those of the command."""
    return _noted.set([params])


def end_command(token: Token[list[object] | None]) -> None:
    """Forget what was noted since ``begin_command`` returned the token."""
    _noted.reset(token)


def note_secrets(source: object) -> None:
    """Keep in mind what this holds until the command ends.

    Args:
        source: a secret as text (of an Authorization header, the whole value); a mapping, a list of pairs, a struct or
            a JSON object as bytes, whose members with the names of secrets count.
    """
    noted = _noted.get()
    if noted is not None and source is not None and len(noted) < _MAX_NOTED:
        noted.append(source)


def known_secrets() -> tuple[str, ...]:
    """Return what the command at hand must not say, in every usual spelling, the longest first."""
    found: set[str] = set()
    for source in _noted.get() or ():
        for secret in _secrets_in(source, 0):
            if len(secret) >= _SHORTEST and len(found) < _MAX_SECRETS:
                found.add(secret)
    return tuple(sorted({spelling for secret in found for spelling in _spellings(secret)}, key=len, reverse=True))


def _secrets_in(source: object, depth: int) -> Iterator[str]:
    if isinstance(source, str):
        yield from _parts(source)
    elif isinstance(source, bytes):
        yield from _secrets_in(_decoded(source), depth + 1)
    elif depth < _DEEPEST:
        for name, value in _members(source):
            if isinstance(name, str) and is_secret_name(name):
                yield from _texts(value)
            elif not isinstance(value, str | bytes):
                yield from _secrets_in(value, depth + 1)


def _members(source: object) -> Iterator[tuple[object, object]]:
    if isinstance(source, Mapping):
        yield from source.items()
    elif isinstance(source, msgspec.Struct):
        for name in source.__struct_fields__:
            yield name, getattr(source, name, None)
    elif isinstance(source, list | tuple):
        for item in source:
            yield item if isinstance(item, tuple) and len(item) == 2 else (None, item)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from _parts(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _parts(secret: str) -> Iterator[str]:
    """Yield the secret, and what is in it where it is an Authorization header (RFC 7617, section 2; RFC 6750)."""
    yield secret
    scheme, _, credentials = secret.partition(" ")
    if credentials:
        yield credentials
    if scheme.lower() == "basic":
        yield from _decoded_basic(credentials).split(":", 1)[1:]


def _decoded_basic(credentials: str) -> str:
    try:
        return base64.b64decode(credentials).decode("utf-8", "replace")
    except ValueError:
        return ""


def _decoded(body: bytes) -> Any:
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _spellings(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield quote(raw, safe="")
    yield raw.hex()
    yield repr(secret)[1:-1]
    yield msgspec.json.encode(secret.encode("utf-8", "replace").decode()).decode()[1:-1]
    for shift in range(3):  # wherever it stands in what is encoded
        text = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")[shift + 1 if shift else 0 : -1]
        if len(text) >= _SHORTEST:
            yield from {text, text.translate(_URL_SAFE)}


_URL_SAFE: Final = str.maketrans("+/", "-_")
