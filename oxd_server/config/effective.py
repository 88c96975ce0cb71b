"""The values in force, for people: each key, its value, and where that comes from. Secrets are masked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from oxd_server.config.declaring import declared_values
from oxd_server.config.keys import Config
from oxd_server.config.kinds import MODE
from oxd_server.config.loading import Loaded

__all__ = ["effective_values"]

_MASK: Final = "***"


def effective_values(loaded: Loaded) -> Iterator[tuple[str, str, str]]:
    """Yield name, value as JSON and origin of every key; of old spellings only those that are set."""
    for value in declared_values(Config):
        given = loaded.given.get(value.name)
        if given is None and value.declared.key.legacy:
            continue
        origin = "default" if given is None else given.origin
        if given is not None and given.file is not None:
            origin = f"{origin}, in {given.file}"
        shown = _value(loaded.config, value.path)
        if value.kind is MODE:
            shown = f"{shown:04o}"
        yield value.name, _MASK if value.is_secret and shown else json.dumps(shown, default=_plain), origin


def _value(config: Any, path: tuple[str, ...]) -> Any:
    for attribute in path:
        config = getattr(config, attribute)
    return config


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else msgspec.to_builtins(value)
