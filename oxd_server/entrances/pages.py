"""The HTTPS front's page for people: what this is, and a reference of every command. Pure; no script in it."""

import json
from importlib.resources import files
from typing import Final

from oxd_protocol.errors import ERROR_CODES
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.dialects.flat import flat_routes
from oxd_server.entrances.reference import GROUPS, example_params, http_path, parameters

__all__ = ["POLICY", "front_page", "style_sheet"]

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy."""


def front_page(version: str, port: int) -> str:
    """Return the page as HTML; ``port`` is the one that the examples name."""
    # Only a server with an HTTPS front needs it, and every start would pay for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("oxd_server.entrances"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("front.html").render(
        version=version,
        port=port,
        groups=GROUPS,
        codes=ERROR_CODES,
        curl=_curl,
        parameters=parameters,
        in_dialect_4={route.command.name: f"{route.method} {path}" for path, route in flat_routes().items()},
    )


def style_sheet() -> bytes:
    """Return the page's style sheet (it is read from the package: call it once, at the start)."""
    return files("oxd_server.entrances").joinpath("static/front.css").read_bytes()


def _curl(command: AnyCommand) -> str:
    body = json.dumps(example_params(command))
    header = '-H "Authorization: Bearer $TOKEN" ' if command.protected else ""
    return f"curl \"$OXD{http_path(command)}\" {header}-d '{body}'"
