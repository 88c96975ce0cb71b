"""A configuration file as JSON: reading it, reading its values key by key, and wording what is wrong."""

import json
import re
from collections.abc import Container, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from oxd_server.config.kinds import Kind

__all__ = ["ConfigError", "Section", "read_file", "read_value", "wrong"]

_SHOWN_OF_VALUE: Final = 60
_CREDENTIALS_IN_A_URL: Final = re.compile(r"//[^/@]*@")


class ConfigError(Exception):
    """The configuration cannot be used. Each of the ``problems`` is one line: where, what, and what was expected."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        others = len(self.problems) - 1
        more = f" ({others} more: oxd-server check-config names them all)" if others else ""
        return f"{self.problems[0]}{more}"


class Section:
    """One JSON object of a file: reads its values key by key, collects warnings, words the errors."""

    def __init__(self, file: Path, node: Mapping[str, Any], prefix: str = "") -> None:
        self.file = file
        self.prefix = prefix
        self.node = {key: value for key, value in node.items() if value not in (None, "")}
        self.warnings: list[str] = []

    def read(self, kinds: Mapping[str, Kind]) -> dict[str, Any]:
        """Return the values that are set, by key; relative paths start at the file's folder.

        Raises:
            ConfigError: a value is wrong.
        """
        values = {
            key: read_value(kind, self.node[key], self.name(key), self.file.parent)
            for key, kind in kinds.items()
            if key in self.node
        }
        self.note_unknown(kinds)
        return values

    def note_unknown(self, known: Container[str]) -> None:
        """Warn of every key that is not known."""
        self.warnings += [f"{self.name(key)} is an unknown key" for key in self.node if key not in known]

    def section(self, key: str) -> "Section":
        """Take out the object under ``key``; an empty one if there is none.

        Raises:
            ConfigError: something else stands there.
        """
        node = self.node.pop(key, {})
        if not isinstance(node, dict):
            raise self.error(key, node, "an object")
        return Section(self.file, node, f"{self.prefix}{key}.")

    def error(self, key: str, value: Any, expected: str) -> ConfigError:
        """Return the error for a wrong value."""
        return wrong(self.name(key), value, expected)

    def name(self, key: str) -> str:
        """Return how a message calls the key: with the file and the objects that it stands in."""
        return f"{self.file.name}: {self.prefix}{_shown(key)[1:-1]}"


def read_file(path: Path) -> Section:
    """Return the object in the file at ``path``.

    Raises:
        ConfigError: the file cannot be read, is not JSON (line and column are named), or is not an object.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    # A comment leaves an empty line behind, so that the lines of an error are those of the file.
    text = "\n".join("" if line.lstrip().startswith("//") else line for line in lines)
    doubled: list[str] = []
    try:
        node = json.loads(text, object_pairs_hook=partial(_object, doubled))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise ConfigError(f"{path} is not JSON that can be read: nested too deeply or a number too long") from None
    if not isinstance(node, dict):
        raise ConfigError(f"{path} is not a JSON object")
    section = Section(path, node)
    section.warnings += [f"{section.name(key)} stands there twice; the last one counts" for key in doubled]
    return section


def read_value(kind: Kind, value: Any, name: str, folder: Path) -> Any:
    """Return the value as its kind reads it; a relative path starts at ``folder``, ``name`` is what an error calls it.

    Raises:
        ConfigError: the value is wrong; a secret one is not shown.
    """
    try:
        read = kind.read(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise wrong(name, value, kind.expected, secret=kind.secret) from None
    return folder / read if isinstance(read, Path) else read


def wrong(name: str, value: Any, expected: str, *, secret: bool = False) -> ConfigError:
    """Return the error for a wrong value; a secret one is not shown."""
    shown = "the value" if secret else _shown(value)
    return ConfigError(f"{name}: {shown} is wrong: expected {expected}")


def _object(doubled: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node = dict(pairs)
    if len(node) < len(pairs):
        names = [name for name, _ in pairs]
        doubled += [name for name in node if names.count(name) > 1]
    return node


def _shown(value: Any) -> str:
    text = _CREDENTIALS_IN_A_URL.sub("//***@", json.dumps(value))
    return text if len(text) <= _SHOWN_OF_VALUE else f"{text[:_SHOWN_OF_VALUE]}..."
