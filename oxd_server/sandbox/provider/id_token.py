"""The id_tokens that the provider signs (OpenID Connect Core 2)."""

from typing import Any

from authlib.oidc.core.util import create_half_hash

from oxd_server.sandbox.provider import faults
from oxd_server.sandbox.provider.model import Client, Grant, ProviderState

__all__ = ["issue_id_token"]

ID_TOKEN_SECONDS = 3600


def issue_id_token(
    state: ProviderState,
    client: Client,
    grant: Grant,
    *,
    nonce: str | None,
    access_token: str | None = None,
    code: str | None = None,
) -> str:
    """A signed id_token for the grant's user, with `at_hash` and `c_hash` of what is issued beside it."""
    if grant.user is None:
        raise ValueError("a client's own grant has no id_token")
    alg = client.id_token_alg
    now = state.seconds()
    claims: dict[str, Any] = {
        "iss": state.issuer,
        "sub": grant.user.sub,
        "aud": client.client_id,
        "exp": now + ID_TOKEN_SECONDS,
        "iat": now,
        "auth_time": grant.auth_time,
        "amr": ["pwd"],
        "jti": state.new_token(),
    }
    if grant.sid is not None:
        claims["sid"] = grant.sid
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["at_hash"] = create_half_hash(access_token, alg).decode()
    if code is not None:
        claims["c_hash"] = create_half_hash(code, alg).decode()
    return faults.sign_id_token(state, claims, alg, client.secret)
