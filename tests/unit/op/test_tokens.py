"""The token endpoint: what each grant sends, and what of the answer is accepted."""

import base64
from typing import Any

import msgspec
import pytest

from oxd_server.op.answer import Answer
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import ClientSecretExpired, OpErrorResponse, OpInvalidResponse, OpMetadataMissing
from oxd_server.op.tokens import (
    TokenAnswer,
    exchange_code,
    process_token_answer,
    refresh_tokens,
    request_client_token,
    request_tokens,
)

CREDENTIALS = ClientCredentials(client_id="client", client_secret="secret")
TOKENS: dict[str, Any] = {
    "access_token": "at",
    "token_type": "Bearer",
    "expires_in": 300,
    "refresh_token": "rt",
    "id_token": "a.b.c",
    "scope": "openid",
}


def metadata(op):
    return ProviderMetadata(issuer=op.base, token_endpoint=op.base + "/token")


@pytest.mark.parametrize("verifier", [None, "v" * 43])
async def test_code_grant(op, client, verifier):
    """The code goes to the token endpoint with redirect URI, PKCE verifier and the client's authentication."""
    op.on("POST", "/token", TOKENS)
    tokens = await exchange_code(
        client, metadata(op), CREDENTIALS, code="c&d", redirect_uri="https://app/cb", code_verifier=verifier
    )
    assert tokens == TokenAnswer(**TOKENS)
    expected = {"grant_type": "authorization_code", "code": "c&d", "redirect_uri": "https://app/cb"}
    assert op.requests[0].form == expected | ({"code_verifier": verifier} if verifier else {})
    assert base64.b64decode(op.requests[0].headers["authorization"].removeprefix("Basic ")) == b"client:secret"


@pytest.mark.parametrize("scope", [None, "openid email"])
async def test_refresh_grant(op, client, scope):
    """The refresh token goes to the token endpoint, with the scope where one is asked for."""
    op.on("POST", "/token", {**TOKENS, "refresh_token": None})
    tokens = await refresh_tokens(client, metadata(op), CREDENTIALS, refresh_token="rt", scope=scope)
    assert tokens.refresh_token is None
    form = {"grant_type": "refresh_token", "refresh_token": "rt"}
    assert op.requests[0].form == form | ({"scope": scope} if scope else {})


@pytest.mark.parametrize("scope", [None, "uma_protection oxd"])
async def test_client_credentials_grant(op, client, scope):
    """The client asks for a token of its own."""
    op.on("POST", "/token", {"access_token": "at", "token_type": "bearer"})
    credentials = ClientCredentials(client_id="client", client_secret="secret", method="client_secret_post")
    tokens = await request_client_token(client, metadata(op), credentials, scope=scope)
    assert (tokens.access_token, tokens.expires_in, tokens.id_token) == ("at", None, None)
    form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
    assert op.requests[0].form == form | ({"scope": scope} if scope else {})


async def test_another_grant(op, client):
    """Any other grant can be sent and its answer read by who knows it."""
    op.on("POST", "/token", {"ticket": "t"}, status=403)
    answer = await request_tokens(client, metadata(op), CREDENTIALS, {"grant_type": "urn:x"}, step="RPT")
    assert (answer.status, answer.json_object(), answer.step) == (403, {"ticket": "t"}, "RPT")


async def test_error_of_the_op(op, client):
    """The OP's refusal keeps its meaning."""
    op.on("POST", "/token", {"error": "invalid_grant"}, status=400)
    with pytest.raises(OpErrorResponse) as caught:
        await exchange_code(client, metadata(op), CREDENTIALS, code="c", redirect_uri="u")
    assert (caught.value.oauth_error, caught.value.status) == ("invalid_grant", 400)


async def test_no_token_endpoint(client):
    """Without a token endpoint the error says what is missing."""
    with pytest.raises(OpMetadataMissing, match="token_endpoint"):
        await refresh_tokens(client, ProviderMetadata(issuer="https://op"), CREDENTIALS, refresh_token="rt")


async def test_expired_secret_is_not_sent(op, client):
    """With an expired client secret nothing is sent."""
    expired = ClientCredentials(client_id="client", client_secret="secret", client_secret_expires_at=1)
    with pytest.raises(ClientSecretExpired):
        await refresh_tokens(client, metadata(op), expired, refresh_token="rt")
    assert op.requests == []


def answer(body, status=200):
    return Answer(status, {}, msgspec.json.encode(body), "op.example", "token request")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (300, 300), ("300", 300), (300.0, 300), (0, 0), (None, None), (299.9, 299), ("299.9", 299), ("", None),
        ("soon", None), (-1, None), ("-1", None), (True, None), ([], None), ({}, None), ("٣", None),
        (2**31, 2**31 - 1), (9223372036854775, 2**31 - 1), (2**63, 2**31 - 1), (1e300, 2**31 - 1), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_expires_in(sent, expected):
    """The lifetime is whole seconds, of a number or of digits in a text; what is none of them is not there."""
    assert process_token_answer(answer({**TOKENS, "expires_in": sent})).expires_in == expected


@pytest.mark.parametrize(
    "change",
    [
        {"token_type": "DPoP"}, {"token_type": None}, {"token_type": 1}, {"token_type": ""}, {"access_token": 1},
    ],
)  # fmt: skip
def test_answer_that_is_refused(change):
    """An access token of another type than Bearer, or that is no text, cannot be used; the error names the member."""
    with pytest.raises(OpInvalidResponse, match=next(iter(change))):
        process_token_answer(answer({**TOKENS, **change}))


@pytest.mark.parametrize(
    ("member", "sent", "expected"),
    [
        ("refresh_token", [], None), ("refresh_token", 5, None), ("id_token", {}, None), ("id_token", "", None),
        ("scope", ["openid", "email"], "openid email"), ("scope", [], None), ("scope", 7, None),
        ("token_type", " bearer ", " bearer "), ("token_type", "BEARER", "BEARER"), ("id", ["x"], None),
    ],
)  # fmt: skip
def test_odd_members_that_the_step_does_not_need(member, sent, expected):
    """Members of other types than the specification has fail nothing: they count as what they say, or as absent."""
    assert getattr(process_token_answer(answer({**TOKENS, member: sent})), member, None) == expected


def test_a_missing_token_type_where_the_operator_allows_it():
    """An OP that never sends a token_type can be allowed to; another type than Bearer stays refused."""
    untyped = {name: value for name, value in TOKENS.items() if name != "token_type"}
    tokens = process_token_answer(answer(untyped), type_may_be_missing=True)
    assert (tokens.access_token, tokens.token_type) == ("at", None)
    with pytest.raises(OpInvalidResponse, match="op_exceptions"):
        process_token_answer(answer(untyped))
    with pytest.raises(OpInvalidResponse, match="DPoP"):
        process_token_answer(answer({**TOKENS, "token_type": "DPoP"}), type_may_be_missing=True)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"error": "bad_verification_code", "error_description": "The code is incorrect."}', "application/json"),
        (b'{"ok": false, "error": "bad_verification_code"}', "text/html; charset=utf-8"),
        (b"error=bad_verification_code&error_description=The+code", "application/x-www-form-urlencoded"),
    ],
)
def test_an_error_with_status_200(body, content_type):
    """Some OPs answer errors with 200: their words are the error, as JSON or as a form."""
    with pytest.raises(OpErrorResponse) as caught:
        process_token_answer(Answer(200, {"content-type": content_type}, body, "op", "token request"))
    assert (caught.value.status, caught.value.oauth_error) == (200, "bad_verification_code")
    assert caught.value.body_text == body.decode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"access_token": "at", "token_type": "Bearer", "expires_in": 1e400, "x": NaN}', "application/json"),
        ('{"access_token": "at", "token_type": "Bearer"}'.encode("utf-16"), "application/json"),
        ('{"access_token": "at", "token_type": "Bearer", "name": "Ü"}'.encode("latin-1"), "text/x; charset=ISO-8859-1"),
        (b'{"access_token": "at", "token_type": ["Bearer"]}\r\n\0', "application/json"),
        (b"access_token=at&token_type=bearer", "text/plain"),
    ],
)
def test_what_most_readers_understand(body, content_type):
    """Endless numbers, other encodings and a form that is called text are read; 201 is as good as 200."""
    tokens = process_token_answer(Answer(201, {"content-type": content_type}, body, "op", "token request"))
    assert (tokens.access_token, tokens.expires_in) == ("at", None)


@pytest.mark.parametrize("body", [b'{"access_token": "\\ud83d"}', b'{"a": "\xff"}', b"[1e400]", b"[" * 100_000])
def test_what_nobody_understands(body):
    """Half a character, bytes in no encoding and what is no object are no answer."""
    with pytest.raises(OpInvalidResponse, match="not a JSON object"):
        process_token_answer(Answer(200, {"content-type": "application/json"}, body, "op", "token request"))


def test_a_reason_in_other_words():
    """An answer without a token tells its reason under any name that is in use."""
    with pytest.raises(OpErrorResponse) as caught:
        process_token_answer(answer({"errcode": 40029, "errmsg": "invalid code"}))
    assert "invalid code" in caught.value.body_text


def test_tokens_in_a_form():
    """Tokens may come as a form as well; what calls itself one and is none is an invalid response."""
    form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    body = b"access_token=at&token_type=bearer&scope=user%20email&expires_in=60"
    tokens = process_token_answer(Answer(200, form, body, "op", "token request"))
    assert tokens == TokenAnswer(access_token="at", token_type="bearer", scope="user email", expires_in=60)
    for nonsense in (b"", b"\xff=1", b"&".join([b"a=1"] * 200)):
        with pytest.raises(OpInvalidResponse):
            process_token_answer(Answer(200, form, nonsense, "op", "token request"))


def test_missing_tokens_are_none():
    """What the OP did not issue is None, and an empty text is nothing."""
    assert process_token_answer(answer({})) == TokenAnswer()
    assert process_token_answer(answer({"access_token": "", "id_token": None})) == TokenAnswer()


def test_tokens_are_not_shown():
    """The repr of an answer shows no token."""
    shown = repr(TokenAnswer(access_token="secret1", refresh_token="secret2", id_token="secret3"))
    assert "secret" not in shown
