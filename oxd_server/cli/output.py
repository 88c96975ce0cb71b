"""What is printed for people and for programs."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from oxd_server.cli.errors import CliError
from oxd_server.log.plain import colours_wanted, plain_json

__all__ = ["add_output", "counted", "output_of", "print_json"]

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
    print(_coloured(text) if colours_wanted(stream.isatty(), os.environ) else text, file=stream)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--output``, for what may hold secrets."""
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write to FILE, readable by its owner only; it must be new"
    )


@contextmanager
def output_of(options: argparse.Namespace) -> Iterator[TextIO]:
    """Yield where the output goes: the new file of ``--output``, or standard output. What fails leaves no file.

    Raises:
        CliError: the file cannot be made, or is there already.
    """
    if options.output is None:
        yield sys.stdout
        return
    path: Path = options.output
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            yield stream
    except BaseException:
        path.unlink(missing_ok=True)
        raise


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
