"""A YAML file as plain values: what JSON could say as well, and nothing else.

PyYAML's safe loader makes no objects. This one takes less still: no aliases (a few of them can stand for billions of
values), no keys twice, no tags, no dates.
"""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from oxd_server.config.file import ConfigError

__all__ = ["read_yaml"]

_MAX_BYTES: Final = 262_144
_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))


class _PlainLoader(yaml.SafeLoader):
    """Refuses what JSON could not say."""

    # Dates stay texts, as the old server read them; "<<" would need aliases.
    yaml_implicit_resolvers = {  # noqa: RUF012 -- as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            problem = "aliases are not taken"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _PLAIN:
            raise yaml.MarkedYAMLError(problem=f"the tag {node.tag} is not taken", problem_mark=node.start_mark)
        value = super().construct_object(node, deep)
        if isinstance(value, float) and not math.isfinite(value):
            raise yaml.MarkedYAMLError(problem="the number is not finite", problem_mark=node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem="a key must be a text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the object in the YAML file at ``path``.

    Raises:
        ConfigError: the file cannot be read, is longer than 256 KiB, is not YAML (line and column are named), or is
            not an object.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{path} is longer than {_MAX_BYTES} bytes")
        node = yaml.load(data.decode("utf-8-sig"), _PlainLoader)  # noqa: S506 -- it is a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{path} is not YAML that can be read: {_place(error)}{error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ConfigError(
            f"{path} is not YAML that can be read: a strange character, nested too deeply or a number too long"
        ) from None
    if not isinstance(node, dict):
        raise ConfigError(f"{path} is not a YAML object")
    return node


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
