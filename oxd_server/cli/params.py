"""The params of ``call`` as they are typed: ``key=value``, ``key:=JSON``, ``key=@FILE``, ``@FILE``, ``-``, JSON."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from oxd_server.cli.errors import CliError
from oxd_server.log.names import is_secret_name

__all__ = ["FORMS", "read_params", "read_secret", "secrets_typed"]

FORMS: Final = "key=value, key:=JSON, key=@FILE, @FILE, - (standard input) or a JSON object"
_MAX_BYTES: Final = 1_000_000  # more than any frame holds
_PAIR: Final = re.compile(r"(?P<key>[\w.-]+)(?P<sign>:?=)(?P<value>.*)", re.DOTALL)


def read_params(words: Sequence[str], standard_input: BinaryIO) -> dict[str, Any]:
    """Return the params that the words of a command line stand for; a later one counts more than an earlier one.

    Raises:
        CliError: a word is none of the forms, or a file cannot be read.
    """
    params: dict[str, Any] = {}
    for word in words:
        params.update(_of_word(word, standard_input))
    return params


def _of_word(word: str, standard_input: BinaryIO) -> dict[str, Any]:
    if word == "-":
        return _object(_bounded(standard_input, "standard input"), "standard input")
    if word.startswith("@"):
        return _object(_text_of(Path(word[1:])), word[1:])
    pair = None if word.startswith("{") else _PAIR.fullmatch(word)
    if pair is None:
        return _object(word, "PARAMS")
    key, sign, value = pair["key"], pair["sign"], pair["value"]
    if value.startswith("@"):
        value = _text_of(Path(value[1:])).rstrip("\r\n")
    return {key: _json(value, key) if sign == ":=" else value}


def secrets_typed(words: Sequence[str]) -> list[str]:
    """Return the names of the secrets that stand in the words themselves, for everybody on the machine to read."""
    return sorted({name for word in words for name in _typed(word) if is_secret_name(name)})


def _typed(word: str) -> Iterator[str]:
    if word.startswith("{"):
        yield from _object(word, "PARAMS")
    elif (pair := _PAIR.fullmatch(word)) is not None and not pair["value"].startswith("@"):
        yield pair["key"]


def read_secret(path: Path) -> str:
    """Return the secret that a file holds, without the end of its line.

    Raises:
        CliError: the file cannot be read, or holds none.
    """
    secret = _text_of(path).strip()
    if not secret.isascii() or not secret.isprintable() or not secret:
        raise CliError(f"{path} holds no token: one line of ASCII is wanted")
    return secret


def _object(text: str, place: str) -> dict[str, Any]:
    value = _json(text, place)
    if not isinstance(value, dict):
        raise CliError(f"{place} is no JSON object; PARAMS are {FORMS}")
    return value


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CliError(f"{place} is not JSON: {error}; PARAMS are {FORMS}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _bounded(file, str(path))
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}") from None


def _bounded(file: BinaryIO, place: str) -> str:
    data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise CliError(f"{place} is longer than {_MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CliError(f"{place} is not UTF-8 text") from None
