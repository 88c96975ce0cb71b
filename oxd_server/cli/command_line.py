"""The way into the command line: the parser of all commands, and what becomes of errors."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import trio

from oxd_protocol.errors import FramingError
from oxd_server import __version__
from oxd_server.cli import backup, call, config, health, keys, sandbox, serve, sites
from oxd_server.cli.errors import CliError, text_of_first
from oxd_server.config import ConfigError
from oxd_server.log.plain import plain_text
from oxd_server.op.errors import KeyFileError
from oxd_server.store.base import StoreError

__all__ = ["main", "make_parser"]

_EXPECTED_ERRORS: Final = (
    CliError,
    ConfigError,
    KeyFileError,
    StoreError,
    FramingError,
    OSError,
    trio.TooSlowError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    try:
        return _run(arguments)
    finally:
        _flush()


def _flush() -> None:
    """Write what is left; where nobody reads it any more, as after ``| head``, that is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more


def _run(arguments: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character stops nothing
    options = make_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except* BrokenPipeError:
        pass
    except* _EXPECTED_ERRORS as group:
        print(f"oxd-server: {plain_text(text_of_first(group))}", file=sys.stderr)
    except* KeyboardInterrupt:
        pass
    return 1


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the manual and the completions are made from it too."""
    parser = argparse.ArgumentParser(
        prog="oxd-server", description="OpenID Connect and UMA 2.0 for the application beside it."
    )
    parser.add_argument("--version", action="version", version=f"oxd-server {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (serve, config, health, sites, backup, keys, call, sandbox):
        group.add(commands)
    return parser
