"""Options that several commands have, and what they mean."""

import argparse
import os
from pathlib import Path
from typing import Any, Final

from oxd_server.cli.errors import CliError
from oxd_server.config import Config, Loaded, Sources, load_settings
from oxd_server.config.declaring import declared_values
from oxd_server.config.kinds import FLAG

__all__ = ["DEFAULT_PORT", "Commands", "add_config", "add_flags", "loaded", "sources_of", "stored_config"]

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


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that set keys of the configuration; they count more than the environment and the file."""
    group = parser.add_argument_group("settings", "In the place of what the file and the environment say.")
    for value in declared_values(Config):
        flag = value.declared.key.flag
        if flag:
            alone: dict[str, Any] = {"nargs": "?", "const": "true"} if value.kind is FLAG else {}
            metavar, text = flag.rpartition("-")[2].upper(), f"{value.name}: {value.kind.expected}"
            group.add_argument(flag, dest=flag, metavar=metavar, help=text, **alone)


def sources_of(options: argparse.Namespace) -> Sources:
    """Return where the settings of this command come from."""
    flags = {name: text for name, text in vars(options).items() if name.startswith("--") and text is not None}
    return Sources(options.config, dict(os.environ), flags)


def loaded(options: argparse.Namespace) -> Loaded:
    """Return the configuration that this command has. Raises ``ConfigError``."""
    return load_settings(sources_of(options))


def stored_config(sources: Sources) -> Config:
    """Return the configuration that these sources give, for a command that reads the store.

    Raises ``ConfigError``, or ``CliError`` where nothing is kept.
    """
    config = load_settings(sources).config
    if config.storage == "memory":
        raise CliError("storage is memory: there is no file; use oxd-server call get_rp list:=true")
    return config
