"""The provider's documents and its one route table."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from authlib.oidc.core import UserInfo

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.pages import error_page, page
from oxd_server.sandbox.provider import authorization, back_channel, device, faults, logout
from oxd_server.sandbox.provider.client_authentication import AUTH_METHODS, HMAC_ALGS, KEY_ALGS
from oxd_server.sandbox.provider.client_metadata import SUPPORTED
from oxd_server.sandbox.provider.dpop import DPOP_ALGS
from oxd_server.sandbox.provider.model import SCOPES, ProviderState
from oxd_server.sandbox.provider.pushed_requests import push
from oxd_server.sandbox.provider.signed_response import SIGNED_MODES
from oxd_server.sandbox.provider.userinfo import userinfo
from oxd_server.sandbox.uma import gathering, protection_api
from oxd_server.sandbox.uma.policies import DEFAULT, POLICIES
from oxd_server.sandbox.web import (
    OAuthError,
    PageError,
    json_response,
    oauth_error_response,
    style_response,
)

__all__ = ["handle", "metadata"]

Route = Callable[[ProviderState, HttpRequest], Awaitable[HttpResponse]]


def metadata(state: ProviderState) -> dict[str, Any]:
    """The discovery document (OpenID Connect Discovery 3, RFC 8414 2)."""
    issuer = state.issuer
    auth: dict[str, Any] = {}
    for endpoint in ("introspection", "revocation"):
        auth[f"{endpoint}_endpoint_auth_methods_supported"] = list(AUTH_METHODS)
        auth[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = [*HMAC_ALGS, *KEY_ALGS]
    return {
        "issuer": issuer + "/other" if "discovery_bad_issuer" in state.faults else issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "jwks_uri": f"{issuer}/jwks",
        "registration_endpoint": f"{issuer}/register",
        "introspection_endpoint": f"{issuer}/introspect",
        "revocation_endpoint": f"{issuer}/revoke",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "end_session_endpoint": f"{issuer}/end_session",
        "scopes_supported": list(SCOPES),
        **SUPPORTED,
        "response_modes_supported": ["query", "fragment", *SIGNED_MODES],
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        "require_pushed_authorization_requests": state.requires_pushed_requests,
        "request_object_signing_alg_values_supported": list(KEY_ALGS),
        "require_signed_request_object": state.requires_signed_requests,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": [*UserInfo.REGISTERED_CLAIMS, "iss", "aud", "exp", "iat", "auth_time", "nonce"],
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
        "dpop_signing_alg_values_supported": list(DPOP_ALGS),
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
        **auth,
    }


async def _discovery(state: ProviderState, request: HttpRequest) -> HttpResponse:
    del request
    return json_response(metadata(state))


async def _jwks(state: ProviderState, request: HttpRequest) -> HttpResponse:
    del request
    return json_response(faults.public_jwks(state))


async def _style(state: ProviderState, request: HttpRequest) -> HttpResponse:
    del state, request
    return style_response()


async def _home(state: ProviderState, request: HttpRequest) -> HttpResponse:
    found = authorization.current_session(state, request)
    both = {**metadata(state), **protection_api.metadata(state)}
    endpoints = {name: url for name, url in both.items() if name.endswith(("_endpoint", "_uri"))}
    user = found[1].user if found else None
    return page(
        "provider/home.html",
        issuer=state.issuer,
        users=state.users.values(),
        endpoints=endpoints,
        user=user,
        policies={scope: policy.__doc__ for scope, policy in POLICIES.items()},
        default_policy=DEFAULT.__doc__,
    )


ROUTES: dict[str, dict[str, Route]] = {
    "/": {"GET": _home},
    "/style.css": {"GET": _style},
    "/.well-known/openid-configuration": {"GET": _discovery},
    "/.well-known/oauth-authorization-server": {"GET": _discovery},
    "/jwks": {"GET": _jwks},
    "/register": {
        "POST": back_channel.register,
        "GET": back_channel.manage,
        "PUT": back_channel.manage,
        "DELETE": back_channel.manage,
    },
    "/authorize": {"GET": authorization.authorize, "POST": authorization.authorize},
    "/interaction": {"GET": authorization.interact},
    "/login": {"POST": authorization.login},
    "/consent": {"POST": authorization.consent},
    "/end_session": {"GET": logout.end_session, "POST": logout.end_session},
    "/par": {"POST": push},
    "/token": {"POST": back_channel.token},
    "/userinfo": {"GET": userinfo, "POST": userinfo},
    "/introspect": {"POST": back_channel.introspect},
    "/revoke": {"POST": back_channel.revoke},
    "/device_authorization": {"POST": back_channel.device_authorization},
    "/device": {"GET": device.device, "POST": device.device},
    "/.well-known/uma2-configuration": {"GET": protection_api.discovery},
    "/uma/resources": {"POST": protection_api.create, "GET": protection_api.list_all},
    "/uma/resources/": {
        "GET": protection_api.read,
        "PUT": protection_api.update,
        "DELETE": protection_api.delete,
    },  # and an id after it
    "/uma/permissions": {"POST": protection_api.permission},
    "/uma/gather": {"GET": gathering.gather},
    "/uma/claims": {"GET": gathering.ask, "POST": gathering.take},
}
_FOR_PEOPLE = {
    "/", "/device", "/authorize", "/interaction", "/login", "/consent", "/end_session", "/uma/gather", "/uma/claims",
}  # fmt: skip


async def handle(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """Answer one request: the route's answer, or its error as a page or as JSON."""
    of_a_resource = request.path.startswith(f"{protection_api.RESOURCES_PATH}/")
    methods = ROUTES.get(f"{protection_api.RESOURCES_PATH}/" if of_a_resource else request.path)
    if methods is None:
        return error_page("No such page", f"There is nothing at {request.path}.", 404)
    route = methods.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        return _method_not_allowed(methods)
    try:
        return await route(state, request)
    except PageError as error:
        return error_page(error.title, error.explanation, error.status)
    except OAuthError as error:
        if request.path in _FOR_PEOPLE:
            return authorization.oauth_error_page(error)
        return oauth_error_response(error)


def _method_not_allowed(methods: Mapping[str, Route]) -> HttpResponse:
    answer = json_response({"error": "method_not_allowed", "error_description": "see the Allow header"}, 405)
    return HttpResponse(405, [*answer.headers, ("Allow", ", ".join(methods))], answer.body)
