"""Authorization requests that clients push before the browser comes: RFC 9126, with RFC 9101 by authlib."""

from typing import Any, Final

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc9101 import JWTAuthenticationRequest
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.adapter import FormRequest
from oxd_server.sandbox.provider.authorization_server import Server
from oxd_server.sandbox.provider.client_authentication import KEY_ALGS, fetch_client_keys
from oxd_server.sandbox.provider.model import Client, ProviderState
from oxd_server.sandbox.web import OAuthError, PageError, form, json_response

__all__ = ["push", "request_of"]

_URN: Final = "urn:ietf:params:oauth:request_uri:"
_SECONDS: Final = 60
_NOT_KEPT: Final = ("client_secret", "client_assertion", "client_assertion_type")


async def push(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /par: authenticate the client, check the request as if the browser had brought it, and keep it."""
    params = form(request)
    adapted = FormRequest(state, request, params, await fetch_client_keys(state, params))
    server = Server(state)
    try:
        client = server.authenticate_client(adapted, "pushed_authorization_request")
        if "request_uri" in params:  # RFC 9126 section 2.1: it "MUST NOT be provided in this case"
            raise OAuthError("invalid_request", "a request_uri cannot be pushed")
        params = _opened(state, client, adapted)
        server.get_consent_grant(FormRequest(state, request, params), None)
    except OAuth2Error as error:
        status = 401 if error.error == "invalid_client" else 400
        raise OAuthError(error.error, error.get_error_description() or "it is not valid", status) from error
    uri = _URN + state.new_token()
    state.pushed_requests.put(uri, params, _SECONDS)
    return json_response({"request_uri": uri, "expires_in": _SECONDS}, 201)


def _opened(state: ProviderState, client: Client, adapted: FormRequest) -> dict[str, str]:
    """The parameters of the request: those of its request object, if it has one."""
    _RequestObjects(state).parse_authorization_request(_Clients(client), adapted)
    given = dict(adapted.payload.data)
    claims = ("iss", "aud", "exp", "nbf", "iat", "jti")
    return {name: str(value) for name, value in given.items() if name not in (*_NOT_KEPT, *claims)}


class _Clients:
    """What authlib asks for the client of a request, which has been authenticated already."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def query_client(self, client_id: str) -> Client | None:
        return self._client if client_id == self._client.client_id else None


class _RequestObjects(JWTAuthenticationRequest):
    """Request objects that are signed with a key of the client's."""

    def __init__(self, state: ProviderState) -> None:
        super().__init__(support_request_uri=False)
        self._state = state

    def resolve_client_public_key(self, client: Client) -> KeySet:
        try:
            return KeySet.import_key_set(client.metadata.get("jwks", {}))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OAuthError("invalid_request_object", "the client has no keys that can be read") from error

    def get_server_metadata(self) -> dict[str, Any]:
        return {
            "require_signed_request_object": self._state.requires_signed_requests,
            "request_object_signing_alg_values_supported": [alg for alg in KEY_ALGS if alg != "EdDSA"],
        }

    def get_client_require_signed_request_object(self, client: Client) -> bool:
        return bool(client.metadata.get("require_signed_request_object"))


def request_of(state: ProviderState, params: dict[str, str]) -> dict[str, str]:
    """The parameters that the browser brings, or those that it names by their request_uri.

    Raises `PageError` where the request had to be pushed and was not, or is gone: RFC 9126 section 4 and 5.
    """
    client = state.clients.get(params.get("client_id"))
    uri = params.get("request_uri", "")
    if uri.startswith(_URN):
        pushed: dict[str, str] | None = state.pushed_requests.pop(uri)  # each is good once
        if pushed is None or pushed.get("client_id") != params.get("client_id"):
            raise PageError("Unknown request", "The request_uri has expired, was used, or is another client's.")
        return pushed
    required = client is not None and client.metadata.get("require_pushed_authorization_requests")
    if state.requires_pushed_requests or required:
        raise PageError("The request was not pushed", "This provider, or the client, requires that (RFC 9126).")
    return params
