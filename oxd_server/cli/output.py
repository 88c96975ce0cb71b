"""What is printed for people and for programs."""

import json
from typing import Final, TextIO

from oxd_server.log.plain import plain_json

__all__ = ["counted", "print_json"]

_KEY: Final = "\x1b[36m"
_TEXT: Final = "\x1b[32m"
_OTHER: Final = "\x1b[33m"
_RESET: Final = "\x1b[0m"


def counted(number: int, noun: str) -> str:
    """Return "1 site", "2 sites"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_json(value: object, stream: TextIO) -> None:
    """Write a value as indented JSON, in colours on a terminal."""
    text = plain_json(json.dumps(value, indent=2, ensure_ascii=False))
    print(_coloured(text) if stream.isatty() else text, file=stream)


def _coloured(text: str) -> str:
    """Colour indented JSON line by line: keys, texts, everything else."""
    return "\n".join(_coloured_line(line) for line in text.split("\n"))


def _coloured_line(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    rest = line[len(indent) :]
    key, separator, value = rest.partition('": ') if rest.startswith('"') and '": ' in rest else ("", "", rest)
    coloured_key = f'{_KEY}{key}"{_RESET}: ' if separator else ""
    if value.rstrip(",") in ("{", "[", "}", "]", "{}", "[]"):
        return indent + coloured_key + value
    colour = _TEXT if value.startswith('"') else _OTHER
    comma = "," if value.endswith(",") else ""
    return f"{indent}{coloured_key}{colour}{value.removesuffix(',')}{_RESET}{comma}"
