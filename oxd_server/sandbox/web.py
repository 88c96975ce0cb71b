"""HTTP helpers of the sandbox: parameters in, JSON, pages and redirects out."""

import hmac
import ipaddress
import json
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.entrances.style import style_sheet

__all__ = [
    "SECURITY_HEADERS",
    "OAuthError",
    "PageError",
    "bearer_token",
    "cookie",
    "dpop_token",
    "form",
    "html_response",
    "is_loopback_host",
    "is_loopback_uri",
    "json_body",
    "json_response",
    "oauth_error_response",
    "query",
    "redirect",
    "same_secret",
    "set_cookie",
    "style_response",
    "with_fragment",
    "with_query",
]

_FORM = "application/x-www-form-urlencoded"
_MAY_REPEAT = frozenset({"resource", "audience"})
_MAX_FIELDS = 100
SECURITY_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
# The forms end in a redirect to the application, and browsers apply form-action to that whole chain.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self' http: https:"
)
STYLE = style_sheet()


class OAuthError(Exception):
    """An error answer in the form of RFC 6749 5.2 (`headers` for a challenge)."""

    def __init__(self, error: str, description: str, status: int = 400, **headers: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.members: dict[str, Any] = {}  # what the answer holds beside error and error_description


class PageError(Exception):
    """Something a person must be told on a page, because there is nowhere to send the browser to."""

    def __init__(self, title: str, explanation: str, status: int = 400) -> None:
        super().__init__(title)
        self.title = title
        self.explanation = explanation
        self.status = status


def _parameters(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise OAuthError("invalid_request", "the parameters cannot be read") from error
    names = [name for name, _ in pairs if name not in _MAY_REPEAT]
    # RFC 6749 3.1: "Request and response parameters MUST NOT be included more than once." RFC 8707 and 8693 have two
    # that may be, of which the sandbox heeds the last.
    if len(names) != len(set(names)):
        raise OAuthError("invalid_request", "a parameter is included more than once")
    # RFC 6749 3.1: "Parameters sent without a value MUST be treated as if they were omitted".
    return {name: value for name, value in pairs if value}


def query(request: HttpRequest) -> dict[str, str]:
    """The parameters of the query; OAuthError if one is repeated."""
    return _parameters(request.query)


def form(request: HttpRequest) -> dict[str, str]:
    """The parameters of a form body; OAuthError if it is no form or one is repeated."""
    content_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if request.body and content_type != _FORM:
        raise OAuthError("invalid_request", f"the body must be {_FORM}")
    return _parameters(request.body.decode("utf-8", "replace"))


def json_body(request: HttpRequest) -> dict[str, Any]:
    """The JSON object of the body; OAuthError if it is none."""
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise OAuthError("invalid_client_metadata", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise OAuthError("invalid_client_metadata", "the body is not a JSON object")
    return value


def bearer_token(request: HttpRequest) -> str | None:
    """The token of `Authorization: Bearer ...` (RFC 6750 2.1), or None."""
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def dpop_token(request: HttpRequest) -> str | None:
    """The token of `Authorization: DPoP ...` (RFC 9449 7.1), or None."""
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "dpop" else None


def cookie(request: HttpRequest, name: str) -> str | None:
    """The value of a cookie, or None."""
    try:
        morsel = SimpleCookie(request.header("cookie") or "").get(name)
    except CookieError:
        return None
    return morsel.value if morsel else None


def set_cookie(name: str, value: str) -> tuple[str, str]:
    """A session cookie that scripts and other sites' forms do not get."""
    return "Set-Cookie", f"{name}={value}; Path=/; HttpOnly; SameSite=Lax"


def same_secret(given: str | None, expected: str | None) -> bool:
    """Whether two secrets are equal, in constant time; an absent one equals nothing."""
    if not given or not expected:
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def json_response(value: object, status: int = 200) -> HttpResponse:
    """A JSON answer that nobody caches (RFC 6749 5.1 asks for it where tokens are inside)."""
    headers = [("Content-Type", "application/json"), ("Pragma", "no-cache"), *SECURITY_HEADERS]
    return HttpResponse(status, headers, json.dumps(value).encode())


def oauth_error_response(error: OAuthError) -> HttpResponse:
    """The JSON form of an OAuth error."""
    body = {"error": error.error, "error_description": error.description, **error.members}
    answer = json_response(body, error.status)
    return HttpResponse(error.status, [*answer.headers, *error.headers], answer.body)


def html_response(page: str, status: int = 200, *extra: tuple[str, str]) -> HttpResponse:
    """A page, under a policy that allows our stylesheet and nothing else."""
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", _PAGE_POLICY),
        ("X-Frame-Options", "DENY"),
        *SECURITY_HEADERS,
        *extra,
    ]
    return HttpResponse(status, headers, page.encode())


def style_response() -> HttpResponse:
    """The stylesheet."""
    headers = [("Content-Type", "text/css; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
    return HttpResponse(200, headers, STYLE)


def redirect(location: str, *extra: tuple[str, str]) -> HttpResponse:
    """Send the browser to `location` with a GET, whatever it came with."""
    return HttpResponse(303, [("Location", location), *SECURITY_HEADERS, *extra])


def with_query(uri: str, parameters: Mapping[str, str | None]) -> str:
    """`uri` with parameters added to its query, an existing query kept; None values are left out."""
    parts = urlsplit(uri)
    added = urlencode({name: value for name, value in parameters.items() if value is not None})
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, added]))))


def with_fragment(uri: str, parameters: Mapping[str, str | None]) -> str:
    """`uri` with parameters as its fragment; None values are left out."""
    return uri + "#" + urlencode({name: value for name, value in parameters.items() if value is not None})


def is_loopback_uri(uri: str) -> bool:
    """Whether `uri` names this machine: localhost or a loopback address, http or https."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and is_loopback_host(host)


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address is loopback, without asking any resolver."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
