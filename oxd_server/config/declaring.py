"""How a key of the configuration is declared: as a field of a struct, with a ``Key`` in its annotation.

From the declaration follows how the key is called wherever it can be set.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple, get_args, get_type_hints

import msgspec

from oxd_server.config.kinds import Kind

__all__ = ["VARIABLES", "Declared", "Key", "Settings", "Value", "declared_keys", "declared_values"]

VARIABLES: Final = "OXD_"
"""What the names of our environment variables begin with."""


class Key(NamedTuple):
    """What is declared of a key beside its name, type and default.

    ``kind`` is a struct for an object that has keys of its own. ``name`` is the key's spelling in the file where that
    is not the attribute's. ``heading`` begins a group of keys. A ``legacy`` key is read, but not recommended to
    anybody: it stands in no sample. ``flag`` sets the key on the command line, where that is common. A key, or an
    object, of ``restart`` is not taken by a reload.
    """

    kind: Kind | type["Settings"]
    sentence: str
    name: str = ""
    heading: str = ""
    legacy: bool = False
    flag: str = ""
    restart: bool = False


class Declared(NamedTuple):
    """One key of a struct: its spelling in the file, the attribute, the declaration and the default."""

    name: str
    attribute: str
    key: Key
    default: Any

    @property
    def is_secret(self) -> bool:
        """Tell whether the value is hidden."""
        return isinstance(self.key.kind, Kind) and self.key.kind.secret


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the configuration. Its repr leaves out what is secret."""

    def __repr__(self) -> str:
        hidden = {key.attribute for key in declared_keys(type(self)) if key.is_secret}
        shown = {name: value for name, value in msgspec.structs.asdict(self).items() if name not in hidden}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __rich_repr__(self) -> list[tuple[str, str]]:  # msgspec's own would show the passwords
        return [("", repr(self))]


@cache
def declared_keys(struct: type[Settings]) -> tuple[Declared, ...]:
    """Return the keys of a struct in the order of their declaration."""
    return tuple(_declared(struct))


def _declared(struct: type[Settings]) -> Iterator[Declared]:
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        for key in get_args(hints[field.name]):
            if isinstance(key, Key):
                default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
                yield Declared(key.name or field.name, field.name, key, default)


class Value(NamedTuple):
    """A key that holds a value and no further keys: its whole name, such as ``https.port``, and what is declared.

    ``path`` are the attributes that lead to the value.
    """

    name: str
    path: tuple[str, ...]
    declared: Declared
    kind: Kind

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return VARIABLES + re.sub(r"[^A-Z0-9]", "_", self.name.upper())

    @property
    def is_secret(self) -> bool:
        """Tell whether the value is hidden, and may come from a file of its own."""
        return self.kind.secret


@cache
def declared_values(struct: type[Settings], prefix: str = "", path: tuple[str, ...] = ()) -> tuple[Value, ...]:
    """Return every key that holds a value, of the struct and of the objects in it."""
    found: list[Value] = []
    for declared in declared_keys(struct):
        name, kind = f"{prefix}{declared.name}", declared.key.kind
        inner = (*path, declared.attribute)
        if isinstance(kind, Kind):
            found.append(Value(name, inner, declared, kind))
        else:
            found += declared_values(kind, f"{name}.", inner)
    return tuple(found)
