"""Our requests as authlib's, and authlib's answers as ours."""

from typing import Any
from urllib.parse import quote

from authlib.oauth2.rfc6749 import JsonRequest, OAuth2Request
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.web import SECURITY_HEADERS, json_body, json_response, redirect

__all__ = ["FormRequest", "MetadataRequest", "http_response", "with_issuer"]


class FormRequest(OAuth2Request):
    """A request whose parameters were read before, strictly: none is repeated, none is empty.

    Attributes:
        client_keys: the key set that was fetched from the client's `jwks_uri`; authlib itself waits for nothing.
        auth_time: when the user logged in, in seconds since the epoch.
        sid: the session that the user logged in with, as applications know it.
    """

    def __init__(
        self, state: ProviderState, request: HttpRequest, params: dict[str, str], client_keys: Any = None
    ) -> None:
        super().__init__(request.method, state.issuer + request.path, headers=_headers(request))
        self.payload = BasicOAuth2Payload(params)
        self.client_keys = client_keys
        self.auth_time = 0
        self.sid: str | None = None

    @property
    def form(self) -> dict[str, str]:
        return dict(self.payload.data)


class MetadataRequest(JsonRequest):
    """A request whose body is a client's metadata."""

    def __init__(self, state: ProviderState, request: HttpRequest) -> None:
        super().__init__(request.method, state.issuer + request.path, headers=_headers(request))
        self.http = request
        self.payload = _Metadata(request)


class _Metadata:
    """The payload, read when it is asked for: whether the client may send it is decided before."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def data(self) -> dict[str, Any]:
        return json_body(self._request)


def _headers(request: HttpRequest) -> dict[str, str]:
    authorization = request.header("authorization")
    return {} if authorization is None else {"Authorization": authorization}


def http_response(status: int, body: Any, headers: list[tuple[str, str]]) -> HttpResponse:
    """Our answer for authlib's triple."""
    more = {name: value for name, value in headers if name in ("Location", "WWW-Authenticate")}
    if (location := more.get("Location")) is not None:
        return redirect(location)
    if status == 204:
        return HttpResponse(status, SECURITY_HEADERS)
    answer = json_response(body, status)
    return HttpResponse(status, [*answer.headers, *more.items()], answer.body)


def with_issuer(answer: HttpResponse, issuer: str | None) -> HttpResponse:
    """An authorization response that says whose it is, if there is an issuer to name.

    RFC 9207 section 2: the server "MUST indicate its identity" with `iss`. The location has parameters at its end, in
    the query or in the fragment: where they are, `iss` belongs. (authlib's own extension knows the query only.)
    """
    if issuer is None:
        return answer
    add = f"&iss={quote(issuer, safe='')}"
    headers = [(name, value + add if name == "Location" else value) for name, value in answer.headers]
    return HttpResponse(answer.status, headers, answer.body)
