"""A configuration file as JSON: reading it, reading its values key by key, and wording what is wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from oxd_server.config.kinds import Kind

__all__ = ["ConfigError", "Section", "read_file"]

_SHOWN_OF_VALUE: Final = 60


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line that says where, what, and what was expected."""


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
        values = {key: self._value(key, kind) for key, kind in kinds.items() if key in self.node}
        self.warnings += [f"{self._name(key)} is an unknown key" for key in self.node if key not in kinds]
        return values

    def section(self, key: str) -> "Section":
        """Take out the object under ``key``; an empty one if there is none.

        Raises:
            ConfigError: something else stands there.
        """
        node = self.node.pop(key, {})
        if not isinstance(node, dict):
            raise self.error(key, node, "an object")
        return Section(self.file, node, f"{self.prefix}{key}.")

    def error(self, key: str, value: Any, expected: str, *, secret: bool = False) -> ConfigError:
        """Return the error for a wrong value; a secret one is not shown."""
        shown = "the value" if secret else _shown(value)
        return ConfigError(f"{self._name(key)}: {shown} is wrong: expected {expected}")

    def _value(self, key: str, kind: Kind) -> Any:
        try:
            value = kind.read(self.node[key])
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise self.error(key, self.node[key], kind.expected, secret=kind.secret) from None
        return self.file.parent / value if isinstance(value, Path) else value

    def _name(self, key: str) -> str:
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
    try:
        node = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise ConfigError(f"{path} is not JSON that can be read: nested too deeply or a number too long") from None
    if not isinstance(node, dict):
        raise ConfigError(f"{path} is not a JSON object")
    return Section(path, node)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_OF_VALUE else f"{text[:_SHOWN_OF_VALUE]}..."
