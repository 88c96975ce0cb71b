"""The form of a command: its fields, what they begin with, and what a person's texts in them mean."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oxd_protocol.params import AnyCommand
from oxd_server.entrances.reference import EXAMPLES, parameters

__all__ = ["Field", "FieldError", "fields_of", "read_params"]

TEXT, LIST, NUMBER, TRUTH = "text", "list of texts", "number", "true or false"
_EXAMPLES = ("resources", "path", "http_method")
"""Parameters whose example of the reference is as good as any other."""


class FieldError(Exception):
    """What a person wrote cannot be meant; the text says of which field, and what is expected there."""


@dataclass(frozen=True)
class Field:
    """A field of the form."""

    name: str
    kind: str
    required: bool
    help: str
    value: str = field(repr=False)

    @property
    def is_long(self) -> bool:
        """Whether it takes more than a line."""
        return self.kind not in (TEXT, NUMBER, TRUTH, LIST)


def fields_of(command: AnyCommand, known: Mapping[str, Any], typed: Mapping[str, str] | None = None) -> list[Field]:
    """The command's fields, with what was typed in them, or else what is known by their names."""
    rows = parameters(command)
    values = typed if typed is not None else {row.name: _begin(row.name, known, required=row.required) for row in rows}
    return [Field(row.name, row.kind, row.required, row.description, values.get(row.name, "")) for row in rows]


def _begin(name: str, known: Mapping[str, Any], *, required: bool) -> str:
    if name in known:
        return _written(known[name])
    return _written(EXAMPLES[name]) if required and name in _EXAMPLES else ""


def _written(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(value, indent=2)


def read_params(command: AnyCommand, typed: Mapping[str, str]) -> dict[str, Any]:
    """The params that the texts mean; empty fields are left out. Raises `FieldError`."""
    kinds = {row.name: row.kind for row in parameters(command)}
    return {name: _read(name, kinds[name], text) for name, text in typed.items() if name in kinds and text.strip()}


def _read(name: str, kind: str, text: str) -> Any:
    if kind == TEXT:
        return text.strip()
    if kind == LIST and not text.lstrip().startswith("["):
        return text.split()
    if kind == TRUTH and text.strip() not in ("true", "false"):
        raise FieldError(f"{name} is true or false.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FieldError(f"{name} is a {kind}: write it as JSON.") from None
