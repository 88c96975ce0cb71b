"""The sample file and the reference table, made from the declared keys.

``python -m oxd_server.config.reference`` writes both, in the root of the project; a test compares them.
"""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from oxd_server.config.declaring import Declared, Settings, declared_keys, declared_values
from oxd_server.config.keys import Config
from oxd_server.config.kinds import MODE, Kind

__all__ = ["FILES", "default_text", "reference_table", "sample_file"]

_WIDTH: Final = 120
_SAMPLE_TITLE: Final = (
    "The configuration of oxd-server. Every key is here with its default, so that any of them can be left out. "
    'It is JSON; lines that hold nothing but a // comment are skipped. null and "" mean the default. '
    "Relative paths start at this file's folder. What is wrong stops the start and is named. Every key can be set by "
    "an environment variable as well, and a secret can stand in a file of its own: see docs/reference/configuration.md."
)
_TABLE_TITLE: Final = """\
# Configuration

Every key of `oxd-conf.json`. `https.port` is the key `port` in the object `https`. Every key can be left out; null and
"" mean the default. A wrong value stops the start: the message names the key, the value and what was expected. An
unknown key is a warning. Relative paths start at the file's folder. `conf/oxd-conf.json` holds the same keys, ready to
be edited.

## Where a value may come from

What stands higher in this list counts more. `oxd-server check-config --show` prints every value with its origin.

1. A flag of `oxd-server serve`: {flags}.
2. An environment variable. Its name is that of the key in capitals, after `OXD_`, with `_` for what is no letter or
   digit: `OXD_PORT`, `OXD_HTTPS_CERT_PATH`. Lists are texts with commas, or JSON. Objects are JSON. An empty variable
   sets nothing. Relative paths start at the working directory.
3. A credential of systemd: a file in `$CREDENTIALS_DIRECTORY` that is named after the key and holds the value, as with
   `LoadCredential=trust_store_password:/etc/oxd/password`. For a key that is a path, the credential is the file itself,
   as with `LoadCredential=https.key_path:/etc/oxd/tls.key`. `LoadCredential=oxd:/etc/oxd/credentials` loads a whole
   folder.
4. The file: `oxd-server serve --config PATH`.
5. The default, which the tables below tell.

A secret can stand in a file of its own. In the configuration file, the key with `_file` at its end names that file:
`trust_store_password_file`. In the environment, the variable with `_FILE` does: `OXD_TRUST_STORE_PASSWORD_FILE`. The
secrets are {secrets}.

If Kubernetes has a service named `oxd`, it sets variables such as `OXD_PORT=tcp://10.0.0.1:8099` in every pod. Such
addresses set nothing. `enableServiceLinks: false` keeps them away.

SIGHUP reloads the configuration: every key but those that need a restart, as the tables say. What is wrong changes
nothing: the log names it, and the server goes on as it was.

This page is made from the declarations in `oxd_server/config/keys.py` by `python -m oxd_server.config.reference`.
"""
_RESTART: Final = "*Needs a restart.*"
_TABLE_HEAD: Final = ("| key | value | default | variable | meaning |", "| --- | --- | --- | --- | --- |")


def sample_file() -> str:
    """Return the sample: every key with its default, and above it the sentence that explains it."""
    return "\n".join([*_comment(_SAMPLE_TITLE, 0), *_object(Config, 0)]) + "\n"


def reference_table() -> str:
    """Return the reference: a table in Markdown for each group of keys."""
    values = declared_values(Config)
    flags = ", ".join(f"`{value.declared.key.flag}`" for value in values if value.declared.key.flag)
    secrets = ", ".join(f"`{value.name}`" for value in values if value.is_secret)
    title = _TABLE_TITLE.replace("{flags}", flags).replace("{secrets}", secrets)
    variables = {value.name: value.variable for value in values}
    return "\n".join([title.rstrip(), *_rows(Config, "", variables)]) + "\n"


FILES: Final[Mapping[str, Callable[[], str]]] = {
    "conf/oxd-conf.json": sample_file,
    "docs/reference/configuration.md": reference_table,
}
"""What is made, by its path in the project."""


def _object(struct: type[Settings], indent: int) -> Iterator[str]:
    keys = [key for key in declared_keys(struct) if not key.key.legacy]
    yield "{"
    for key in keys:
        if key.key.heading:
            yield from ["", *_comment(key.key.heading, indent + 4), ""][1 if key is keys[0] else 0 :]
        yield from _comment(key.key.sentence, indent + 4)
        lines = list(_value(key, indent + 4))
        lines[0] = f'{" " * (indent + 4)}"{key.name}": {lines[0]}'
        yield from [*lines[:-1], lines[-1] + ("" if key is keys[-1] else ",")]
    yield f"{' ' * indent}}}"


def _value(key: Declared, indent: int) -> Iterator[str]:
    if isinstance(key.key.kind, Kind):
        yield default_text(key)
    else:
        yield from _object(key.key.kind, indent)


def _comment(text: str, indent: int) -> list[str]:
    prefix = f"{' ' * indent}// "
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


def default_text(key: Declared) -> str:
    """Return the default of a key as it stands in a file."""
    value: Any = key.default
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if key.key.kind is MODE:
        value = f"{value:04o}"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _rows(struct: type[Settings], prefix: str, variables: Mapping[str, str]) -> Iterator[str]:
    for key in declared_keys(struct):
        if key.key.heading:
            yield from ["", f"## {key.key.heading.rstrip('.')}", "", *_TABLE_HEAD]
        name = f"{prefix}{key.name}"
        if isinstance(key.key.kind, Kind):
            cells = f"{key.key.kind.expected} | `{default_text(key)}` | `{variables[name]}`"
            yield f"| `{name}` | {cells} | {_sentence(key)} |"
        else:
            yield f"| `{name}` | an object | | | {_sentence(key)} |"
            yield from _rows(key.key.kind, f"{name}.", variables)


def _sentence(key: Declared) -> str:
    return f"{key.key.sentence} {_RESTART}" if key.key.restart else key.key.sentence


def main() -> None:
    """Write the files."""
    for name, make in FILES.items():
        Path(name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
