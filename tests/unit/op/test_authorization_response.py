"""Authorization responses that are JWTs (JARM): which are good, and what of them is read."""

from __future__ import annotations

import pytest

from oxd_server.op.authorization_response import check_authorization_response
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import AuthorizationRefused, AuthorizationResponseError
from tests.clock import NOW

CLAIMS = {"aud": "client", "exp": NOW + 60, "code": "the-code", "state": "the-state"}


async def check(op, client, token, alg="RS256", **more):
    known = ProviderMetadata(issuer=op.base, jwks_uri=op.base + "/jwks", **more)
    return await check_authorization_response(
        client, known, token, client_id="client", client_secret="s" * 40, signed_response_alg=alg, leeway=5.0
    )


@pytest.mark.parametrize("aud", ["client", ["client"]])
async def test_a_good_one(op, client, signers, aud):
    """Code and state come out; they are not shown by accident."""
    op.on("GET", "/jwks", {"keys": [signers["RS256"].jwk]})
    response = await check(op, client, signers["RS256"].sign({**CLAIMS, "iss": op.base, "aud": aud}))
    assert (response.code, response.state) == ("the-code", "the-state")
    assert "the-code" not in repr(response)


@pytest.mark.parametrize(
    ("changes", "check_name"),
    [
        ({"iss": None}, "missing_issuer"), ({"iss": "https://evil"}, "bad_issuer"),
        ({"aud": None}, "missing_audience"), ({"aud": "other"}, "bad_audience"),
        ({"aud": ["client", "other"]}, "untrusted_audience"),
        ({"exp": None}, "missing_expiry"), ({"exp": NOW - 6}, "expired"),
        ({"code": None}, "missing_claim"), ({"state": None}, "missing_claim"), ({"state": 7}, "missing_claim"),
    ],
)  # fmt: skip
async def test_bad_ones(op, client, signers, changes, check_name):
    """Each lacks one thing, and the error names the check."""
    op.on("GET", "/jwks", {"keys": [signers["RS256"].jwk]})
    claims = {**CLAIMS, "iss": op.base, **changes}
    token = signers["RS256"].sign({name: value for name, value in claims.items() if value is not None})
    with pytest.raises(AuthorizationResponseError) as caught:
        await check(op, client, token)
    assert caught.value.check == check_name


async def test_signatures(op, client, signers):
    """Another algorithm than the registered one does not count, nor does another key."""
    op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    token = signers["ES256"].sign({**CLAIMS, "iss": op.base})
    await check(op, client, token, alg="ES256")
    await check(op, client, token, alg=None, authorization_signing_alg_values_supported=("ES256",))
    for alg in ("RS256", None):
        with pytest.raises(AuthorizationResponseError, match="algorithm_not_allowed"):
            await check(op, client, token, alg=alg)
    with pytest.raises(AuthorizationResponseError, match="bad_signature"):
        await check(op, client, token[:-6] + "AAAAAA", alg="ES256")


async def test_what_the_op_says(op, client, signers):
    """An error in it is the OP's word, once the signature is good."""
    op.on("GET", "/jwks", {"keys": [signers["RS256"].jwk]})
    claims = {"iss": op.base, "aud": "client", "exp": NOW + 60, "error": "access_denied", "state": "s"}
    with pytest.raises(AuthorizationRefused, match="access_denied: no") as caught:
        await check(op, client, signers["RS256"].sign({**claims, "error_description": "no"}))
    assert caught.value.error == "access_denied"
    with pytest.raises(AuthorizationRefused, match="access_denied"):
        await check(op, client, signers["RS256"].sign(claims))
