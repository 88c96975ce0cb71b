"""The pages: Jinja2 templates. Every value is escaped on its way in; a name that was not given is an error."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from oxd_server.entrances.http1_messages import HttpResponse
from oxd_server.sandbox.web import html_response

__all__ = ["error_page", "page"]

_TEMPLATES = Environment(
    loader=PackageLoader("oxd_server.sandbox"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, status: int = 200, /, **values: Any) -> HttpResponse:
    """The page that a template makes of these values."""
    return html_response(_TEMPLATES.get_template(template).render(values), status)


def error_page(title: str, explanation: str, status: int) -> HttpResponse:
    """Tell a person what went wrong, where no redirect is possible."""
    return page("provider/error.html", status, title=title, explanation=explanation)
