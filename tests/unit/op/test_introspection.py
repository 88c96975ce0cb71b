"""Introspection of tokens."""

import pytest

from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import OpErrorResponse, OpInvalidResponse, OpMetadataMissing
from oxd_server.op.introspection import introspect_token, scopes_of

CREDENTIALS = ClientCredentials(client_id="client", client_secret="secret", method="client_secret_post")
CLIENT_FORM = {"client_id": "client", "client_secret": "secret"}


def metadata(op):
    return ProviderMetadata(issuer=op.base, introspection_endpoint=op.base + "/introspect")


async def test_introspection_as_the_client(op, client):
    """The answer is passed on with all its members."""
    body = {"active": True, "scope": "a b", "client_id": "c", "x-own": {"y": [1]}}
    op.on("POST", "/introspect", body)
    answer = await introspect_token(client, metadata(op), CREDENTIALS, "t", token_type_hint="access_token")
    assert answer == body
    assert op.requests[0].form == {"token": "t", "token_type_hint": "access_token", **CLIENT_FORM}


async def test_introspection_with_a_token(op, client):
    """Who asks may show an access token instead."""
    op.on("POST", "/introspect", {"active": False})
    assert await introspect_token(client, metadata(op), "pat", "t") == {"active": False}
    assert op.requests[0].form == {"token": "t"}
    assert op.requests[0].headers["authorization"] == "Bearer pat"


@pytest.mark.parametrize("body", [{}, {"active": "yes"}, {"active": 1}, {"active": None}])
async def test_answer_without_active_is_refused(op, client, body):
    """An answer that does not say whether the token is active is no answer."""
    op.on("POST", "/introspect", body)
    with pytest.raises(OpInvalidResponse, match="active"):
        await introspect_token(client, metadata(op), CREDENTIALS, "t")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"active": "true"}, {"active": True}),
        ({"active": "False"}, {"active": False}),
        ({"active": True, "exp": "1700000000", "iat": 1.5e9}, {"active": True, "exp": 1700000000, "iat": 1500000000}),
        ({"active": True, "exp": "2030-01-01T00:00:00Z"}, {"active": True, "exp": "2030-01-01T00:00:00Z"}),
        ({"active": True, "aud": ["a", 1], "scope": ["x"]}, {"active": True, "aud": ["a", 1], "scope": ["x"]}),
    ],
)
async def test_odd_members_of_an_answer(op, client, sent, read):
    """Truth and numbers may come as texts; every other member is passed on as it is."""
    op.on("POST", "/introspect", sent)
    assert await introspect_token(client, metadata(op), CREDENTIALS, "t") == read


async def test_refusal_with_status_200(op, client):
    """The words of a server that refuses with status 200 are kept."""
    op.on("POST", "/introspect", {"error": "invalid_client"})
    with pytest.raises(OpErrorResponse) as caught:
        await introspect_token(client, metadata(op), CREDENTIALS, "t")
    assert caught.value.oauth_error == "invalid_client"


async def test_refused_introspection(op, client):
    """The server's refusal keeps its meaning."""
    op.on("POST", "/introspect", {"error": "invalid_client"}, status=401)
    with pytest.raises(OpErrorResponse, match="401"):
        await introspect_token(client, metadata(op), CREDENTIALS, "t")


@pytest.mark.parametrize(
    ("scope", "expected"), [("a b", ["a", "b"]), (["a", 1, "b"], ["a", "b"]), (None, []), (7, []), ("", [])]
)
def test_scopes(scope, expected):
    """Scopes come as a text with spaces, or as a list."""
    assert scopes_of({"scope": scope}) == expected
    assert scopes_of({}) == []


async def test_endpoints_that_are_not_there(client):
    """Without the endpoint the error says which one is missing."""
    bare = ProviderMetadata(issuer="https://op")
    with pytest.raises(OpMetadataMissing, match="introspection_endpoint"):
        await introspect_token(client, bare, CREDENTIALS, "t")
