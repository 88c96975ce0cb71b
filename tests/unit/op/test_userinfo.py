"""The userinfo endpoint, with JSON and with signed answers."""

import msgspec
import pytest
from msgspec.structs import replace

from oxd_server.op.answer import Answer
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import MalformedToken, OpErrorResponse, OpInvalidResponse, OpMetadataMissing
from oxd_server.op.jose import KeySet
from oxd_server.op.jwe import Encryption, decrypt_token, encrypt_token
from oxd_server.op.userinfo import get_userinfo, process_userinfo, userinfo_expectations

CLAIMS = {"sub": "user", "name": "A User", "address": {"locality": "Z"}}
JWT = {"content-type": "application/jwt"}


def metadata(op, **more):
    return ProviderMetadata(issuer=op.base, userinfo_endpoint=op.base + "/me", jwks_uri=op.base + "/jwks", **more)


def expected(op, **changes):
    return userinfo_expectations(metadata(op), **{"client_id": "client", "leeway": 60.0, **changes})


async def test_json_userinfo(op, client):
    """The access token goes in the header, and the claims come back as they are."""
    op.on("GET", "/me", CLAIMS)
    assert await get_userinfo(client, metadata(op), "at", expected(op, subject="user")) == CLAIMS
    assert op.requests[0].headers["authorization"] == "Bearer at"


@pytest.mark.parametrize("subject", ["somebody", "USER", "use", ""])
async def test_another_sub_is_refused(op, client, subject):
    """Userinfo for another user than that of the id_token is not used."""
    op.on("GET", "/me", {**CLAIMS, "sub": subject or None})
    with pytest.raises(OpInvalidResponse, match="sub"):
        await get_userinfo(client, metadata(op), "at", expected(op, subject="user"))


@pytest.mark.parametrize(("sub", "type_name"), [(7, "a number"), (["user"], "a list"), (True, "true or false")])
async def test_sub_of_another_type_is_refused(op, client, sub, type_name):
    """A sub that is no text is refused, and told as what it is."""
    op.on("GET", "/me", {**CLAIMS, "sub": sub})
    with pytest.raises(OpInvalidResponse, match=f"the sub is not a text but {type_name}"):
        await get_userinfo(client, metadata(op), "at", expected(op, subject="7"))


async def test_an_error_with_status_200(op, client):
    """An error in place of claims keeps the OP's words."""
    op.on("GET", "/me", {"error": "invalid_auth", "ok": False})
    with pytest.raises(OpErrorResponse) as caught:
        await get_userinfo(client, metadata(op), "at", expected(op))
    assert caught.value.oauth_error == "invalid_auth"


@pytest.mark.parametrize("sub", [None, ""])
async def test_missing_sub_is_refused(op, client, sub):
    """Userinfo without a sub is refused, whoever is expected."""
    op.on("GET", "/me", {**CLAIMS, "sub": sub})
    with pytest.raises(OpInvalidResponse, match="missing"):
        await get_userinfo(client, metadata(op), "at", expected(op))


async def test_refusal_of_the_op(op, client):
    """An expired access token is the OP's error, not an empty answer."""
    op.on("GET", "/me", body=b"", status=401, headers={"www-authenticate": 'Bearer error="invalid_token"'})
    with pytest.raises(OpErrorResponse) as caught:
        await get_userinfo(client, metadata(op), "at", expected(op))
    assert (caught.value.status, caught.value.oauth_error) == (401, "invalid_token")


async def test_no_endpoint_and_no_token(op, client):
    """Without an endpoint, or with a token that is none, nothing is sent."""
    with pytest.raises(OpMetadataMissing, match="userinfo_endpoint"):
        await get_userinfo(client, ProviderMetadata(issuer="https://op"), "at", expected(op))
    with pytest.raises(MalformedToken):
        await get_userinfo(client, metadata(op), "a\r\nb", expected(op))
    assert op.requests == []


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_signed_userinfo(op, client, signers, alg):
    """Signed userinfo is verified with the OP's keys."""
    claims = {**CLAIMS, "iss": op.base, "aud": "client"}
    op.on("GET", "/me", body=signers[alg].sign(claims).encode(), headers=JWT)
    op.on("GET", "/jwks", {"keys": [signers[alg].jwk]})
    wanted = expected(op, signed_response_alg=alg, subject="user")
    assert await get_userinfo(client, metadata(op), "at", wanted) == claims


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", "application/octet-stream"])
@pytest.mark.parametrize("quote", [b"", b'"'])
async def test_signed_userinfo_of_another_content_type(op, client, signers, content_type, quote):
    """A JWT is one whatever it is sent as, also as a JSON text; whether it was registered or not, it is verified."""
    signed = signers["RS256"].sign(CLAIMS).encode()
    op.on("GET", "/me", body=quote + signed + quote, headers={"content-type": content_type})
    op.on("GET", "/me", body=quote + signed[:-4] + b"AAAA" + quote, headers={"content-type": content_type})
    op.on("GET", "/jwks", {"keys": [signers["RS256"].jwk]})
    assert await get_userinfo(client, metadata(op), "at", expected(op, signed_response_alg="RS256")) == CLAIMS
    with pytest.raises(OpInvalidResponse, match="bad_signature"):
        await get_userinfo(client, metadata(op), "at", expected(op))


async def test_json_that_calls_itself_a_jwt(op, client):
    """JSON that is sent as application/jwt is JSON."""
    op.on("GET", "/me", {"sub": "user"}, headers=JWT)
    assert await get_userinfo(client, metadata(op), "at", expected(op)) == {"sub": "user"}


async def test_encrypted_userinfo_is_told_as_such(op, client):
    """An encrypted JWT cannot be read here, and the error says so."""
    op.on("GET", "/me", body=b"e30.a.b.c.d", headers=JWT)
    op.on("GET", "/jwks", {"keys": []})
    with pytest.raises(OpInvalidResponse, match="encrypted"):
        await get_userinfo(client, metadata(op), "at", expected(op))


async def test_encrypted_userinfo(op, client):
    """What is encrypted may be the claims alone; where encryption was registered, nothing else is taken."""
    how = Encryption("dir", "A128GCM")
    encrypted = encrypt_token(msgspec.json.encode(CLAIMS).decode(), how, KeySet(), "secret")
    assert encrypted is not None
    op.on("GET", "/me", body=encrypted.encode(), headers=JWT)
    op.on("GET", "/me", {"error": "invalid_token"}, status=401)
    op.on("GET", "/jwks", {"keys": []})
    wanted = expected(op, subject="user", decrypt=lambda token: decrypt_token(token, how, (), "secret"))
    assert await get_userinfo(client, metadata(op), "at", wanted) == CLAIMS
    with pytest.raises(OpErrorResponse):
        await get_userinfo(client, metadata(op), "at", wanted)
    signed_too = replace(wanted, must_be_signed=True)
    op.forget()
    op.on("GET", "/me", body=encrypted.encode(), headers=JWT)
    with pytest.raises(OpInvalidResponse, match="not signed"):
        await get_userinfo(client, metadata(op), "at", signed_too)
    op.forget()
    op.on("GET", "/me", CLAIMS)
    with pytest.raises(OpInvalidResponse, match="malformed"):
        await get_userinfo(client, metadata(op), "at", wanted)


async def test_signed_userinfo_with_the_client_secret(op, client, signers):
    """An HMAC is accepted from an OP whose client registered it, without asking for keys."""
    op.on("GET", "/me", body=signers["HS256"].sign(CLAIMS).encode() + b"\n", headers=JWT)
    wanted = expected(op, signed_response_alg="HS256", client_secret="client-secret-" * 5)
    assert await get_userinfo(client, metadata(op), "at", wanted) == CLAIMS
    assert len(op.requests) == 1


async def test_signed_userinfo_with_a_rotated_key(op, client, make_signer):
    """A key that is not in the kept set is fetched."""
    old, new = make_signer("old"), make_signer("new")
    op.on("GET", "/me", body=new.sign(CLAIMS).encode(), headers=JWT)
    op.on("GET", "/jwks", {"keys": [old.jwk]})
    op.on("GET", "/jwks", {"keys": [new.jwk]})
    wanted = expected(op, signed_response_alg="ES256")
    assert await get_userinfo(client, metadata(op), "at", wanted) == CLAIMS


@pytest.mark.parametrize(
    "change",
    [{"iss": "https://evil"}, {"aud": "other"}, {"aud": ["client", "other"]}, {"exp": 1}, {"sub": None}, {"sub": "x"}],
)
async def test_signed_userinfo_that_is_refused(op, client, signers, change):
    """Signed userinfo of another issuer, for another client, expired or about another user is refused."""
    op.on("GET", "/me", body=signers["ES256"].sign({**CLAIMS, **change}).encode(), headers=JWT)
    op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    with pytest.raises(OpInvalidResponse):
        await get_userinfo(client, metadata(op), "at", expected(op, signed_response_alg="ES256", subject="user"))


@pytest.mark.parametrize("alg", ["ES256", "HS256"])
async def test_forged_userinfo_is_refused(op, client, make_signer, signers, alg):
    """A signature that does not hold is refused, with the reason."""
    forged = make_signer("kid-ES256").sign(CLAIMS)
    op.on("GET", "/me", body=forged.encode(), headers=JWT)
    op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    reason = "bad_signature" if alg == "ES256" else "algorithm_not_allowed"
    with pytest.raises(OpInvalidResponse, match=reason):
        await get_userinfo(client, metadata(op), "at", expected(op, signed_response_alg=alg))


async def test_unsigned_userinfo_where_signed_is_registered(op, client):
    """A client that registered signed userinfo does not accept plain JSON."""
    op.on("GET", "/me", CLAIMS)
    with pytest.raises(OpInvalidResponse, match="not signed"):
        await get_userinfo(client, metadata(op), "at", expected(op, signed_response_alg="RS256"))


async def test_algorithms_where_none_is_registered(op):
    """Without a registered algorithm those that the OP publishes for userinfo count, else those for id_tokens."""
    both = metadata(
        op, userinfo_signing_alg_values_supported=("ES256", "none"), id_token_signing_alg_values_supported=("RS256",)
    )
    assert userinfo_expectations(both, client_id="c", leeway=0).algorithms == {"ES256"}
    assert userinfo_expectations(metadata(op), client_id="c", leeway=0).algorithms == {"RS256"}


async def test_answer_is_checked_without_a_network(op, signers):
    """The check of an answer needs no connection."""
    signed = Answer(200, JWT, signers["ES256"].sign(CLAIMS).encode(), "op", "userinfo")
    wanted = expected(op, signed_response_alg="ES256", subject="user")
    assert process_userinfo(signed, wanted, signers["ES256"].key_set, 0) == CLAIMS
    with pytest.raises(OpInvalidResponse, match="key_not_found"):
        process_userinfo(signed, wanted, KeySet(), 0)
    plain = Answer(200, {}, msgspec.json.encode(CLAIMS), "op", "userinfo")
    assert process_userinfo(plain, expected(op), KeySet(), 0) == CLAIMS


@pytest.mark.parametrize(("leeway", "accepted"), [(60.0, True), (5.0, False), (0.0, False)])
async def test_the_leeway_is_the_configured_one(op, client, signers, leeway, accepted):
    """Signed userinfo that expired 30 seconds ago is good as long as clocks may differ by more."""
    claims = {**CLAIMS, "exp": int(client.clock()) - 30}
    op.on("GET", "/me", body=signers["ES256"].sign(claims).encode(), headers=JWT)
    op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    wanted = expected(op, signed_response_alg="ES256", leeway=leeway)
    if accepted:
        assert (await get_userinfo(client, metadata(op), "at", wanted))["sub"] == "user"
        return
    with pytest.raises(OpInvalidResponse, match="expired"):
        await get_userinfo(client, metadata(op), "at", wanted)
