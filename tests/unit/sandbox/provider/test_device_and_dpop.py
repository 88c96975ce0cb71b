"""The sandbox's device flow, token exchange and bound tokens, over HTTP."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from tests.unit.sandbox.conftest import Op

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
KEY = ECKey.generate_key("P-256")


def basic(client: dict[str, Any]) -> tuple[str, str]:
    """The client's credentials."""
    return client["client_id"], client["client_secret"]


async def ask(op: Op, client: dict[str, Any], path: str, headers: dict[str, str] | None = None, **data: str) -> Any:
    """Post a form as the client; return status and body."""
    answer = await op.http.post(path, data=data, auth=basic(client), headers=headers or {})
    return answer.status_code, answer.json()


# --- another device ---------------------------------------------------------------------------


async def test_a_login_on_another_device(op: Op) -> None:
    """The user enters the code on the page; until then it is pending, and whoever polls too often is told so."""
    client = await op.register(grant_types=[DEVICE])
    _, started = await ask(op, client, "/device_authorization", scope="openid")
    poll = {"grant_type": DEVICE, "device_code": started["device_code"]}
    op.time += 1
    assert (await ask(op, client, "/token", **poll))[1]["error"] == "authorization_pending"
    assert (await ask(op, client, "/token", **poll))[1]["error"] == "slow_down"
    page = await op.http.get(started["verification_uri_complete"])
    assert started["user_code"] in page.text
    entered = {"user_code": started["user_code"], "username": "alice", "decision": "allow"}
    assert (await op.http.post("/device", data={**entered, "password": "wrong"})).status_code == 401
    done = await op.http.post("/device", data={**entered, "password": "wonderland"})
    assert done.status_code == 303
    assert "other device" in (await op.http.get(done.headers["location"])).text
    status, tokens = await ask(op, client, "/token", **poll)
    assert status == 200
    claims = op.keys.claims_of_our_token(tokens["id_token"])
    assert claims is not None
    assert (claims["sub"], claims.get("nonce")) == ("a11ce-7f3b", None)


async def test_a_client_that_may_not(op: Op) -> None:
    """Neither the device flow nor an exchange is for clients that did not register for it."""
    client = await op.register()
    asked: list[dict[str, str]] = [
        {"grant_type": DEVICE, "device_code": "x"},
        {"grant_type": EXCHANGE, "subject_token": "x"},
    ]
    for more in asked:
        assert (await ask(op, client, "/token", None, **more))[1]["error"] == "unauthorized_client"


# --- token exchange ---------------------------------------------------------------------------


async def test_token_exchange(op: Op) -> None:
    """An access token gives another one with no more scope; anything else is refused."""
    client = await op.register(grant_types=["authorization_code", EXCHANGE])
    subject = (await op.tokens(client))["access_token"]
    right = {"grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": ACCESS_TOKEN}
    status, answer = await ask(op, client, "/token", **right, scope="openid")
    assert (status, answer["issued_token_type"], answer["scope"]) == (200, ACCESS_TOKEN, "openid")
    for wrong in ({"subject_token_type": "jwt"}, {"subject_token": "unknown"}, {"scope": "email"}):
        assert (await ask(op, client, "/token", **{**right, **wrong}))[1]["error"] == "invalid_request"


# --- bound tokens -----------------------------------------------------------------------------


def proof(op: Op, path: str, token: str | None = None, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A proof for a request; `claims` stand in place of the right ones."""
    right: dict[str, Any] = {
        "jti": base64.b64encode(str((path, token, claims, op.time)).encode()).decode(),
        "htm": "POST" if path == "/token" else "GET",
        "htu": op.issuer + path,
        "iat": int(op.time),
    }
    if token is not None:
        right["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.as_dict(private=False), **(header or {})}
    return jwt.encode(head, {**right, **claims}, KEY)


async def test_bound_tokens(op: Op) -> None:
    """A token is bound to the key of the proof, is shown with a proof of it, and introspection tells of the key."""
    client = await op.register()
    asked = {"grant_type": "client_credentials", "scope": "openid"}
    status, tokens = await ask(op, client, "/token", {"DPoP": proof(op, "/token")}, **asked)
    assert (status, tokens["token_type"]) == (200, "DPoP")
    _, told = await ask(op, client, "/introspect", token=tokens["access_token"])
    assert told["cnf"] == {"jkt": KEY.thumbprint()}
    code = await op.code(client)
    answer = await op.redeem(client, code)
    assert answer.json()["token_type"] == "Bearer"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"jwk": KEY.as_dict(private=True)}, {}),
        ({"jwk": OctKey.generate_key(256).as_dict()}, {}),
        ({"jwk": ECKey.generate_key("P-256").as_dict(private=False)}, {}),
        ({}, {"htm": "GET"}),
        ({}, {"htu": "https://other.example/token"}),
        ({}, {"iat": 1}),
        ({}, {"jti": None}),
    ],
)
async def test_proofs_that_are_refused(op: Op, header: dict[str, Any], claims: dict[str, Any]) -> None:
    """Whatever is wrong with a proof, the sandbox says so."""
    client = await op.register()
    headers = {"DPoP": proof(op, "/token", header=header, **claims)}
    answer = await ask(op, client, "/token", headers, grant_type="client_credentials")
    assert (answer[0], answer[1]["error"]) == (400, "invalid_dpop_proof")


async def test_a_proof_counts_once_and_for_its_token(op: Op) -> None:
    """A proof that was used, or is for another token, is refused; so is a bound token without any."""
    client = await op.register()
    used = {"DPoP": proof(op, "/token")}
    code = await op.code(client)
    answer = await op.http.post(
        "/token",
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": client["redirect_uris"][0]},
        auth=basic(client),
        headers=used,
    )
    tokens = answer.json()
    again = await ask(op, client, "/token", used, grant_type="client_credentials")
    assert again[1]["error"] == "invalid_dpop_proof"
    token = tokens["access_token"]
    shown = {"Authorization": f"DPoP {token}"}
    other = await op.http.get("/userinfo", headers={**shown, "DPoP": proof(op, "/userinfo", "another")})
    assert other.json()["error"] == "invalid_dpop_proof"
    assert (await op.http.get("/userinfo", headers=shown)).status_code == 401
    assert (await op.http.get("/userinfo", headers={**shown, "DPoP": proof(op, "/userinfo", token)})).status_code == 200
    refreshed = await ask(op, client, "/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert refreshed[1]["error"] == "invalid_grant"


async def test_a_client_that_is_always_bound(op: Op) -> None:
    """A client that registered for bound tokens gets no others."""
    client = await op.register(dpop_bound_access_tokens=True)
    answer = await op.redeem(client, await op.code(client))
    assert answer.json()["error"] == "invalid_request"
