"""The kinds of values that a key of the configuration takes: what is expected, in words, and how a value is read."""

import ipaddress
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from oxd_protocol.catalog import find_command

__all__ = [
    "ADDRESSES",
    "CALLERS",
    "COMMANDS",
    "CONNECTIONS",
    "FLAG",
    "MINUTES",
    "MODE",
    "PATH",
    "PORT",
    "PREFIX",
    "PROXY",
    "REDIS_MODE",
    "SCOPES",
    "SECRET",
    "SERVERS",
    "TEXT",
    "TEXTS",
    "URL_PATH",
    "WORKERS",
    "Kind",
    "mapping",
    "one_of",
    "seconds",
    "whole",
]

_MAX_WORKERS: Final = 64
_SECONDS_PER_DAY: Final = 86_400
_PORTS: Final = 65_536
_MOST_OF_MODE: Final = 0o777


def _as_it_is(text: str) -> str:
    return text


def _listed(text: str) -> Any:
    """Return the items of a text with commas, or of a list in JSON."""
    return json.loads(text) if text.lstrip().startswith("[") else text.split(",")


class Kind(NamedTuple):
    """One kind of value. ``read`` raises ``ValueError``, ``TypeError`` or ``OverflowError`` for anything else.

    A ``secret`` is never shown, neither in an error nor in a repr. ``from_text`` makes of the text of an environment
    variable what would stand in the file; it raises ``ValueError``.
    """

    expected: str
    read: Callable[[Any], Any]
    secret: bool = False
    from_text: Callable[[str], Any] = _as_it_is


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers within these bounds; a text of digits is one."""

    def read(value: Any) -> int:
        if isinstance(value, (bool, float)) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return Kind(f"a whole number from {low} to {high}", read)


def seconds(low: float, *, zero_is_none: bool = False) -> Kind:
    """Return the kind of durations in seconds, from ``low`` to a day."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not math.isfinite(float(value)) or not low <= float(value) <= _SECONDS_PER_DAY:
            raise ValueError
        return float(value)

    return Kind(f"seconds, from {low:g} to {_SECONDS_PER_DAY}{'; 0 = none' if zero_is_none else ''}", read)


def one_of(*names: str, hint: str = "") -> Kind:
    """Return the kind of these names, in any letter case."""

    def read(value: Any) -> str:
        if _text(value).lower() not in names:
            raise ValueError
        return _text(value).lower()

    return Kind(f"one of {', '.join(names)}{hint}", read)


def mapping(kind: Kind, of: str) -> Kind:
    """Return the kind of objects whose values are all of one kind, such as a setting for each OP.

    Args:
        kind: of every value.
        of: what the names stand for, in the words of the expectation.
    """

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError
        return {_text(name): kind.read(item) for name, item in value.items()}

    return Kind(f"an object: for {of}, {kind.expected}", read, kind.secret, json.loads)


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value.strip()


def _texts(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(text for text in (_text(item) for item in items if item is not None) if text)


def _path(value: Any) -> Path:
    if "\0" in _text(value):
        raise ValueError
    return Path(_text(value))


def _mode(value: Any) -> int:
    """Read a mode as chmod has it: four octal digits at most, as a text."""
    mode = int(_text(value), 8)
    if not 0 <= mode <= _MOST_OF_MODE:
        raise ValueError
    return mode


def _url_path(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", text):
        raise ValueError
    return text


def _scopes(value: Any) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else _texts(value)


def _addresses(value: Any) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_address(text)) for text in _texts(value))


def _callers(value: Any) -> tuple[str, ...]:
    return tuple(text if text == "*" else str(ipaddress.ip_network(text, strict=False)) for text in _texts(value))


def _commands(value: Any) -> tuple[str, ...]:
    found = [find_command(text) for text in _texts(value)]
    if any(command is None or not command.protected or command.returns_secrets for command in found):
        raise ValueError
    return tuple(command.name for command in found if command is not None)


def _workers(value: Any) -> int:
    if value == "auto":
        return min(len(os.sched_getaffinity(0)), _MAX_WORKERS)
    return int(whole(1, _MAX_WORKERS).read(value))


def _servers(value: Any) -> tuple[str, ...]:
    """Read ``host:port`` names: a list, or one text with commas as of old."""
    names = _texts(value.split(",") if isinstance(value, str) else value)
    if not names:
        raise ValueError
    return tuple(_server(name) for name in names)


def _server(name: str) -> str:
    host, _, port = name.rpartition(":")
    if not host.strip("[]") or not port.isascii() or not port.isdigit() or not 0 < int(port) < _PORTS:
        raise ValueError
    return name


def _prefix(value: Any) -> str:
    text = _text(value)
    if not 0 < len(text) <= 64 or any(letter in "{}*?[]\\ " or not letter.isprintable() for letter in text):
        raise ValueError
    return text


def _proxy(value: Any) -> str:
    """Read the URL of a proxy. Credentials have keys of their own, for a URL is shown."""
    text = _text(value)
    parts = urlsplit(text)
    is_proxy = parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/")
    if text.lower() != "direct" and (not is_proxy or "@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError
    _ = parts.port  # raises ValueError where it is none
    return text


SERVERS: Final = Kind("a list of host:port, or a text of them with commas", _servers)
PROXY: Final = Kind("a URL of a proxy (http://host:port or https://host:port, without credentials), or direct", _proxy)
PREFIX: Final = Kind("up to 64 printable characters without spaces and brackets", _prefix)
REDIS_MODE: Final = one_of("standalone", "sentinel", "cluster")
FLAG: Final = Kind("true or false", _flag)
TEXT: Final = Kind("a text", _text)
SECRET: Final = Kind("a text", _text, secret=True)
TEXTS: Final = Kind("a list of texts", _texts, from_text=_listed)
SCOPES: Final = Kind("a list of scopes", _scopes, from_text=_listed)
PATH: Final = Kind("a path", _path)
MODE: Final = Kind('a mode of a file as a text, such as "0660"', _mode)
URL_PATH: Final = Kind("a path of letters, digits and - . _ ~ that begins with /", _url_path)
ADDRESSES: Final = Kind("a list of IP addresses", _addresses, from_text=_listed)
CALLERS: Final = Kind("a list of IP addresses and networks, or *", _callers, from_text=_listed)
COMMANDS: Final = Kind("a list of commands, none of which answers client secrets", _commands, from_text=_listed)
MINUTES: Final = whole(1, 525_600)
PORT: Final = whole(0, 65535)
CONNECTIONS: Final = whole(1, 1_000_000)
WORKERS: Final = Kind("a whole number from 1 to 64, or auto: one for each processor", _workers)
