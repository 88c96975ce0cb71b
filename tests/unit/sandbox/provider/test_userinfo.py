"""The userinfo endpoint, over HTTP."""

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from oxd_server.sandbox.provider.keys import Algorithms
from tests.unit.sandbox.conftest import Op


@pytest.mark.parametrize(
    ("scope", "present", "absent"),
    [
        ("openid", {"sub"}, {"name", "email", "address", "phone_number"}),
        ("openid profile", {"sub", "name", "birthdate"}, {"email", "address"}),
        ("openid email", {"sub", "email", "email_verified"}, {"name", "phone_number"}),
        ("openid address phone", {"sub", "address", "phone_number"}, {"name", "email"}),
    ],
)
async def test_claims_follow_the_scopes(op: Op, scope: str, present: set[str], absent: set[str]) -> None:
    """Each scope brings its standard claims and no others (Core 5.4), by GET and by POST."""
    tokens = await op.tokens(await op.register(), scope=scope)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    answers = [
        await op.http.get("/userinfo", headers=headers),
        await op.http.post("/userinfo", headers=headers),
        await op.http.post("/userinfo", data={"access_token": tokens["access_token"]}),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert present <= answer.json().keys()
        assert not absent & answer.json().keys()


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_signed_answer(op: Op, alg: str) -> None:
    """A client that registered for it gets a JWT with iss and aud."""
    client = await op.register(userinfo_signed_response_alg=alg)
    tokens = await op.tokens(client, "zoe")
    answer = await op.http.get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    keys = KeySet.import_key_set((await op.http.get("/jwks")).json())
    claims = jwt.decode(answer.text, keys, registry=Algorithms(algorithms=[alg])).claims
    assert answer.headers["content-type"] == "application/jwt"
    assert (claims["iss"], claims["aud"], claims["name"]) == (op.issuer, client["client_id"], "Zoë Müller-Łukasik")


async def test_access_tokens_end(op: Op) -> None:
    """No token, an unknown one and an expired one get 401 with a challenge that says which."""
    tokens = await op.tokens(await op.register())
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    op.time += 3600
    for sent in (headers, {"Authorization": "Bearer junk"}):
        answer = await op.http.get("/userinfo", headers=sent)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    answer = await op.http.get("/userinfo")
    assert answer.status_code == 401
    assert "error" not in answer.headers["www-authenticate"]


async def test_token_without_openid(op: Op) -> None:
    """A token narrowed to other scopes is refused with 403 insufficient_scope."""
    client = await op.register()
    tokens = await op.tokens(client)
    narrow = await op.token(client, grant_type="refresh_token", refresh_token=tokens["refresh_token"], scope="profile")
    assert "id_token" not in narrow.json()
    headers = {"Authorization": f"Bearer {narrow.json()['access_token']}"}
    answer = await op.http.get("/userinfo", headers=headers)
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
