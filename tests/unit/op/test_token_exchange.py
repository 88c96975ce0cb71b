"""Token exchange: what is sent, and which answers are taken."""

import pytest

from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.dpop import load_dpop_key, new_dpop_key
from oxd_server.op.errors import OpErrorResponse, OpInvalidResponse
from oxd_server.op.token_exchange import ACCESS_TOKEN, EXCHANGE_GRANT, exchange_token, token_type_uri

CREDENTIALS = ClientCredentials(client_id="client", client_secret="secret", method="client_secret_post")
ISSUED = {"access_token": "new", "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 60}
JWT = "urn:ietf:params:oauth:token-type:jwt"


def metadata(op):
    return ProviderMetadata(issuer=op.base, token_endpoint=op.base + "/token")


@pytest.mark.parametrize(
    ("changes", "issued", "told"),
    [
        ({}, ACCESS_TOKEN, "Bearer"),
        ({"issued_token_type": JWT, "token_type": "N_A"}, JWT, "N_A"),
        ({"refresh_token": "r", "scope": "a b"}, ACCESS_TOKEN, "Bearer"),
    ],
)
async def test_what_is_taken(op, client, changes, issued, told):
    """An access token, or a token of another kind that says so (section 2.2.1)."""
    op.on("POST", "/token", {**ISSUED, **changes})
    token = await exchange_token(client, metadata(op), CREDENTIALS, {"subject_token": "old", "audience": ("a", "b")})
    assert (token.access_token, token.issued_token_type, token.token_type) == ("new", issued, told)
    assert (token.refresh_token, token.scope) == (changes.get("refresh_token"), changes.get("scope"))
    assert op.requests[0].form["grant_type"] == EXCHANGE_GRANT
    assert b"audience=a&audience=b" in op.requests[0].body


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"issued_token_type": None},
        {"issued_token_type": 7},
        {"token_type": None},
        {"token_type": "MAC"},
        {"token_type": "N_A"},
    ],
)
async def test_what_is_refused(op, client, changes):
    """A token of which nobody knows what it is, or how it is used."""
    op.on("POST", "/token", {**ISSUED, **changes})
    with pytest.raises(OpInvalidResponse):
        await exchange_token(client, metadata(op), CREDENTIALS, {"subject_token": "old"})


async def test_a_bound_client_gets_bound_tokens(op, client):
    """A site whose tokens are bound to a key takes no others."""
    bound = ClientCredentials(
        client_id="c", client_secret="s", method="client_secret_post", dpop_key=load_dpop_key(new_dpop_key(()))
    )
    op.on("POST", "/token", ISSUED)
    with pytest.raises(OpInvalidResponse, match="not DPoP"):
        await exchange_token(client, metadata(op), bound, {"subject_token": "old"})
    assert "dpop" in op.requests[0].headers


async def test_an_op_that_refuses(op, client):
    """Its words are kept."""
    op.on("POST", "/token", {"error": "invalid_target"}, status=400)
    with pytest.raises(OpErrorResponse) as caught:
        await exchange_token(client, metadata(op), CREDENTIALS, {"subject_token": "old"})
    assert caught.value.oauth_error == "invalid_target"


def test_types():
    """A type by its last word, or by its whole name."""
    assert token_type_uri("access_token") == ACCESS_TOKEN
    assert token_type_uri("https://example.org/own") == "https://example.org/own"
