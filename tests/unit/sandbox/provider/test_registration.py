"""Registration and its management, over HTTP."""

from typing import Any

import pytest

from tests.unit.sandbox.conftest import REDIRECT_URI, Op


def bearer(client: dict[str, Any]) -> dict[str, str]:
    """The header that manages a client."""
    return {"Authorization": f"Bearer {client['registration_access_token']}"}


async def test_defaults_are_filled_in(op: Op) -> None:
    """A minimal registration gets the defaults of RFC 7591 and a secret of its own."""
    answer = await op.http.post("/register", json={"redirect_uris": [REDIRECT_URI]})
    client = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert client["grant_types"] == ["authorization_code"]
    assert client["response_types"] == ["code"]
    assert client["token_endpoint_auth_method"] == "client_secret_basic"
    assert client["client_secret_expires_at"] == 0
    assert client["client_id_issued_at"] == int(op.time)
    assert len(client["client_secret"]) >= 43
    assert "openid" in client["scope"].split()


async def test_known_metadata_comes_back_and_unknown_is_dropped(op: Op) -> None:
    """What the provider knows is stored as sent, what it does not know is left out of the answer."""
    metadata = {
        "client_name": "Träger <b>",
        "contacts": ["a@example.org"],
        "application_type": "native",
        "jwks_uri": "https://client.example/jwks",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "id_token_signed_response_alg": "ES256",
        "userinfo_signed_response_alg": "RS256",
        "scope": "openid profile",
        "default_max_age": 60,
        "require_auth_time": True,
        "sector_identifier_uri": "https://client.example/sector",
    }
    client = await op.register(**metadata, surprise="x", logo_uri=None)
    assert {name: client[name] for name in metadata} == metadata
    assert "surprise" not in client
    assert "logo_uri" not in client


async def test_unknown_scopes_are_dropped(op: Op) -> None:
    """The client is told which scopes it really got."""
    client = await op.register(scope="openid what profile openid")
    assert client["scope"] == "openid profile"


async def test_public_clients_have_no_secret(op: Op) -> None:
    """A client that authenticates with nothing is given nothing."""
    client = await op.register(token_endpoint_auth_method="none")
    assert "client_secret" not in client
    assert "client_secret_expires_at" not in client


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": ["/relative"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a/#fragment"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a/\r\nX: y"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://[broken"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https:///nohost"]}, "invalid_redirect_uri"),
        ({"redirect_uris": "https://a/"}, "invalid_client_metadata"),
        ({"redirect_uris": [1]}, "invalid_client_metadata"),
        ({"redirect_uris": ["https://a/" + "x" * 3000]}, "invalid_client_metadata"),
        ({"contacts": ["x"] * 60}, "invalid_client_metadata"),
        ({"client_name": 1}, "invalid_client_metadata"),
        ({"post_logout_redirect_uris": ["javascript:alert(1)"]}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"application_type": "mobile"}, "invalid_client_metadata"),
        ({"subject_type": "pairwise"}, "invalid_client_metadata"),
        ({"id_token_signed_response_alg": "none"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": ["none"]}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "none", "grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "none", "id_token_signed_response_alg": "HS256"}, "invalid_client_metadata"),
        ({"jwks": {"keys": []}, "jwks_uri": "https://a/"}, "invalid_client_metadata"),
        ({"jwks": []}, "invalid_client_metadata"),
    ],
)
async def test_bad_metadata_is_refused(op: Op, metadata: dict[str, Any], error: str) -> None:
    """Metadata that cannot be honoured registers nobody."""
    answer = await op.http.post("/register", json={"redirect_uris": [REDIRECT_URI]} | metadata)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert len(op.state.clients) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b"\xff"])
async def test_bodies_that_are_no_object_are_refused(op: Op, body: bytes) -> None:
    """Anything but a JSON object is an error, not a crash."""
    answer = await op.http.post("/register", content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


async def test_read_returns_what_was_registered(op: Op) -> None:
    """The registration_client_uri gives the same information again."""
    client = await op.register()
    answer = await op.http.get(client["registration_client_uri"], headers=bearer(client))
    assert answer.status_code == 200
    assert answer.json() == client


async def test_update_replaces_the_whole_metadata(op: Op) -> None:
    """What an update leaves out is gone afterwards (RFC 7592 2.2)."""
    client = await op.register(contacts=["a@example.org"], scope="openid")
    body = {"client_id": client["client_id"], "redirect_uris": [REDIRECT_URI], "client_name": "New"}
    answer = await op.http.put(client["registration_client_uri"], json=body, headers=bearer(client))
    updated = answer.json()
    assert answer.status_code == 200
    assert updated["client_name"] == "New"
    assert "contacts" not in updated
    assert updated["grant_types"] == ["authorization_code"]
    assert updated["client_secret"] == client["client_secret"]
    assert (await op.http.get(client["registration_client_uri"], headers=bearer(client))).json() == updated


async def test_update_to_a_confidential_client_makes_a_secret(op: Op) -> None:
    """A public client that becomes confidential gets its secret in the answer."""
    client = await op.register(token_endpoint_auth_method="none")
    body = {"client_id": client["client_id"], "redirect_uris": [REDIRECT_URI]}
    answer = await op.http.put(client["registration_client_uri"], json=body, headers=bearer(client))
    assert answer.json()["client_secret"]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another"},
        {"client_id": None},
        {"client_secret": "another"},
        {"registration_access_token": "x"},
        {"registration_client_uri": "x"},
        {"client_id_issued_at": 1},
        {"client_secret_expires_at": 1},
        {"redirect_uris": []},
    ],
)
async def test_bad_updates_change_nothing(op: Op, changes: dict[str, Any]) -> None:
    """An update that breaks RFC 7592 2.2 is refused and the client stays as it was."""
    client = await op.register()
    body = {"client_id": client["client_id"], "redirect_uris": [REDIRECT_URI]} | changes
    answer = await op.http.put(client["registration_client_uri"], json=body, headers=bearer(client))
    assert answer.status_code == 400
    assert (await op.http.get(client["registration_client_uri"], headers=bearer(client))).json() == client


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_management_needs_the_clients_own_token(op: Op, method: str) -> None:
    """No token, a wrong one, another client's, and an unknown client: all 401, and nothing changes."""
    client, other = await op.register(), await op.register()
    uri = client["registration_client_uri"]
    cases = [(uri, {}), (uri, {"Authorization": "Bearer x"}), (uri, bearer(other)), (uri + "x", bearer(client))]
    for address, headers in cases:
        answer = await op.http.request(method, address, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (await op.http.get(uri, headers=bearer(client))).json() == client


async def test_deleted_clients_are_gone_with_their_tokens(op: Op) -> None:
    """After a delete, management answers 401 and the client's access tokens are dead."""
    client = await op.register()
    tokens = await op.tokens(client)
    assert (await op.http.delete(client["registration_client_uri"], headers=bearer(client))).status_code == 204
    assert (await op.http.get(client["registration_client_uri"], headers=bearer(client))).status_code == 401
    userinfo = await op.http.get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert userinfo.status_code == 401
