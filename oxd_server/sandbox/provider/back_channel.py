"""The endpoints that clients call themselves: token, introspection, revocation, registration.

What has to be waited for is waited for here; then authlib answers at once.
"""

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.adapter import FormRequest, MetadataRequest
from oxd_server.sandbox.provider.authorization_server import Server
from oxd_server.sandbox.provider.client_authentication import fetch_client_keys
from oxd_server.sandbox.provider.dpop import as_dpop_answer, proven_key
from oxd_server.sandbox.provider.faults import misbehave, token_answer
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.uma.model import UMA_TICKET
from oxd_server.sandbox.web import OAuthError, form

__all__ = ["device_authorization", "introspect", "manage", "register", "revoke", "token"]


async def token(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /token: authenticate the client and serve its grant type (RFC 6749 3.2)."""
    params = form(request)
    if "grant_type" not in params:
        raise OAuthError("invalid_request", "grant_type is missing")
    if params["grant_type"] == UMA_TICKET:
        await misbehave(state)
    thumbprint = _bound_key(state, request, params)
    answer: HttpResponse = Server(state).create_token_response(await _with_keys(state, request, params))
    answer = token_answer(state, answer)
    return answer if thumbprint is None else as_dpop_answer(state, answer, thumbprint)


def _bound_key(state: ProviderState, request: HttpRequest, params: dict[str, str]) -> str | None:
    """The key that the tokens are to be bound to (RFC 9449 section 5)."""
    thumbprint = proven_key(state, request)
    refreshed = state.refresh_tokens.get(params.get("refresh_token"))
    if refreshed is not None and refreshed.grant.thumbprint not in (None, thumbprint):
        raise OAuthError("invalid_grant", "the refresh token is bound to another key")
    if thumbprint is None and _requires_proof(state, params):
        raise OAuthError("invalid_request", "the client's tokens are bound to a key: a proof is needed")
    return thumbprint


def _requires_proof(state: ProviderState, params: dict[str, str]) -> bool:
    code = state.codes.get(params.get("code"))
    client = state.clients.get(params.get("client_id") or (code.grant.client_id if code else None))
    return client is not None and client.metadata.get("dpop_bound_access_tokens") is True


async def introspect(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /introspect: what a token is good for (RFC 7662)."""
    await misbehave(state)
    return await _endpoint(state, request, "introspection")


async def device_authorization(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /device_authorization: start a login on another device (RFC 8628 3.1)."""
    return await _endpoint(state, request, "device_authorization")


async def revoke(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /revoke: end a token (RFC 7009)."""
    return await _endpoint(state, request, "revocation")


async def register(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /register: a new client (RFC 7591 3.1)."""
    return _registration(state, request, "client_registration")


async def manage(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET, PUT or DELETE /register?client_id=...: the client reads, changes or removes itself (RFC 7592)."""
    return _registration(state, request, "client_configuration")


async def _endpoint(state: ProviderState, request: HttpRequest, name: str) -> HttpResponse:
    adapted = await _with_keys(state, request, form(request))
    answer: HttpResponse = Server(state).create_endpoint_response(name, adapted)
    return answer


async def _with_keys(state: ProviderState, request: HttpRequest, params: dict[str, str]) -> FormRequest:
    return FormRequest(state, request, params, await fetch_client_keys(state, params))


def _registration(state: ProviderState, request: HttpRequest, name: str) -> HttpResponse:
    answer: HttpResponse = Server(state).create_endpoint_response(name, MetadataRequest(state, request))
    return answer
