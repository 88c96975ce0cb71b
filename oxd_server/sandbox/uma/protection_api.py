"""The protection API of the authorization server: resource registration and permission tickets.

Federated Authorization for UMA 2.0 (Kantara), sections 3 and 4; the discovery document of the UMA 2.0 Grant, section 2.
"""

import json
from typing import Any

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.rp.uma_rules import InvalidScopeExpression, ScopeExpression, parse_scope_expression
from oxd_server.sandbox.provider.client_authentication import AUTH_METHODS, HMAC_ALGS, KEY_ALGS
from oxd_server.sandbox.provider.faults import misbehave
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.uma.claims import CLAIM_TOKEN_FORMATS
from oxd_server.sandbox.uma.model import TICKET_SECONDS, UMA_TICKET, Resource, Ticket, Wish
from oxd_server.sandbox.web import OAuthError, bearer_token, json_response

__all__ = ["create", "delete", "discovery", "list_all", "metadata", "permission", "read", "update"]

RESOURCES_PATH = "/uma/resources"
_MAX_ITEMS = 100
_MAX_TEXT = 2000


def metadata(state: ProviderState) -> dict[str, Any]:
    """The discovery document (UMA 2.0 Grant 2, Federated Authorization 2)."""
    issuer = state.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "registration_endpoint": f"{issuer}/register",
        "introspection_endpoint": f"{issuer}/introspect",
        "resource_registration_endpoint": issuer + RESOURCES_PATH,
        "permission_endpoint": f"{issuer}/uma/permissions",
        "claims_interaction_endpoint": f"{issuer}/uma/gather",
        "grant_types_supported": [UMA_TICKET, "client_credentials"],
        "response_types_supported": ["code"],
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "token_endpoint_auth_signing_alg_values_supported": [*HMAC_ALGS, *KEY_ALGS],
        "claim_token_formats_supported": list(CLAIM_TOKEN_FORMATS),
        "uma_profiles_supported": [],
    }


async def discovery(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET /.well-known/uma2-configuration."""
    del request
    return json_response(metadata(state))


# --- resources -------------------------------------------------------------------------------


async def create(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /uma/resources: register a resource (Federated Authorization 3.2.1)."""
    owner = await _resource_server(state, request)
    description = _json(request)
    resource = _resource(state.new_token(), owner, description)
    state.uma_resources.put(resource.resource_id, resource)
    answer = json_response({"_id": resource.resource_id}, 201)
    location = f"{state.issuer}{RESOURCES_PATH}/{resource.resource_id}"
    return HttpResponse(201, [*answer.headers, ("Location", location)], answer.body)


async def list_all(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET /uma/resources: the ids of the resource server's resources (3.2.5)."""
    owner = await _resource_server(state, request)
    return json_response([r.resource_id for r in state.uma_resources.values() if r.owner == owner])


async def read(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET /uma/resources/ID: a resource as it was registered (3.2.2)."""
    resource = await _own_resource(state, request)
    return json_response({"_id": resource.resource_id, **resource.description})


async def update(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """PUT /uma/resources/ID: replace the description (3.2.3)."""
    before = await _own_resource(state, request)
    resource = _resource(before.resource_id, before.owner, _json(request))
    state.uma_resources.put(resource.resource_id, resource)
    return json_response({"_id": resource.resource_id})


async def delete(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """DELETE /uma/resources/ID (3.2.4); the permissions for it are worth nothing from now on."""
    resource = await _own_resource(state, request)
    state.uma_resources.pop(resource.resource_id)
    return HttpResponse(204, [("Cache-Control", "no-store")])


def _resource(resource_id: str, owner: str, description: Any) -> Resource:
    """Check a resource description (3.1): `resource_scopes` is REQUIRED, the rest is kept as it came."""
    if not isinstance(description, dict):
        raise OAuthError("invalid_request", "a resource description is a JSON object")
    kept = {name: value for name, value in description.items() if name != "_id" and value is not None}
    expression = _expression(kept.get("scope_expression"))
    scopes = _texts(kept.get("resource_scopes", [] if expression else None), "resource_scopes")
    if expression is not None:
        scopes = tuple(dict.fromkeys((*scopes, *expression.data)))
    return Resource(resource_id, owner, scopes, kept, expression)


def _expression(value: Any) -> ScopeExpression | None:
    """The scope expression of a description: an extension that deployed servers know, JSON text or an object."""
    if value is None:
        return None
    try:
        return parse_scope_expression(value)
    except InvalidScopeExpression as error:
        raise OAuthError("invalid_request", f"scope_expression: {error}") from None


async def _own_resource(state: ProviderState, request: HttpRequest) -> Resource:
    owner = await _resource_server(state, request)
    resource = state.uma_resources.get(request.path.removeprefix(RESOURCES_PATH + "/"))
    # 3.2: an unknown resource gets 404 not_found; so does another resource server's, which tells nothing of it.
    if resource is None or resource.owner != owner:
        raise OAuthError("not_found", "this resource server has no such resource", 404)
    return resource


# --- permission tickets ----------------------------------------------------------------------


async def permission(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /uma/permissions: a ticket for one permission or for a list of them (4.1, 4.2)."""
    owner = await _resource_server(state, request)
    body = _json(request)
    items = body if isinstance(body, list) else [body]
    if not 0 < len(items) <= _MAX_ITEMS:
        raise OAuthError("invalid_request", f"1 to {_MAX_ITEMS} permissions")
    ticket = state.new_token()
    wishes = tuple(_wish(state, owner, item) for item in items)
    state.uma_tickets.put(ticket, Ticket(wishes), TICKET_SECONDS)
    return json_response({"ticket": ticket}, 201)


def _wish(state: ProviderState, owner: str, item: Any) -> Wish:
    if not isinstance(item, dict) or not isinstance(item.get("resource_id"), str):
        raise OAuthError("invalid_request", "a permission is an object with resource_id and resource_scopes")
    resource = state.uma_resources.get(item["resource_id"])
    # 4.3: invalid_resource_id, "at least one of the provided resource identifiers was not found".
    if resource is None or resource.owner != owner:
        raise OAuthError("invalid_resource_id", "this resource server has no such resource")
    scopes = _texts(item.get("resource_scopes"), "resource_scopes")
    # 4.3: invalid_scope for a scope that was not registered for the resource.
    if unknown := [scope for scope in scopes if scope not in resource.scopes]:
        raise OAuthError("invalid_scope", f"the resource was not registered with {', '.join(unknown)[:200]}")
    return Wish(resource.resource_id, scopes)


# --- what both need --------------------------------------------------------------------------


async def _resource_server(state: ProviderState, request: HttpRequest) -> str:
    """The client id behind the request's PAT: an access token with the scope uma_protection (1.3)."""
    await misbehave(state)
    token = state.live_access_token(bearer_token(request))
    if token is None or "uma_pat_lost" in state.faults:
        challenge = 'Bearer realm="sandbox", error="invalid_token"'
        raise OAuthError("invalid_token", "the PAT is missing or not active", 401, WWW_Authenticate=challenge)
    # 1.3: "A PAT is an OAuth access token with the scope uma_protection."
    if "uma_protection" not in token.scope.split():
        raise OAuthError("insufficient_scope", "the access token lacks uma_protection", 403)
    return token.grant.client_id


def _json(request: HttpRequest) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise OAuthError("invalid_request", "the body is not JSON") from error


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_ITEMS:
        raise OAuthError("invalid_request", f"{name} must be a list of at most {_MAX_ITEMS} texts")
    if not all(isinstance(item, str) and 0 < len(item) <= _MAX_TEXT for item in value):
        raise OAuthError("invalid_request", f"{name} must be a list of texts")
    return tuple(dict.fromkeys(value))
