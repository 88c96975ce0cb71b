"""Access tokens and RPTs: texts that mean something to this provider alone, or JWTs (RFC 9068) by a switch."""

from typing import Any

from oxd_server.sandbox.provider.model import ACCESS_TOKEN_SECONDS, ProviderState
from oxd_server.sandbox.provider.users import User
from oxd_server.sandbox.uma.model import Permission

__all__ = ["new_access_token"]


def new_access_token(
    state: ProviderState,
    client_id: str,
    user: User | None,
    scope: str,
    permissions: tuple[Permission, ...] | None = None,
) -> str:
    """A new access token; with `permissions`, an RPT."""
    if not state.jwt_tokens:
        return state.new_token()
    now = state.seconds()
    # RFC 9068 2.2: these claims are REQUIRED; scope is, where the request had one (section 2.2.3).
    claims: dict[str, Any] = {
        "iss": state.issuer,
        "exp": now + ACCESS_TOKEN_SECONDS,
        "aud": client_id,
        "sub": user.sub if user else client_id,
        "client_id": client_id,
        "iat": now,
        "jti": state.new_token(),
        "scope": scope,
    }
    if permissions is not None:
        claims["permissions"] = [
            {"resource_id": p.resource_id, "resource_scopes": list(p.scopes), "exp": p.expires_at} for p in permissions
        ]
    return state.keys.sign(claims, "RS256", typ="at+jwt")
