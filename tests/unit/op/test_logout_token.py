"""Every reason to refuse a logout token, one test row each, and the tokens that pass."""

import pytest

from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import IdTokenCheck, IdTokenError, LogoutTokenError, OpMetadataMissing
from oxd_server.op.id_token import Expectations, Unchecked
from oxd_server.op.logout_token import LOGOUT_EVENT, MAX_AGE, check_logout_token, validate_logout_token

NOW = 1_800_000_000.0
SECRET = "client-secret-" * 5
CLAIMS = {
    "iss": "https://op.example",
    "aud": "client",
    "iat": NOW,
    "exp": NOW + 120,
    "jti": "bWJq",
    "sub": "alice",
    "sid": "08a5019c",
    "events": {LOGOUT_EVENT: {}},
}


def expectations(algorithm="ES256", **changes):
    values = {
        "issuer": "https://op.example",
        "client_id": "client",
        "algorithms": frozenset({algorithm}),
        "nonce": Unchecked.NONCE,
    }
    return Expectations(**{**values, **changes})


def claims_with(**changes):
    """The claims with these in place of others; None leaves one out."""
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "subject", "session_id"),
    [
        ({}, "alice", "08a5019c"),
        ({"sid": None}, "alice", None),
        ({"sub": None}, None, "08a5019c"),
        ({"aud": ["client"]}, "alice", "08a5019c"),
        ({"events": {LOGOUT_EVENT: {}, "https://example.com/other": {}}}, "alice", "08a5019c"),
        ({"unknown": 1}, "alice", "08a5019c"),
    ],
)
@pytest.mark.parametrize(
    "header", [{"typ": "logout+jwt"}, {"typ": "application/logout+jwt"}, {"typ": "JWT"}, {}], ids=str
)
def test_what_is_accepted(signers, changes, subject, session_id, header):
    """One that names a session, a user or both, whatever an older OP calls its type."""
    signer = signers["ES256"]
    found = validate_logout_token(signer.sign(claims_with(**changes), **header), signer.key_set, expectations(), NOW)
    assert (found.subject, found.session_id, found.token_id) == (subject, session_id, "bWJq")
    assert (found.issued_at, found.good_until) == (NOW, NOW + 120 + 60)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": "https://other.example"}, IdTokenCheck.BAD_ISSUER),
        ({"iss": None}, IdTokenCheck.MISSING_ISSUER),
        ({"aud": "another"}, IdTokenCheck.BAD_AUDIENCE),
        ({"aud": ["client", "another"]}, IdTokenCheck.UNTRUSTED_AUDIENCE),
        ({"aud": None}, IdTokenCheck.MISSING_AUDIENCE),
        ({"iat": None}, IdTokenCheck.MISSING_ISSUED_AT),
        ({"iat": NOW + 3600}, IdTokenCheck.ISSUED_IN_THE_FUTURE),
        ({"exp": None}, IdTokenCheck.MISSING_EXPIRY),
        ({"exp": NOW - 3600}, IdTokenCheck.EXPIRED),
        ({"iat": NOW - MAX_AGE - 61}, IdTokenCheck.TOO_OLD),
        ({"nonce": "n"}, IdTokenCheck.FORBIDDEN_NONCE),
        ({"jti": None}, IdTokenCheck.MISSING_TOKEN_ID),
        ({"jti": ""}, IdTokenCheck.MISSING_TOKEN_ID),
        ({"jti": 7}, IdTokenCheck.BAD_CLAIM_TYPE),
        ({"jti": "j" * 256}, IdTokenCheck.BAD_CLAIM_TYPE),
        ({"sub": None, "sid": None}, IdTokenCheck.MISSING_SESSION),
        ({"sub": "", "sid": ""}, IdTokenCheck.MISSING_SESSION),
        ({"sid": ["a"]}, IdTokenCheck.BAD_CLAIM_TYPE),
        ({"events": None}, IdTokenCheck.MISSING_EVENT),
        ({"events": LOGOUT_EVENT}, IdTokenCheck.MISSING_EVENT),
        ({"events": [LOGOUT_EVENT]}, IdTokenCheck.MISSING_EVENT),
        ({"events": {}}, IdTokenCheck.MISSING_EVENT),
        ({"events": {LOGOUT_EVENT: True}}, IdTokenCheck.MISSING_EVENT),
        ({"events": {"https://example.com/other": {}}}, IdTokenCheck.MISSING_EVENT),
    ],
)
def test_what_is_refused(signers, changes, check):
    """Each claim that is missing or wrong is a reason of its own."""
    signer = signers["ES256"]
    with pytest.raises(IdTokenError) as caught:
        validate_logout_token(signer.sign(claims_with(**changes)), signer.key_set, expectations(), NOW)
    assert caught.value.check is check


def test_a_nonce_that_is_null_is_one(signers):
    """Whatever the claim nonce holds, it must not be there."""
    signer = signers["ES256"]
    with pytest.raises(IdTokenError) as caught:
        validate_logout_token(signer.sign({**CLAIMS, "nonce": None}), signer.key_set, expectations(), NOW)
    assert caught.value.check is IdTokenCheck.FORBIDDEN_NONCE


@pytest.mark.parametrize("typ", ["at+jwt", "secevent+jwt", "dpop+jwt", "id_token"])
def test_a_jwt_of_another_kind_is_refused(signers, typ):
    """A token that says that it is another kind of token is none."""
    signer = signers["ES256"]
    with pytest.raises(IdTokenError) as caught:
        validate_logout_token(signer.sign(CLAIMS, typ=typ), signer.key_set, expectations(), NOW)
    assert caught.value.check is IdTokenCheck.BAD_TYPE


def test_a_long_life_ends_early(signers):
    """Whatever exp says, a token is remembered for an hour and refused after it."""
    signer = signers["ES256"]
    token = signer.sign(claims_with(exp=NOW + 10**9))
    assert validate_logout_token(token, signer.key_set, expectations(), NOW).good_until == NOW + MAX_AGE + 60
    with pytest.raises(IdTokenError, match="too_old"):
        validate_logout_token(token, signer.key_set, expectations(), NOW + MAX_AGE + 60)


async def test_the_keys_are_the_ops(op, client, signers):
    """The keys are fetched where the OP publishes them; another key is refused, in the words of a logout token."""
    metadata = ProviderMetadata(issuer="https://op.example", jwks_uri=op.base + "/jwks")
    op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    found = await check_logout_token(client, metadata, signers["ES256"].sign(CLAIMS), expectations())
    assert found.session_id == "08a5019c"
    with pytest.raises(LogoutTokenError) as caught:
        await check_logout_token(client, metadata, signers["EdDSA"].sign(CLAIMS), expectations("EdDSA"))
    assert caught.value.check is IdTokenCheck.KEY_NOT_FOUND
    with pytest.raises(OpMetadataMissing):
        await check_logout_token(client, ProviderMetadata(issuer="https://op.example"), "x.y.z", expectations())


async def test_an_hmac_needs_no_keys(client, signers):
    """A client that registered an HMAC gets its logout tokens with it as well."""
    expected = expectations("HS256", client_secret=SECRET)
    metadata = ProviderMetadata(issuer="https://op.example")
    assert (await check_logout_token(client, metadata, signers["HS256"].sign(CLAIMS), expected)).subject == "alice"
