"""The userinfo endpoint (OpenID Connect Core 5.3)."""

from typing import Any

from authlib.oidc.core import UserInfo

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.dpop import DPOP_ALGS, proven_key
from oxd_server.sandbox.provider.faults import with_broken_signature
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.provider.users import User
from oxd_server.sandbox.web import SECURITY_HEADERS, OAuthError, bearer_token, dpop_token, form, json_response

__all__ = ["claims_for", "userinfo"]


async def userinfo(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET or POST /userinfo: the claims that the access token's scopes allow, as JSON or as a signed JWT."""
    text = bearer_token(request) or dpop_token(request)
    if text is None and request.method == "POST":
        text = form(request).get("access_token")
    token = state.live_access_token(text)
    if token is None or token.grant.user is None:
        # RFC 6750 3: the answer MUST include WWW-Authenticate; without any token it names no error.
        detail = ', error="invalid_token"' if text else ""
        challenge = f'Bearer realm="sandbox"{detail}'
        raise OAuthError("invalid_token", "the access token is not active", 401, WWW_Authenticate=challenge)
    if token.thumbprint is not None and token.thumbprint != proven_key(state, request, text):
        # RFC 9449 7.1: "the public key to which the access token is bound matches the public key from the DPoP proof".
        challenge = f'DPoP error="invalid_token", algs="{" ".join(DPOP_ALGS)}"'
        raise OAuthError("invalid_token", "the token is bound to another key", 401, WWW_Authenticate=challenge)
    if "openid" not in token.scope.split():
        challenge = 'Bearer realm="sandbox", error="insufficient_scope", scope="openid"'
        raise OAuthError("insufficient_scope", "the scope openid is missing", 403, WWW_Authenticate=challenge)
    claims = claims_for(token.grant.user, token.scope)
    if "userinfo_bad_sub" in state.faults:
        claims["sub"] = "somebody-else"
    return _answer(state, token.grant.client_id, claims)


def claims_for(user: User, scope: str) -> dict[str, Any]:
    """`sub` and the claims of the given scopes that the user has."""
    # OpenID Connect Core 5.4 says which claims each scope asks for, and authlib has the table.
    return {"sub": user.sub, **UserInfo(user.claims).filter(scope)}


def _answer(state: ProviderState, client_id: str, claims: dict[str, Any]) -> HttpResponse:
    client = state.clients.get(client_id)
    alg = client.metadata.get("userinfo_signed_response_alg") if client else None
    if client is None or alg is None or "userinfo_not_signed" in state.faults:
        return json_response(claims)
    # Core 5.3.2: a signed answer "MUST" contain iss and aud, and its type is application/jwt.
    signed = state.keys.sign({**claims, "iss": state.issuer, "aud": client_id}, alg, client.secret)
    if "userinfo_bad_signature" in state.faults:
        signed = with_broken_signature(signed)
    return HttpResponse(200, [("Content-Type", "application/jwt"), *SECURITY_HEADERS], signed.encode())
