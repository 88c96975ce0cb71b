"""Registration of a client and its management."""

import pytest

from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import MalformedToken, OpErrorResponse, OpHostRefused, OpInvalidResponse, OpMetadataMissing
from oxd_server.op.registration import (
    delete_client,
    read_client,
    register_client,
    update_client,
)

ANSWER = {
    "client_id": "client",
    "client_secret": "secret",
    "registration_access_token": "rat",
    "registration_client_uri": "https://op/register/client",
    "client_id_issued_at": 1_800_000_000,
    "client_secret_expires_at": 0,
    "redirect_uris": ["https://app/cb"],
    "something_new": {"x": 1},
}
CLIENT = {"redirect_uris": ["https://app/cb"], "client_name": "App", "trusted_client": False}


def metadata(op):
    return ProviderMetadata(issuer=op.base, registration_endpoint=op.base + "/register")


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("token", [None, "initial"])
async def test_registration(op, client, status, token):
    """What is asked for is sent as it is, and the answer is read."""
    op.on("POST", "/register", ANSWER, status=status)
    registered = await register_client(client, metadata(op), CLIENT, initial_access_token=token)
    assert op.requests[0].json == {
        "redirect_uris": ["https://app/cb"],
        "client_name": "App",
        "trusted_client": False,
    }
    assert op.requests[0].headers.get("authorization") == (f"Bearer {token}" if token else None)
    assert (registered.client_id, registered.client_secret) == ("client", "secret")
    assert registered.registration_access_token == "rat"
    assert registered.registration_client_uri == "https://op/register/client"
    assert (registered.client_id_issued_at, registered.client_secret_expires_at) == (1_800_000_000, 0)
    assert registered.metadata == {"redirect_uris": ["https://app/cb"], "something_new": {"x": 1}}


async def test_credentials_in_digits(op, client):
    """What an OP writes as numbers is as good as their digits; 202 is as good as 201 where a client is answered."""
    op.on("POST", "/register", {**ANSWER, "client_id": 12345, "client_secret": 678}, status=202)
    registered = await register_client(client, metadata(op), CLIENT)
    assert (registered.client_id, registered.client_secret) == ("12345", "678")


async def test_update_that_is_answered_without_the_client_id(op, client):
    """The request named the client; but an error in such an answer is one."""
    op.on("PUT", "/register/client", {"client_name": "New"})
    op.on("PUT", "/register/client", {"error": "invalid_token"})
    update = (client, metadata(op), "client", op.base + "/register/client", "rat")
    registered = await update_client(*update, known={}, changes={"client_name": "New"})
    assert (registered.client_id, registered.metadata) == ("client", {"client_name": "New"})
    with pytest.raises(OpErrorResponse):
        await update_client(*update, known={}, changes={})


async def test_registration_with_the_least_answer(op, client):
    """A client id alone is an answer."""
    op.on("POST", "/register", {"client_id": "client"}, status=201)
    registered = await register_client(client, metadata(op), CLIENT)
    assert (registered.client_secret, registered.client_secret_expires_at) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"client_secret": {}},
        {"registration_access_token": []},
        {"registration_client_uri": "/register/x"},
        {"registration_client_uri": "file:///x"},
        {"client_id_issued_at": 1_800_000_000_000},
        {"client_id_issued_at": "2030-05-01T10:00:00Z"},
        {"client_secret_expires_at": -1},
        {"client_secret_expires_at": False},
        {"redirect_uris": 7},
    ],
)
async def test_odd_members(op, client, change):
    """A member that makes no sense is not there; the client is, and is not deleted again."""
    op.on("POST", "/register", {**ANSWER, **change}, status=201)
    registered = await register_client(client, metadata(op), CLIENT)
    assert registered.client_id == "client"
    ((name, value),) = change.items()
    assert getattr(registered, name, None) is None
    assert registered.metadata.get("redirect_uris") == (value if name == "redirect_uris" else ["https://app/cb"])
    assert [request.method for request in op.requests] == ["POST"]


async def test_a_client_id_that_is_a_number(op, client):
    """A number is as good as its digits."""
    op.on("POST", "/register", {**ANSWER, "client_id": 12345}, status=201)
    assert (await register_client(client, metadata(op), CLIENT)).client_id == "12345"


@pytest.mark.parametrize("client_id", [None, "", True, ["client"]])
async def test_a_client_that_nobody_could_use_is_deleted(op, client, client_id):
    """Without a client id there is no client; what the OP made is deleted with what it answered."""
    url = op.on("DELETE", "/register/client", body=b"", status=204)
    op.on("POST", "/register", {**ANSWER, "client_id": client_id, "registration_client_uri": url}, status=201)
    with pytest.raises(OpInvalidResponse, match="client_id"):
        await register_client(client, metadata(op), CLIENT)
    assert [request.method for request in op.requests] == ["POST", "DELETE"]
    assert op.requests[1].headers["authorization"] == "Bearer rat"


async def test_an_error_in_a_200(op, client):
    """The OP's own words reach the caller, whatever the status."""
    op.on("POST", "/register", {"error": "invalid_redirect_uri", "error_description": "not allowed"}, status=200)
    with pytest.raises(OpErrorResponse) as caught:
        await register_client(client, metadata(op), CLIENT)
    assert caught.value.oauth_error == "invalid_redirect_uri"


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (201, b" ")])
async def test_an_update_that_is_answered_without_a_body(op, client, status, body):
    """The client is then as it was sent, and its credentials are as they were."""
    url = op.on("PUT", "/register/client", body=body, status=status)
    registered = await update_client(client, metadata(op), "client", url, "rat", known=ANSWER, changes=CLIENT)
    assert registered.metadata == {**CLIENT, "something_new": {"x": 1}}
    assert (registered.client_id, registered.client_secret) == ("client", None)


async def test_refused_registration(op, client):
    """The OP's reason reaches the caller."""
    op.on("POST", "/register", {"error": "invalid_redirect_uri"}, status=400)
    with pytest.raises(OpErrorResponse) as caught:
        await register_client(client, metadata(op), CLIENT)
    assert caught.value.oauth_error == "invalid_redirect_uri"


async def test_no_registration_endpoint(client):
    """Without a registration endpoint the error says what is missing."""
    with pytest.raises(OpMetadataMissing, match="registration_endpoint"):
        await register_client(client, ProviderMetadata(issuer="https://op"), CLIENT)


async def test_read(op, client):
    """The client is read with its registration access token."""
    url = op.on("GET", "/register/client", {**ANSWER, "registration_access_token": None})
    registered = await read_client(client, metadata(op), "client", url, "rat")
    assert op.requests[0].headers["authorization"] == "Bearer rat"
    assert registered.registration_access_token is None


async def test_update_sends_the_whole(op, client):
    """An update sends what the OP knows with the changes applied and the client id, and none of the credentials."""
    url = op.on("PUT", "/register/client", {**ANSWER, "registration_access_token": "rotated"})
    registered = await update_client(
        client,
        metadata(op),
        "client",
        url,
        "rat",
        known=ANSWER,
        changes={"client_name": "New", "contacts": ["a@b"]},
    )
    assert op.requests[0].json == {
        "client_id": "client",
        "client_name": "New",
        "contacts": ["a@b"],
        "redirect_uris": ["https://app/cb"],
        "something_new": {"x": 1},
    }
    assert registered.registration_access_token == "rotated"


async def test_update_of_the_expiry_of_the_secret(op, client):
    """The expiry of the secret is sent where the caller names it."""
    url = op.on("PUT", "/register/client", ANSWER)
    await update_client(
        client, metadata(op), "client", url, "rat", known={}, changes=CLIENT, client_secret_expires_at=1_900_000_000
    )
    assert op.requests[0].json["client_secret_expires_at"] == 1_900_000_000


async def test_answer_about_another_client(op, client):
    """An answer about another client is refused."""
    url = op.on("PUT", "/register/client", {**ANSWER, "client_id": "other"})
    with pytest.raises(OpInvalidResponse, match="another client_id"):
        await update_client(client, metadata(op), "client", url, "rat", known={}, changes=CLIENT)


@pytest.mark.parametrize("status", [204, 200])
async def test_deletion(op, client, status):
    """The client is deleted with its registration access token."""
    url = op.on("DELETE", "/register/client", body=b"", status=status)
    await delete_client(client, metadata(op), url, "rat")
    assert op.requests[0].headers["authorization"] == "Bearer rat"


async def test_refused_deletion(op, client):
    """A refusal is the OP's error; a token that is none is not sent."""
    url = op.on("DELETE", "/register/client", {"error": "invalid_token"}, status=401)
    with pytest.raises(OpErrorResponse):
        await delete_client(client, metadata(op), url, "rat")
    with pytest.raises(MalformedToken):
        await delete_client(client, metadata(op), url, "r\nat")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/register/client", "http://127.0.0.2/", "https://elsewhere.example/register", "file:///x",
        "nonsense", "http://169.254.169.254/latest",
    ],
)  # fmt: skip
async def test_client_is_managed_at_its_op_only(op, client, url):
    """A registration_client_uri elsewhere than at the issuer or the registration endpoint is never called."""
    with pytest.raises(OpHostRefused):
        await delete_client(client, metadata(op), url, "rat")
    with pytest.raises(OpHostRefused):
        await read_client(client, metadata(op), "client", url, "rat")
    with pytest.raises(OpHostRefused):
        await update_client(client, metadata(op), "client", url, "rat", known={}, changes=CLIENT)


async def test_what_an_answer_adds_is_bounded(op, client):
    """Of an answer's members those are kept that there is room for, the small ones first."""
    large = {"filler": "y" * 900_000, "second": "z" * 70_000}
    op.on("POST", "/register", {**ANSWER, **large}, status=201)
    registered = await register_client(client, metadata(op), CLIENT)
    assert registered.client_id == "client"
    assert registered.metadata["redirect_uris"] == ANSWER["redirect_uris"]
    assert not set(large) & set(registered.metadata)


@pytest.mark.parametrize("name", ["client_id", "client_secret", "registration_access_token", "registration_client_uri"])
async def test_credential_that_is_too_long(op, client, name):
    """A credential of more than 8192 characters is no credential."""
    op.on("POST", "/register", {**ANSWER, name: "https://op/" + "y" * 8192}, status=201)
    with pytest.raises(OpInvalidResponse, match="longer than"):
        await register_client(client, metadata(op), CLIENT)


async def test_credentials_are_not_shown(op, client):
    """The repr of an answer shows neither the secret nor the token."""
    op.on("POST", "/register", {**ANSWER, "software_statement": "statement"}, status=201)
    shown = repr(await register_client(client, metadata(op), CLIENT))
    assert not [secret for secret in ("secret'", "'rat'", "statement") if secret in shown]
