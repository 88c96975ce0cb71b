"""Pushing authorization requests: what is sent, what comes back, and that nothing is sent twice."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oxd_server.op.client_auth import ClientCredentials, assertion_audience
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import OpErrorResponse, OpInvalidResponse, OpMetadataMissing, OpUnreachable
from oxd_server.op.pushed_authorization import push_authorization_request
from oxd_server.op.settings import OpSettings

CREDENTIALS = ClientCredentials(client_id="c", client_secret="s" * 40, method="client_secret_post")
URI = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"


def metadata(op, **more):
    return ProviderMetadata(issuer=op.base, pushed_authorization_request_endpoint=f"{op.base}/par", **more)


async def test_the_request_is_pushed_as_the_client(op, client):
    """The parameters and the client's authentication go in one form; the request_uri comes back."""
    op.on("POST", "/par", {"request_uri": URI, "expires_in": 60}, status=201)
    assert await push_authorization_request(client, metadata(op), CREDENTIALS, {"scope": "openid"}) == URI
    (request,) = op.requests
    assert request.form == {"scope": "openid", "client_id": "c", "client_secret": "s" * 40}


async def test_an_op_without_the_endpoint(op, client):
    """There is nowhere to push to, and nothing is sent."""
    with pytest.raises(OpMetadataMissing, match="pushed_authorization_request_endpoint"):
        await push_authorization_request(client, ProviderMetadata(issuer=op.base), CREDENTIALS, {})
    assert op.requests == []


@pytest.mark.parametrize("status", [400, 429, 200])
async def test_the_ops_own_words(op, client, status):
    """An error keeps what the OP says, and the request is not sent again."""
    op.on("POST", "/par", {"error": "invalid_request", "error_description": "no"}, status=status)
    with pytest.raises(OpErrorResponse) as caught:
        await push_authorization_request(client, metadata(op), CREDENTIALS, {})
    assert (caught.value.oauth_error, caught.value.status, len(op.requests)) == ("invalid_request", status, 1)


@pytest.mark.parametrize(
    "answer", [{}, {"request_uri": ""}, {"request_uri": 7}, {"request_uri": "a b"}, {"request_uri": "x" * 2001}]
)
async def test_answers_without_a_request_uri(op, client, answer):
    """What cannot stand in a URL is no request_uri."""
    op.on("POST", "/par", answer, status=201)
    with pytest.raises(OpInvalidResponse, match="request_uri"):
        await push_authorization_request(client, metadata(op), CREDENTIALS, {})


async def test_a_broken_connection_is_not_tried_again(op, client):
    """The OP may have the request already: it is not pushed twice."""

    async def hang_up(stream):
        await stream.aclose()

    op.raw("POST", "/par", hang_up)
    with pytest.raises(OpUnreachable):
        await push_authorization_request(client, metadata(op), CREDENTIALS, {})
    assert len(op.requests) == 1


@pytest.mark.parametrize(
    ("settings", "audience"),
    [({}, ""), ({"assertion_audience": "token_endpoint"}, "/token"), ({"fapi_enabled": True}, "")],
)
async def test_assertions_are_for_the_issuer(op, settings, audience):
    """RFC 9126 section 2 names the issuer as the audience there, unless the operator knows better."""
    known = metadata(op, token_endpoint=f"{op.base}/token", settings=OpSettings(**settings))
    assert assertion_audience(known, f"{op.base}/par") == op.base + audience
    strict = replace(known, require_pushed_authorization_requests=True)
    assert assertion_audience(strict, f"{op.base}/token") == op.base + audience
    assert assertion_audience(known, f"{op.base}/introspect") == op.base + (
        "" if "fapi_enabled" in settings else "/token"
    )
