"""Grants, client authentication, introspection and revocation, over HTTP."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import pytest
import trio
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from oxd_server.entrances import http1
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from tests.unit.sandbox.conftest import CHALLENGE, REDIRECT_URI, VERIFIER, Op, half_hash

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENT_KEY = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig"}, private=True)


def outcome(answer: httpx2.Response) -> tuple[int, str | None]:
    """Status and OAuth error of an answer."""
    return answer.status_code, answer.json().get("error")


async def test_code_becomes_tokens(op: Op) -> None:
    """A code gives an access token, a refresh token and a signed id_token with nonce and at_hash."""
    client = await op.register()
    answer = await op.redeem(client, await op.code(client))
    tokens = answer.json()
    claims = op.keys.claims_of_our_token(tokens["id_token"])
    assert answer.headers["cache-control"] == "no-store"
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 3600, "openid profile")
    assert tokens["refresh_token"]
    assert claims is not None
    assert (claims["iss"], claims["aud"], claims["sub"]) == (op.issuer, client["client_id"], "a11ce-7f3b")
    assert (claims["nonce"], claims["iat"], claims["exp"]) == ("the nonce", int(op.time), int(op.time) + 3600)
    assert claims["at_hash"] == half_hash(tokens["access_token"])


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_id_token_algorithms(op: Op, alg: str) -> None:
    """The id_token is signed with the registered algorithm, under a published key."""
    client = await op.register(id_token_signed_response_alg=alg)
    tokens = await op.tokens(client)
    header = json.loads(_decoded(tokens["id_token"].partition(".")[0]))
    published = {key["kid"]: key["alg"] for key in (await op.http.get("/jwks")).json()["keys"]}
    assert header["alg"] == alg
    assert published[header["kid"]] == alg
    assert op.keys.claims_of_our_token(tokens["id_token"]) is not None


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "==")


async def test_id_token_with_client_secret(op: Op) -> None:
    """HS256 signs with the client secret."""
    client = await op.register(id_token_signed_response_alg="HS256")
    tokens = await op.tokens(client)
    key = OctKey.import_key(client["client_secret"])
    assert jwt.decode(tokens["id_token"], key, algorithms=["HS256"]).claims["sub"] == "a11ce-7f3b"
    assert op.keys.claims_of_our_token(tokens["id_token"]) is None


# --- authorization_code ----------------------------------------------------------------------


async def test_code_works_once_and_reuse_revokes(op: Op) -> None:
    """The second use of a code is refused and takes the tokens of the first one with it."""
    client = await op.register()
    code = await op.code(client)
    tokens = (await op.redeem(client, code)).json()
    assert await op.is_active(client, tokens["access_token"])
    assert outcome(await op.redeem(client, code)) == (400, "invalid_grant")
    assert not await op.is_active(client, tokens["access_token"])
    assert not await op.is_active(client, tokens["refresh_token"])


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"redirect_uri": REDIRECT_URI + "/"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"code": "x"}, "invalid_grant"),
        ({"code_verifier": VERIFIER}, "invalid_request"),
    ],
)
async def test_code_needs_everything_as_before(op: Op, params: dict[str, str], error: str) -> None:
    """A wrong redirect URI, a wrong code or a verifier out of nowhere is refused, and the code stays good."""
    client = await op.register()
    code = await op.code(client)
    assert outcome(await op.redeem(client, **({"code": code} | params))) == (400, error)
    assert (await op.redeem(client, code)).status_code == 200


async def test_code_expires(op: Op) -> None:
    """A code that is too old is invalid_grant."""
    client = await op.register()
    code = await op.code(client)
    op.time += 121
    assert outcome(await op.redeem(client, code)) == (400, "invalid_grant")


async def test_code_belongs_to_its_client(op: Op) -> None:
    """Another client cannot redeem a code, nor spoil it."""
    client, other = await op.register(), await op.register()
    code = await op.code(client)
    assert outcome(await op.redeem(other, code)) == (400, "invalid_grant")
    assert (await op.redeem(client, code)).status_code == 200


@pytest.mark.parametrize(
    ("verifier", "expected"),
    [
        (VERIFIER, (200, None)),
        ("w" * 43, (400, "invalid_grant")),
        ("v" * 42, (400, "invalid_request")),
        ("v" * 42 + "!", (400, "invalid_request")),
        ("", (400, "invalid_request")),
    ],
)
async def test_pkce(op: Op, verifier: str, expected: tuple[int, str | None]) -> None:
    """With a challenge only its verifier redeems the code."""
    client = await op.register()
    code = await op.code(client, code_challenge=CHALLENGE, code_challenge_method="S256")
    assert outcome(await op.redeem(client, code, code_verifier=verifier)) == expected


async def test_public_client(op: Op) -> None:
    """A public client logs in with PKCE alone, by client_id in the body, and may refresh."""
    client = await op.register(token_endpoint_auth_method="none")
    code = await op.code(client, code_challenge=CHALLENGE, code_challenge_method="S256")
    data = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI, "code_verifier": VERIFIER}
    answer = await op.http.post("/token", data=data | {"client_id": client["client_id"]})
    assert answer.status_code == 200
    data = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
    assert (await op.http.post("/token", data=data | {"client_id": client["client_id"]})).status_code == 200


# --- refresh_token ---------------------------------------------------------------------------


async def test_refresh_rotates(op: Op) -> None:
    """A refresh gives new tokens; the old refresh token's second use ends them all."""
    client = await op.register()
    first = await op.tokens(client)
    refresh = partial(op.token, client, grant_type="refresh_token")
    second = (await refresh(refresh_token=first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    claims = op.keys.claims_of_our_token(second["id_token"])
    assert claims is not None
    assert "nonce" not in claims
    assert outcome(await refresh(refresh_token=first["refresh_token"])) == (400, "invalid_grant")
    assert outcome(await refresh(refresh_token=second["refresh_token"])) == (400, "invalid_grant")
    assert not await op.is_active(client, second["access_token"])


async def test_refresh_may_narrow_the_scope_but_not_widen_it(op: Op) -> None:
    """Fewer scopes are given, more are refused without spending the token."""
    client = await op.register()
    tokens = await op.tokens(client)
    refresh = partial(op.token, client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert outcome(await refresh(scope="openid email")) == (400, "invalid_scope")
    answer = await refresh(scope="openid")
    assert answer.json()["scope"] == "openid"


async def test_refresh_token_belongs_to_its_client_and_expires(op: Op) -> None:
    """Another client's and an expired refresh token are invalid_grant."""
    client, other = await op.register(), await op.register()
    tokens = await op.tokens(client)
    data = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert outcome(await op.token(other, **data)) == (400, "invalid_grant")
    op.time += 31 * 24 * 3600
    assert outcome(await op.token(client, **data)) == (400, "invalid_grant")


# --- client_credentials and the rest ---------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "given"),
    [("uma_protection openid", "uma_protection openid"), ("oxd what", "oxd"), ("", "")],
)
async def test_client_credentials(op: Op, scope: str, given: str) -> None:
    """A client gets a token for itself with the registered scopes among those asked for, and nothing to refresh."""
    client = await op.register()
    answer = (await op.token(client, grant_type="client_credentials", scope=scope)).json()
    assert answer["scope"] == given
    assert "refresh_token" not in answer
    assert "id_token" not in answer
    userinfo = await op.http.get("/userinfo", headers={"Authorization": f"Bearer {answer['access_token']}"})
    assert userinfo.status_code == 401


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "client_credentials", "scope": "nothing-known"}, "invalid_scope"),
    ],
)
async def test_bad_token_requests(op: Op, params: dict[str, str], error: str) -> None:
    """What RFC 6749 5.2 calls by name gets that name."""
    assert outcome(await op.token(await op.register(), **params)) == (400, error)


async def test_unregistered_grant_type(op: Op) -> None:
    """A grant type that the client did not register is unauthorized_client."""
    client = await op.register(grant_types=["authorization_code"])
    assert outcome(await op.token(client, grant_type="client_credentials")) == (400, "unauthorized_client")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"grant_type=client_credentials&grant_type=refresh_token", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=b" % number for number in range(200)), "application/x-www-form-urlencoded"),
    ],
)
async def test_unreadable_forms(op: Op, content: bytes, content_type: str) -> None:
    """A body that is no form, repeats a parameter, is no UTF-8 or has hundreds of fields is invalid_request."""
    answer = await op.http.post("/token", content=content, headers={"Content-Type": content_type})
    assert outcome(answer) == (400, "invalid_request")


# --- client authentication -------------------------------------------------------------------


def assertion(op: Op, client: dict[str, Any], key: Any, alg: str, **claims: Any) -> dict[str, str]:
    """The form parameters of a client assertion; a claim of None is left out."""
    all_claims = {
        "iss": client["client_id"],
        "sub": client["client_id"],
        "aud": f"{op.issuer}/token",
        "exp": int(op.time) + 60,
        "jti": "once",
    } | claims
    given = {name: value for name, value in all_claims.items() if value is not None}
    token = jwt.encode({"alg": alg}, given, key, algorithms=[alg])
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": token}


async def ask(
    op: Op, params: dict[str, str] | None = None, *, auth: tuple[str, str] | None = None
) -> tuple[int, str | None]:
    """The outcome of a client_credentials request with these form parameters besides."""
    data = {"grant_type": "client_credentials"} | (params or {})
    return outcome(await op.http.post("/token", data=data, auth=auth or httpx2.USE_CLIENT_DEFAULT))


async def test_secret_methods(op: Op) -> None:
    """A secret works in the registered place, and only there."""
    basic = await op.register()
    post = await op.register(token_endpoint_auth_method="client_secret_post")
    for client, in_header, in_body in ((basic, 200, 401), (post, 401, 200)):
        credentials = {name: client[name] for name in ("client_id", "client_secret")}
        assert (await ask(op, auth=(client["client_id"], client["client_secret"])))[0] == in_header
        assert (await ask(op, credentials))[0] == in_body
        assert await ask(op, {"client_id": client["client_id"]}) == (401, "invalid_client")


async def test_wrong_secrets(op: Op) -> None:
    """A wrong, empty or foreign secret, an unknown client, and no client at all: invalid_client with a challenge."""
    client, other = await op.register(), await op.register()
    for auth in (
        (client["client_id"], "wrong"),
        (client["client_id"], ""),
        (client["client_id"], other["client_secret"]),
        ("nobody", client["client_secret"]),
    ):
        answer = await op.http.post("/token", data={"grant_type": "client_credentials"}, auth=auth)
        assert outcome(answer) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert client["client_secret"] not in answer.text
    assert await ask(op) == (401, "invalid_client")


@pytest.mark.parametrize("value", ["Basic !", "Basic //8=", "Basic", "Digest x"])
async def test_unreadable_authorization_headers(op: Op, value: str) -> None:
    """An Authorization header that cannot be read authenticates nobody."""
    answer = await op.http.post("/token", data={"grant_type": "client_credentials"}, headers={"Authorization": value})
    assert outcome(answer) == (401, "invalid_client")


async def test_two_methods_at_once(op: Op) -> None:
    """RFC 6749 2.3: one method per request."""
    client = await op.register()
    credentials = (client["client_id"], client["client_secret"])
    assert await ask(op, {"client_secret": client["client_secret"]}, auth=credentials) == (400, "invalid_request")


async def test_expired_secret(op: Op) -> None:
    """A secret past its client_secret_expires_at no longer works."""
    client = await op.register()
    known = op.state.clients.get(client["client_id"])
    assert known is not None
    known.secret_expires_at = int(op.time) + 10
    credentials = (client["client_id"], client["client_secret"])
    assert await ask(op, auth=credentials) == (200, None)
    op.time += 10
    assert await ask(op, auth=credentials) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 200),
        ({"aud": "ISSUER"}, 200),
        ({"aud": ["x", "ISSUER"]}, 200),
        ({"aud": "https://elsewhere.example/token"}, 401),
        ({"aud": [1, None]}, 401),
        ({"aud": None}, 401),
        ({"iss": "somebody"}, 401),
        ({"iss": None}, 401),
        ({"sub": "somebody"}, 401),
        ({"exp": None}, 401),
        ({"exp": 1}, 401),
        ({"exp": 99_999_999_999}, 401),
        ({"exp": "soon"}, 401),
        ({"jti": None}, 401),
        ({"jti": 5}, 401),
    ],
)
async def test_client_secret_jwt(op: Op, claims: dict[str, Any], status: int) -> None:
    """An assertion under the secret authenticates if its claims are those of RFC 7523."""
    client = await op.register(token_endpoint_auth_method="client_secret_jwt")
    key = OctKey.import_key(client["client_secret"])
    filled = json.loads(json.dumps(claims).replace("ISSUER", op.issuer))
    assert (await ask(op, assertion(op, client, key, "HS256", **filled)))[0] == status


async def test_assertions_work_once(op: Op) -> None:
    """The same jti is refused the second time."""
    client = await op.register(token_endpoint_auth_method="client_secret_jwt")
    params = assertion(op, client, OctKey.import_key(client["client_secret"]), "HS256")
    assert await ask(op, params) == (200, None)
    assert await ask(op, params) == (401, "invalid_client")


async def test_private_key_jwt(op: Op) -> None:
    """An assertion under the registered key authenticates, one under another key does not."""
    jwks = {"keys": [CLIENT_KEY.as_dict(private=False)]}
    client = await op.register(token_endpoint_auth_method="private_key_jwt", jwks=jwks)
    stranger = ECKey.generate_key("P-256", {"kid": "k1"}, private=True)
    assert await ask(op, assertion(op, client, stranger, "ES256")) == (401, "invalid_client")
    assert await ask(op, assertion(op, client, CLIENT_KEY, "ES256")) == (200, None)


async def test_assertion_must_fit_the_registration(op: Op) -> None:
    """Wrong method, wrong algorithm, wrong type, another client_id or a token that is none: no entry."""
    jwks = {"keys": [CLIENT_KEY.as_dict(private=False)]}
    key_client = await op.register(
        token_endpoint_auth_method="private_key_jwt", token_endpoint_auth_signing_alg="ES384", jwks=jwks
    )
    basic = await op.register()
    secret = OctKey.import_key(basic["client_secret"])
    good = assertion(op, key_client, CLIENT_KEY, "ES256")
    assert await ask(op, good) == (401, "invalid_client")
    assert await ask(op, assertion(op, basic, secret, "HS256")) == (401, "invalid_client")
    assert await ask(op, good | {"client_assertion_type": "x"}) == (401, "invalid_client")
    assert await ask(op, good | {"client_id": basic["client_id"]}) == (401, "invalid_client")
    for junk in ("x", "a.b.c", "e30.e30.e30", "e30.W10.e30"):
        assert await ask(op, good | {"client_assertion": junk}) == (401, "invalid_client")


@asynccontextmanager
async def key_server(status: int, body: bytes) -> AsyncIterator[str]:
    """A web server on loopback that answers everything with `body`."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status, [("Content-Type", "application/json")], body)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(http1.serve, listeners, handler, http1.Limits())
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/jwks"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, json.dumps({"keys": [CLIENT_KEY.as_dict(private=False)]}).encode(), 200),
        (200, b'{"keys": []}', 401),
        (200, b"{}", 401),
        (200, b"[]", 401),
        (200, b"<html>", 401),
        (200, b" " * 200_000, 401),
        (500, b"{}", 401),
    ],
)
async def test_keys_by_address(op: Op, status: int, body: bytes, expected: int) -> None:
    """A client's keys are fetched from its jwks_uri on loopback; nonsense there authenticates nobody."""
    async with key_server(status, body) as uri:
        client = await op.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)
        assert (await ask(op, assertion(op, client, CLIENT_KEY, "ES256")))[0] == expected


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/jwks", "https://192.0.2.1/jwks"])
async def test_keys_from_elsewhere_are_not_fetched(op: Op, uri: str) -> None:
    """An address that nobody answers at, or that is not loopback, authenticates nobody."""
    client = await op.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)
    assert await ask(op, assertion(op, client, CLIENT_KEY, "ES256")) == (401, "invalid_client")


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "//["])
async def test_keys_have_an_address_of_the_web(op: Op, uri: str) -> None:
    """A jwks_uri that is no such address is refused when the client registers."""
    metadata = {"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri}
    assert outcome(await op.http.post("/register", json=metadata)) == (400, "invalid_client_metadata")


# --- introspection and revocation ------------------------------------------------------------


async def test_introspection_tells_what_a_token_is_good_for(op: Op) -> None:
    """An active token comes with its client, scope, user and times; expiry makes it inactive."""
    client = await op.register()
    tokens = await op.tokens(client)
    auth = (client["client_id"], client["client_secret"])
    answer = (await op.http.post("/introspect", data={"token": tokens["access_token"]}, auth=auth)).json()
    assert answer["active"] is True
    assert (answer["client_id"], answer["sub"], answer["username"]) == (client["client_id"], "a11ce-7f3b", "alice")
    assert (answer["scope"], answer["exp"] - answer["iat"]) == ("openid profile", 3600)
    assert await op.is_active(client, tokens["refresh_token"])
    op.time += 3600
    answer = (await op.http.post("/introspect", data={"token": tokens["access_token"]}, auth=auth)).json()
    assert answer == {"active": False}


async def test_introspection_with_a_pat(op: Op) -> None:
    """A token with uma_protection may introspect; another token may not, nor may anybody else."""
    client = await op.register()
    pat = (await op.token(client, grant_type="client_credentials", scope="uma_protection")).json()["access_token"]
    plain = (await op.token(client, grant_type="client_credentials", scope="openid")).json()["access_token"]

    async def introspect(bearer: str) -> tuple[int, str | None]:
        headers = {"Authorization": f"Bearer {bearer}"}
        return outcome(await op.http.post("/introspect", data={"token": plain}, headers=headers))

    assert await introspect(pat) == (200, None)
    assert await introspect(plain) == (403, "insufficient_scope")
    assert await introspect("junk") == (401, "invalid_token")
    assert outcome(await op.http.post("/introspect", data={"token": plain})) == (401, "invalid_client")
    auth = (client["client_id"], client["client_secret"])
    assert outcome(await op.http.post("/introspect", auth=auth)) == (400, "invalid_request")


async def test_revocation(op: Op) -> None:
    """An access token is revoked alone, a refresh token with all that came from its login; others' are refused."""
    client, other = await op.register(), await op.register()
    tokens = await op.tokens(client)

    async def revoke(by: dict[str, Any], token: str) -> int:
        auth = (by["client_id"], by["client_secret"])
        return (await op.http.post("/revoke", data={"token": token}, auth=auth)).status_code

    assert await revoke(other, tokens["access_token"]) == 400
    assert await revoke(other, tokens["refresh_token"]) == 400
    assert await op.is_active(client, tokens["access_token"])
    assert await revoke(client, tokens["access_token"]) == 200
    assert not await op.is_active(client, tokens["access_token"])
    refreshed = await op.token(client, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    newer = refreshed.json()
    assert await revoke(client, newer["refresh_token"]) == 200
    assert not await op.is_active(client, newer["access_token"])
    assert await revoke(client, "unknown") == 200
    assert (await op.http.post("/revoke", data={"token": "x"})).status_code == 401
