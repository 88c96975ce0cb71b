"""What the provider says of itself and of its users, judged by authlib's own checks for relying parties."""

from __future__ import annotations

import pytest
from authlib.oauth2 import rfc9207
from authlib.oidc.core import CodeIDToken, HybridIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata

from tests.unit.sandbox.conftest import CHALLENGE, VERIFIER, Op


async def test_the_metadata(op: Op) -> None:
    """The discovery document is valid but for its issuer, which on loopback is no https address."""
    document = (await op.http.get("/.well-known/openid-configuration")).json()
    secure = {
        name: value.replace("http://", "https://") if isinstance(value, str) else value
        for name, value in document.items()
    }
    OpenIDProviderMetadata(secure).validate([rfc9207.AuthorizationServerMetadata])


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_the_id_token_of_the_code_flow(op: Op, alg: str) -> None:
    """Issuer, audience, times, nonce and the hash of the access token are as authlib wants them."""
    client = await op.register(id_token_signed_response_alg=alg)
    code = await op.code(client, code_challenge=CHALLENGE, code_challenge_method="S256")
    tokens = (await op.redeem(client, code, code_verifier=VERIFIER)).json()
    claims = op.keys.claims_of_our_token(tokens["id_token"])
    assert claims is not None
    expected = {
        "iss": {"essential": True, "value": op.issuer},
        "aud": {"essential": True, "value": client["client_id"]},
        "at_hash": {"essential": True},
        "auth_time": {"essential": True},
    }
    params = {"client_id": client["client_id"], "nonce": "the nonce", "access_token": tokens["access_token"]}
    CodeIDToken(claims, {"alg": alg}, expected, params).validate(now=int(op.time), leeway=0)


async def test_the_id_token_of_the_front_channel(op: Op) -> None:
    """The hybrid flow's first id_token has the hashes of the code and of the access token beside it."""
    client = await op.register(response_types=["code id_token token"])
    answer = op.parameters(await op.log_in(client, response_type="code id_token token"))
    claims = op.keys.claims_of_our_token(answer["id_token"])
    assert claims is not None
    params = {
        "client_id": client["client_id"],
        "nonce": "the nonce",
        "access_token": answer["access_token"],
        "code": answer["code"],
    }
    HybridIDToken(claims, {"alg": "RS256"}, None, params).validate(now=int(op.time), leeway=0)
    assert {"at_hash", "c_hash"} <= claims.keys()
