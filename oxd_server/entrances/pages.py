"""The HTTPS front's page for people: what this is, and a reference of every command. Pure; no script in it."""

import json
import re
from typing import Any, Final
from urllib.parse import parse_qs

from oxd_protocol.discreet import Discreet
from oxd_protocol.errors import ERROR_CODES
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.dialects.flat import flat_routes
from oxd_server.entrances.reference import GROUPS, example_params, http_path, matches, parameters, search_text

__all__ = ["POLICY", "FrontPage"]

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy."""

_LONGEST_QUERY: Final = 60
_OPENED: Final = 3
"""So few commands that were found are shown in full."""
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""RFC 9110, section 7.2: a host and perhaps a port; nothing that means something to a shell."""


class _Shown(Discreet, frozen=True):
    """A command as the page shows it; ``details`` is HTML that is made once."""

    shows = ("name", "summary", "words")

    name: str
    summary: str
    words: str
    details: Any


class FrontPage:
    """The page: what does not depend on the request is made once."""

    def __init__(self, version: str, port: int) -> None:
        """Prepare the page of a front on this port."""
        # Only a server with an HTTPS front needs it, and every start would pay for it.
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup

        templates = Environment(
            loader=PackageLoader("oxd_server.entrances"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = templates.get_template("front.html")
        self._version = version
        self._own_host = f"localhost:{port}"
        details = templates.get_template("command.html")
        in_dialect_4 = {route.command.name: f"{route.method} {path}" for path, route in flat_routes().items()}

        def shown(command: AnyCommand) -> _Shown:
            text = details.render(command=command, curl=_curl, parameters=parameters, in_dialect_4=in_dialect_4)
            return _Shown(command.name, command.summary, search_text(command), Markup(text))  # noqa: S704 - our template's

        self._groups = [(title, [shown(command) for command in commands]) for title, commands in GROUPS]

    def render(self, host: str | None = None, query: str = "") -> bytes:
        """Return the page as HTML.

        Args:
            host: the request's Host header, which the examples name if it is one.
            query: the request's query; of ``q=words``, commands with all of the words are shown.
        """
        words = parse_qs(query, errors="replace").get("q", [""])[0].strip()[:_LONGEST_QUERY]
        groups = [(title, [each for each in shown if matches(words, each.words)]) for title, shown in self._groups]
        found = sum(len(shown) for _, shown in groups)
        return self._template.render(
            version=self._version,
            host=host if host is not None and _HOST.fullmatch(host) else self._own_host,
            query=words,
            longest_query=_LONGEST_QUERY,
            found=found,
            opened=bool(words) and found <= _OPENED,
            groups=[(title, shown) for title, shown in groups if shown],
            codes=ERROR_CODES,
        ).encode()


def _curl(command: AnyCommand) -> str:
    body = json.dumps(example_params(command))
    header = '-H "Authorization: Bearer $TOKEN" ' if command.protected else ""
    return f"curl \"$OXD{http_path(command)}\" {header}-d '{body}'"
