"""Makes the manual pages and the completions for shells from what the server declares of itself.

``python -m scripts.packaging.manual FOLDER`` writes oxd-server.1, oxd-conf.json.5 and oxd-server.{bash,zsh,fish}.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import shtab
from argparse_manpage.manpage import Manpage

from oxd_protocol.catalog import COMMANDS
from oxd_server import __version__
from oxd_server.cli.command_line import make_parser
from oxd_server.config.declaring import Settings, declared_keys
from oxd_server.config.keys import Config
from oxd_server.config.kinds import Kind
from oxd_server.config.reference import default_text

__all__ = ["SHELLS", "completion", "page_of_commands", "page_of_configuration", "write"]

SHELLS: Final = ("bash", "zsh", "fish")
_MANUAL: Final = "oxd server"
_FILES: Final = r"""/etc/oxd/oxd\-conf.json
The configuration of the Debian package's service, see oxd\-conf.json(5).
.TP
/etc/oxd/oxd\-default\-site\-config.json
What sites get that leave out a parameter.
.TP
/etc/oxd/credentials
Secrets that systemd hands to the service.
.TP
/var/lib/oxd
The sites."""
_TOP: Final = r"""The configuration of oxd\-server(1), in JSON.
Lines that hold nothing but a // comment are skipped.
Every key can be left out; null and "" mean the default.
Relative paths start at the file's folder.
A wrong value stops the start, and the message names it; an unknown key is a warning.
"https.port" is the key "port" in the object "https".
The environment variable OXD_HTTPS_PORT sets it too: the name in capitals, with _ for what is no letter or digit.
A file of that name in /etc/oxd/credentials holds a value that only root may read."""


def page_of_commands() -> str:
    """Return oxd-server.1."""
    data = {
        "project_name": "oxd-server",
        "version": __version__,
        "manual_title": _MANUAL,
        "description": "OpenID Connect and UMA 2.0 for the application beside it",
    }
    page = Manpage(make_parser(), data)
    return f"{page}.SH FILES\n.TP\n{_FILES}\n.SH SEE ALSO\n.BR oxd\\-conf.json (5)\n"


def page_of_configuration() -> str:
    """Return oxd-conf.json.5: every key with its default and its sentence."""
    head = [
        f'.TH OXD\\-CONF.JSON "5" "" "oxd\\-server {__version__}" "{_MANUAL}"',
        ".SH NAME",
        r"oxd\-conf.json \- the configuration of oxd\-server",
        ".SH DESCRIPTION",
        _TOP,
    ]
    return "\n".join([*head, *_keys(Config, ""), ".SH SEE ALSO", r".BR oxd\-server (1)"]) + "\n"


def _keys(struct: type[Settings], prefix: str) -> Iterator[str]:
    for key in declared_keys(struct):
        if key.key.heading:
            yield f".SH {_roff(key.key.heading.rstrip('.').upper())}"
        yield ".TP"
        name = _roff(f"{prefix}{key.name}")
        if isinstance(key.key.kind, Kind):
            yield rf"\fB{name}\fR ({_roff(key.key.kind.expected)}; {_roff(default_text(key))})"
            yield _roff(key.key.sentence)
        else:
            yield from [rf"\fB{name}\fR (an object)", _roff(key.key.sentence)]
            yield from _keys(key.key.kind, f"{prefix}{key.name}.")


def _roff(text: str) -> str:
    """Escape a text for roff; a line that begins with a dot or an apostrophe would be a request."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def completion(shell: str) -> str:
    """Return the completion of the command line for a shell."""
    parser = make_parser()
    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined] # how shtab is told
        if action.dest == "command":
            action.choices = sorted(command.name for command in COMMANDS)
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # argparse has no public way to its actions
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)


def write(folder: Path) -> None:
    """Write the pages and the completions."""
    (folder / "oxd-server.1").write_text(page_of_commands(), "utf-8")
    (folder / "oxd-conf.json.5").write_text(page_of_configuration(), "utf-8")
    for shell in SHELLS:
        (folder / f"oxd-server.{shell}").write_text(completion(shell), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
