"""Pushed requests (RFC 9126), request objects (RFC 9101) and signed responses (JARM) of the sandbox's provider."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.unit.sandbox.conftest import CHALLENGE, REDIRECT_URI, VERIFIER, Op

KEY = ECKey.generate_key("P-256", {"kid": "of-the-client", "use": "sig"})
ASKED = {"redirect_uri": REDIRECT_URI, "scope": "openid", "response_type": "code", "state": "s", "nonce": "n"}


async def push(op: Op, client: dict[str, Any], **params: str) -> httpx2.Response:
    """Push these parameters as the client."""
    return await op.http.post("/par", data=params, auth=(client["client_id"], client["client_secret"]))


def by_reference(op: Op, client: dict[str, Any], uri: str) -> str:
    """The authorization URL of a request that was pushed."""
    return str(httpx2.URL(f"{op.issuer}/authorize", params={"client_id": client["client_id"], "request_uri": uri}))


async def pushed(op: Op, client: dict[str, Any], **params: str) -> str:
    """The request_uri for these parameters."""
    answer = await push(op, client, client_id=client["client_id"], **params)
    assert answer.status_code == 201, answer.text
    assert answer.json()["expires_in"] == 60
    return str(answer.json()["request_uri"])


def request_object(client: dict[str, Any], claims: dict[str, str], key: ECKey = KEY) -> str:
    """A request object of the client's."""
    return jwt.encode({"alg": "ES256", "kid": key.kid}, {"client_id": client["client_id"], **claims}, key)


async def test_a_pushed_request_is_as_good_as_one_in_the_url(op: Op) -> None:
    """It works once, for its client, and for a minute."""
    op.state.requires_pushed_requests = True
    client, other = await op.register(), await op.register()
    challenge = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    url = by_reference(op, client, await pushed(op, client, **ASKED, **challenge))
    location = (await op.http.get(url)).headers["location"]
    assert location.startswith("/interaction")
    assert (await op.http.get(url)).status_code == 400
    foreign = by_reference(op, other, await pushed(op, client, **ASKED))
    assert (await op.http.get(foreign)).status_code == 400
    late = by_reference(op, client, await pushed(op, client, **ASKED))
    op.time += 61
    assert (await op.http.get(late)).status_code == 400
    assert VERIFIER not in url


async def test_where_pushing_is_required(op: Op) -> None:
    """By the provider or by the client: a request in the URL is refused."""
    client = await op.register()
    strict = await op.register(require_pushed_authorization_requests=True)
    assert (await op.http.get(op.authorize_url(client))).status_code == 303
    assert "not pushed" in (await op.http.get(op.authorize_url(strict))).text
    op.state.requires_pushed_requests = True
    assert "not pushed" in (await op.http.get(op.authorize_url(client))).text
    assert (await op.http.get("/.well-known/openid-configuration")).json()["require_pushed_authorization_requests"]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"scope": "profile"}, "invalid_scope"), ({"response_type": "token"}, "unsupported_response_type"),
        ({"request_uri": "urn:x"}, "invalid_request"), ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
    ],
)  # fmt: skip
async def test_what_is_refused_when_it_is_pushed(op: Op, params: dict[str, str], error: str) -> None:
    """What a browser could not ask for cannot be pushed either."""
    client = await op.register()
    answer = await push(op, client, **{**ASKED, "client_id": client["client_id"], **params})
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_a_stranger_cannot_push(op: Op) -> None:
    """The client authenticates as at the token endpoint."""
    client = await op.register()
    answer = await push(op, client | {"client_secret": "wrong"}, **ASKED, client_id=client["client_id"])
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_request_objects(op: Op) -> None:
    """Signed with the client's key they count; with another one, or not at all, they do not where that is required."""
    keys = KeySet([KEY]).as_dict(private=False)
    client = await op.register(jwks=keys, require_signed_request_object=True)
    url = by_reference(op, client, await pushed(op, client, request=request_object(client, ASKED)))
    assert (await op.http.get(url)).status_code == 303
    stranger = ECKey.generate_key("P-256", {"kid": "of-the-client", "use": "sig"})
    for params in ({"request": request_object(client, ASKED, stranger)}, ASKED, {"request": "x.y.z"}):
        answer = await push(op, client, client_id=client["client_id"], **params)
        assert (answer.status_code, answer.json()["error"].partition("_")[0]) == (400, "invalid"), params
    op.state.requires_signed_requests = True
    keyless = await op.register()
    answer = await push(op, keyless, client_id=keyless["client_id"], request=request_object(keyless, ASKED))
    assert answer.json()["error"] == "invalid_request_object"


@pytest.mark.parametrize("mode", ["jwt", "query.jwt", "fragment.jwt"])
async def test_signed_responses(op: Op, mode: str) -> None:
    """The parameters of the answer stand in one JWT, with issuer, audience and an end."""
    client = await op.register(authorization_signed_response_alg="ES256")
    back = await op.log_in(client, response_mode=mode)
    assert ("#" in back) == (mode == "fragment.jwt")
    claims = op.keys.claims_of_our_token(op.parameters(back)["response"])
    assert claims is not None
    assert (claims["iss"], claims["aud"], claims["state"]) == (op.issuer, client["client_id"], "the state")
    assert (await op.redeem(client, claims["code"])).status_code == 200


async def test_signed_refusals(op: Op) -> None:
    """An error comes in a signed response too; a redirect URI with a query keeps it."""
    uri = f"{REDIRECT_URI}?tenant=1"
    client = await op.register(redirect_uris=[uri])
    answer = await op.http.get(op.authorize_url(client, response_mode="jwt", prompt="none", redirect_uri=uri))
    location = answer.headers["location"]
    assert location.startswith(f"{uri}&response=")
    claims = op.keys.claims_of_our_token(op.parameters(location)["response"])
    assert claims is not None
    assert (claims["error"], claims["state"]) == ("login_required", "the state")


async def test_faults_of_responses(op: Op) -> None:
    """Each shows in its own place."""
    client = await op.register()

    async def response_with(*faults: str, **params: str) -> dict[str, str]:
        op.state.faults = set(faults)
        return op.parameters(await op.log_in(client, **params))

    assert "iss" not in await response_with("authorization_missing_iss")
    assert (await response_with("authorization_bad_state"))["state"] == "another-state"
    assert "state" not in await response_with("authorization_missing_state")
    assert (await response_with("response_alg_none", response_mode="jwt"))["response"].endswith(".")
    bad = (await response_with("response_bad_signature", response_mode="jwt"))["response"]
    assert op.keys.claims_of_our_token(bad) is None
    missing = op.keys.claims_of_our_token(
        (await response_with("response_missing_aud", response_mode="jwt"))["response"]
    )
    assert missing is not None
    assert "aud" not in missing
    op.state.faults = {"token_without_expires_in", "token_type_in_other_case", "id_token_other_alg"}
    tokens = await op.tokens(client)
    assert ("expires_in" in tokens, tokens["token_type"]) == (False, "bEARER")
