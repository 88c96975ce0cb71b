"""What a reload cannot change: the keys that are declared so keep the value that they had at the start."""

from typing import Any, TypeVar

import msgspec

from oxd_server.config.declaring import Settings, declared_keys
from oxd_server.config.keys import Config
from oxd_server.config.kinds import Kind

__all__ = ["as_reloaded"]

_S = TypeVar("_S", bound=Settings)


def as_reloaded(running: Config, read: Config) -> tuple[Config, tuple[str, ...]]:
    """Return what a reload makes of the configuration that was read, and the names of the changed keys that it leaves.

    Args:
        running: in force until now.
        read: from the same sources, just now.
    """
    names: list[str] = []
    config = _kept(running, read, "", names)
    return msgspec.structs.replace(config, store_path=running.store_path), tuple(names)


def _kept(running: _S, read: _S, prefix: str, names: list[str]) -> _S:
    kept: dict[str, Any] = {}
    for declared in declared_keys(type(running)):
        old, new = getattr(running, declared.attribute), getattr(read, declared.attribute)
        name = f"{prefix}{declared.name}"
        if declared.key.restart and old != new:
            kept[declared.attribute] = old
            names.append(name)
        elif not isinstance(declared.key.kind, Kind):
            kept[declared.attribute] = _kept(old, new, f"{name}.", names)
    return msgspec.structs.replace(read, **kept)
