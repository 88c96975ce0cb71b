"""The start of a login on another device, and what polling for it brings."""

import pytest

from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.device import DEVICE_GRANT, poll_device, start_device
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import OpErrorResponse, OpInvalidResponse, OpMetadataMissing

CREDENTIALS = ClientCredentials(client_id="client", client_secret="secret", method="client_secret_post")
STARTED = {
    "device_code": "GmRhm",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://op.example/device",
    "verification_uri_complete": "https://op.example/device?user_code=WDJB-MJHT",
    "expires_in": 1800,
    "interval": 7,
}


def metadata(op):
    return ProviderMetadata(
        issuer=op.base, device_authorization_endpoint=op.base + "/device", token_endpoint=op.base + "/token"
    )


async def test_a_start(op, client):
    """The client authenticates; several values of a field stand beside each other."""
    op.on("POST", "/device", STARTED)
    started = await start_device(client, metadata(op), CREDENTIALS, {"scope": "openid", "resource": ("a:1", "a:2")})
    assert (started.device_code, started.user_code, started.expires_in, started.interval) == (
        "GmRhm", "WDJB-MJHT", 1800, 7
    )  # fmt: skip
    assert started.verification_uri_complete == STARTED["verification_uri_complete"]
    assert b"resource=a%3A1&resource=a%3A2" in op.requests[0].body
    assert op.requests[0].form["client_secret"] == "secret"


@pytest.mark.parametrize(
    ("changes", "interval", "complete"),
    [
        ({"interval": None}, 5, True),
        ({"interval": "12"}, 12, True),
        ({"interval": 10**9}, 3600, True),
        ({"verification_uri_complete": "javascript:alert(1)"}, 7, False),
        ({"verification_uri_complete": None}, 7, False),
    ],
)
async def test_what_may_be_odd(op, client, changes, interval, complete):
    """Section 3.2: without an interval it is 5 seconds; a URL that no person should be sent to is left out."""
    op.on("POST", "/device", {**STARTED, **changes})
    started = await start_device(client, metadata(op), CREDENTIALS, {"scope": "openid"})
    assert (started.interval, started.verification_uri_complete is not None) == (interval, complete)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"device_code": None}, "device_code"),
        ({"user_code": ""}, "user_code"),
        ({"verification_uri": 7}, "verification_uri"),
        ({"device_code": "x" * 2001}, "device_code"),
        ({"verification_uri": "ftp://op.example"}, "no http"),
    ],
)
async def test_what_is_refused(op, client, changes, match):
    """Without the codes and a URL for a person there is nothing to go on with."""
    op.on("POST", "/device", {**STARTED, **changes})
    with pytest.raises(OpInvalidResponse, match=match):
        await start_device(client, metadata(op), CREDENTIALS, {})


async def test_an_op_that_refuses(op, client):
    """Its words are kept, with status 200 as well; one without the endpoint is not asked."""
    op.on("POST", "/device", {"error": "invalid_scope"})
    with pytest.raises(OpErrorResponse) as caught:
        await start_device(client, metadata(op), CREDENTIALS, {})
    assert caught.value.oauth_error == "invalid_scope"
    with pytest.raises(OpMetadataMissing):
        await start_device(client, ProviderMetadata(issuer=op.base), CREDENTIALS, {})


async def test_a_poll(op, client):
    """Pending is the OP's error; then there are tokens."""
    op.on("POST", "/token", {"error": "authorization_pending"}, status=400)
    op.on("POST", "/token", {"access_token": "t", "token_type": "Bearer"})
    with pytest.raises(OpErrorResponse) as caught:
        await poll_device(client, metadata(op), CREDENTIALS, "GmRhm")
    assert caught.value.oauth_error == "authorization_pending"
    assert (await poll_device(client, metadata(op), CREDENTIALS, "GmRhm")).access_token == "t"
    assert {"grant_type": DEVICE_GRANT, "device_code": "GmRhm"}.items() <= op.requests[0].form.items()
