"""Claims that a client pushes with its token request (UMA 2.0 Grant, section 3.3.1).

Two formats. An id_token of this provider says who the requesting party is; the provider looks up the rest. A JWT
that the client signed with its secret, or a base64url-encoded JSON object, says what the client vouches for.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from oxd_server.sandbox.provider.keys import claims_by_secret
from oxd_server.sandbox.provider.model import Client, ProviderState
from oxd_server.sandbox.uma.model import Claims
from oxd_server.sandbox.web import OAuthError

__all__ = ["CLAIM_TOKEN_FORMATS", "pushed_claims"]

ID_TOKEN_FORMAT = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"
JWT_FORMAT = "urn:ietf:params:oauth:token-type:jwt"
CLAIM_TOKEN_FORMATS = (ID_TOKEN_FORMAT, JWT_FORMAT)
_MAX_CLAIM = 200


def pushed_claims(state: ProviderState, client: Client, params: Mapping[str, str]) -> Claims:
    """The claims of the request's claim_token; none without one. OAuthError if it cannot be believed."""
    token = params.get("claim_token")
    if token is None:
        return {}
    match params.get("claim_token_format"):
        case str(name) if name == ID_TOKEN_FORMAT:
            return _claims_of_user(state, client, token)
        case str(name) if name == JWT_FORMAT:
            return _texts(_vouched_claims(client, token))
    raise OAuthError("invalid_request", f"claim_token_format must be one of {', '.join(CLAIM_TOKEN_FORMATS)}")


def _claims_of_user(state: ProviderState, client: Client, token: str) -> Claims:
    id_token = state.keys.claims_of_our_token(token) or claims_by_secret(token, client.secret)
    # OpenID Connect Core 3.1.3.7: issuer, audience and expiry MUST be checked.
    if id_token is None or id_token.get("iss") != state.issuer or id_token.get("aud") != client.client_id:
        raise OAuthError("invalid_request", "the claim_token is no id_token that this provider issued to this client")
    if not state.now() < id_token.get("exp", 0):
        raise OAuthError("invalid_request", "the claim_token has expired")
    user = next((user for user in state.users.values() if user.sub == id_token.get("sub")), None)
    if user is None:
        raise OAuthError("invalid_request", "the user of the claim_token is unknown")
    address = user.claims.get("address", {})
    return _texts({**user.claims, "country": address.get("country"), "city": address.get("locality")})


def _vouched_claims(client: Client, token: str) -> Mapping[str, Any]:
    claims = claims_by_secret(token, client.secret) if token.count(".") == 2 else _encoded_object(token)
    if claims is None:
        raise OAuthError("invalid_request", "the claim_token is neither a JWT under the client's secret nor JSON")
    return claims


def _encoded_object(token: str) -> Mapping[str, Any] | None:
    """A JSON object in base64url, with or without padding."""
    try:
        value = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _texts(claims: Mapping[str, Any]) -> Claims:
    """The claims that are short texts; of a list, its first item."""
    firsts = {name: value[0] if isinstance(value, list) and value else value for name, value in claims.items()}
    return {name: value for name, value in firsts.items() if isinstance(value, str) and 0 < len(value) <= _MAX_CLAIM}
