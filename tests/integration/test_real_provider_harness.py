"""The provider that the integration tests use works by itself: whatever fails there is not our server."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.integration.real_provider import RealProvider, callback_params, log_in, log_out, real_provider

pytestmark = pytest.mark.node

# Nothing listens there: the callback is read, never opened.
CALLBACK = "http://127.0.0.1:9/callback"
AFTER_LOGOUT = "http://127.0.0.1:9/bye"
VERIFIER = "a-code-verifier-of-at-least-forty-three-characters"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def _http() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(trust_env=False, timeout=10)


async def _json(http: httpx2.AsyncClient, method: str, url: str, expected: int = 200, **kwargs: Any) -> Any:
    response = await http.request(method, url, **kwargs)
    assert response.status_code == expected, response.text
    return response.json() if response.content else None


async def _discover(http: httpx2.AsyncClient, op: RealProvider) -> Any:
    return await _json(http, "GET", f"{op.issuer}/.well-known/openid-configuration")


async def _register(http: httpx2.AsyncClient, metadata: Any, **changes: Any) -> Any:
    client = {
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": [AFTER_LOGOUT],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_post",
        **changes,
    }
    return await _json(http, "POST", metadata["registration_endpoint"], 201, json=client)


def _authorization_url(metadata: Any, client: Any, **changes: str) -> str:
    query = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": CALLBACK,
        "scope": "openid profile email",
        "state": "s-1",
        "nonce": "n-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return f"{metadata['authorization_endpoint']}?{urlencode(query)}"


async def _tokens(http: httpx2.AsyncClient, metadata: Any, client: Any, **grant: str) -> Any:
    credentials = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    return await _json(http, "POST", metadata["token_endpoint"], data={**credentials, **grant})


async def _code_grant(http: httpx2.AsyncClient, metadata: Any, client: Any, login: str = "alice") -> Any:
    callback = callback_params(await log_in(_authorization_url(metadata, client), login))
    grant = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return await _tokens(http, metadata, client, code=callback["code"], **grant)


async def _verified_claims(http: httpx2.AsyncClient, metadata: Any, id_token: str) -> tuple[Any, Any]:
    keys = KeySet.import_key_set(await _json(http, "GET", metadata["jwks_uri"]))
    token = jwt.decode(id_token, keys, algorithms=["RS256", "PS256", "ES256", "EdDSA", "Ed25519"])
    return token.header, token.claims


async def test_a_person_logs_in_and_out() -> None:
    """Discovery, registration, login pages, code, tokens, userinfo, refresh, introspection and logout work."""
    async with real_provider() as op, _http() as http:
        metadata = await _discover(http, op)
        assert metadata["issuer"] == op.issuer
        client = await _register(http, metadata)
        callback = callback_params(await log_in(_authorization_url(metadata, client), "bob"))
        assert callback.keys() == {"code", "state", "iss"}
        assert callback["state"] == "s-1"
        assert callback["iss"] == op.issuer
        grant = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        tokens = await _tokens(http, metadata, client, code=callback["code"], **grant)
        header, claims = await _verified_claims(http, metadata, tokens["id_token"])
        assert header["alg"] == "RS256"
        assert (claims["sub"], claims["nonce"], claims["aud"]) == ("bob", "n-1", client["client_id"])

        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        userinfo = await _json(http, "GET", metadata["userinfo_endpoint"], headers=bearer)
        assert (userinfo["sub"], userinfo["email"]) == ("bob", "bob@example.com")
        refresh_token = tokens["refresh_token"]
        fresh = await _tokens(http, metadata, client, grant_type="refresh_token", refresh_token=refresh_token)
        assert fresh["refresh_token"] != refresh_token
        credentials = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
        asked = {"token": fresh["access_token"], **credentials}
        assert (await _json(http, "POST", metadata["introspection_endpoint"], data=asked))["active"] is True
        query = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": AFTER_LOGOUT, "state": "x"}
        assert await log_out(f"{metadata['end_session_endpoint']}?{urlencode(query)}") == f"{AFTER_LOGOUT}?state=x"


async def test_a_wrong_code_verifier_gets_no_token() -> None:
    """The provider enforces PKCE, so that a login that passes shows that the verifier was right."""
    async with real_provider() as op, _http() as http:
        metadata = await _discover(http, op)
        client = await _register(http, metadata)
        code = callback_params(await log_in(_authorization_url(metadata, client)))["code"]
        data = {
            "grant_type": "authorization_code",
            "redirect_uri": CALLBACK,
            "code": code,
            "code_verifier": VERIFIER.replace("a", "b"),
            "client_id": client["client_id"],
            "client_secret": client["client_secret"],
        }
        refusal = await _json(http, "POST", metadata["token_endpoint"], 400, data=data)
        assert refusal["error"] == "invalid_grant"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # that name is what providers still send
@pytest.mark.parametrize("alg", ["PS256", "ES256", "EdDSA"])
async def test_the_first_algorithm_signs(alg: str) -> None:
    """The first of `idTokenSigningAlgs` is what clients get that ask for nothing."""
    async with real_provider(idTokenSigningAlgs=[alg, "RS256"]) as op, _http() as http:
        metadata = await _discover(http, op)
        tokens = await _code_grant(http, metadata, await _register(http, metadata))
        header, _ = await _verified_claims(http, metadata, tokens["id_token"])
        assert header["alg"] == alg


@pytest.mark.parametrize("keep_old", [False, True])
async def test_keys_change_in_mid_flight(keep_old: bool) -> None:
    """A rotation changes the key that signs, while clients and grants from before it stay valid."""
    async with real_provider(idTokenSigningAlgs=["ES256"]) as op, _http() as http:
        metadata = await _discover(http, op)
        client = await _register(http, metadata)
        tokens = await _code_grant(http, metadata, client)
        old, _ = await _verified_claims(http, metadata, tokens["id_token"])
        new_kids = await op.rotate_keys(keep_old=keep_old)
        published = {key["kid"] for key in (await _json(http, "GET", metadata["jwks_uri"]))["keys"]}
        assert published == ({old["kid"]} if keep_old else set()) | set(new_kids)
        refresh_token = tokens["refresh_token"]
        fresh = await _tokens(http, metadata, client, grant_type="refresh_token", refresh_token=refresh_token)
        header, claims = await _verified_claims(http, metadata, fresh["id_token"])
        assert header["kid"] in new_kids
        assert claims["sub"] == "alice"


@pytest.mark.parametrize("rotate", [False, True])
async def test_a_client_is_read_updated_and_deleted(rotate: bool) -> None:
    """The registration management of RFC 7592 works, with registration access tokens that rotate or stay."""
    async with real_provider(rotateRegistrationAccessToken=rotate) as op, _http() as http:
        metadata = await _discover(http, op)
        client = await _register(http, metadata)
        uri, token = client["registration_client_uri"], client["registration_access_token"]
        server_made = {"registration_client_uri", "registration_access_token", "client_id_issued_at"}
        change = {name: value for name, value in client.items() if name not in server_made}
        change.pop("client_secret_expires_at")
        bearer = {"Authorization": f"Bearer {token}"}
        updated = await _json(http, "PUT", uri, json={**change, "client_name": "New"}, headers=bearer)
        assert updated["client_name"] == "New"
        assert (updated["registration_access_token"] != token) is rotate
        bearer = {"Authorization": f"Bearer {updated['registration_access_token']}"}
        await _json(http, "DELETE", uri, 204, headers=bearer)
        await _json(http, "GET", uri, 401, headers=bearer)


async def test_requests_are_listed_once() -> None:
    """The provider tells which requests it got, so that a test can show that none was made."""
    async with real_provider() as op, _http() as http:
        await _discover(http, op)
        assert await op.requests() == ["GET /.well-known/openid-configuration"]
        assert await op.requests() == []


async def test_userinfo_can_be_a_signed_token() -> None:
    """A client that registers `userinfo_signed_response_alg` gets its userinfo as a JWT."""
    async with real_provider() as op, _http() as http:
        metadata = await _discover(http, op)
        client = await _register(http, metadata, userinfo_signed_response_alg="ES256")
        tokens = await _code_grant(http, metadata, client)
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        response = await http.get(metadata["userinfo_endpoint"], headers=bearer)
        assert response.headers["content-type"].startswith("application/jwt")
        header = json.loads(base64.urlsafe_b64decode(response.text.split(".")[0] + "=="))
        assert header["alg"] == "ES256"


async def test_a_provider_that_cannot_start_says_why() -> None:
    """What a broken provider printed is in the error of the test that wanted it."""
    with pytest.raises(AssertionError, match=r"(?s)gave no answer.*KEY_PAIRS"):
        async with real_provider(idTokenSigningAlgs=["RS999"]):
            pass
