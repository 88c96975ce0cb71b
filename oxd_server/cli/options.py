"""Options that several commands have, and what they mean."""

import argparse
from pathlib import Path
from typing import Any, Final

from oxd_server.cli.errors import CliError
from oxd_server.config import Config, load_config

__all__ = ["DEFAULT_PORT", "Commands", "add_config", "stored_config"]

DEFAULT_PORT: Final = 8099

Commands = Any  # argparse keeps the type of its subparsers action to itself


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        help="oxd-conf.json; oxd-default-site-config.json is read from the same folder. Or oxd-server.yml of oxd 4.x. "
        "Every key has a default.",
    )


def stored_config(path: Path | None) -> Config:
    """Return the configuration in the file at ``path``, for a command that reads the store.

    Raises ``ConfigError``, or ``CliError`` where nothing is kept.
    """
    config = load_config(path)
    if config.storage == "memory":
        raise CliError("storage is memory: there is no file; use oxd-server call get_rp '{\"list\": true}'")
    return config
