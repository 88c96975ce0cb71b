"""What old applications know nothing of, at Keycloak: pushed and signed requests, signed and encrypted answers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from oxd_server.op.key_store import new_key_store
from tests.integration.logins import REDIRECT_URI, Rp, register
from tests.integration.oxd_process import ServerProcess, running_server
from tests.integration.real_provider import callback_params, log_in
from tests.keycloak.keycloak import Keycloak

pytestmark = pytest.mark.keycloak


@pytest.fixture
async def server(keycloak: Keycloak, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server with a key store, which may register clients."""
    new_key_store(tmp_path / "keys.json")
    config = {
        "op_initial_access_tokens": {keycloak.issuer("login"): keycloak.initial_access_token("login")},
        "crypt_provider_key_store_path": str(tmp_path / "keys.json"),
    }
    async with running_server(tmp_path, config) as running:
        yield running


async def authorize(rp: Rp) -> tuple[dict[str, str], dict[str, str]]:
    """Log alice in; return the parameters of the authorization URL and those of the redirect."""
    url = (await rp.ok("get_authorization_url"))["authorization_url"]
    callback = await log_in(url, "alice", "wonderland", REDIRECT_URI)
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}, callback_params(callback)


async def use(rp: Rp, tokens: dict[str, Any]) -> None:
    """Get the user's claims, and refresh."""
    user = await rp.ok("get_user_info", access_token=tokens["access_token"])
    assert user["claims"]["email"] == ["alice@example.com"]
    await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])


async def test_pushed_requests(server: ServerProcess, keycloak: Keycloak) -> None:
    """The URL has client_id and request_uri alone; Keycloak registers that it is so for the client."""
    rp = await register(server, keycloak.issuer("login"), require_pushed_authorization_requests=True)
    asked, callback = await authorize(rp)
    assert asked.keys() == {"client_id", "request_uri"}
    await use(rp, await rp.ok("get_tokens_by_code", **{name: callback[name] for name in ("code", "state", "iss")}))


async def test_message_signing(server: ServerProcess, keycloak: Keycloak) -> None:
    """A signed request is pushed by a client with a key, and a signed response comes back."""
    rp = await register(
        server,
        keycloak.issuer("login"),
        client_token_endpoint_auth_method="private_key_jwt",
        client_token_endpoint_auth_signing_alg="ES256",
        require_pushed_authorization_requests=True,
        require_signed_request_object=True,
        request_object_signing_alg="ES256",
        response_mode="jwt",
        authorization_signed_response_alg="PS256",
    )
    _, callback = await authorize(rp)
    header = callback["response"].split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == "PS256"
    await use(rp, await rp.ok("get_tokens_by_code", response=callback["response"]))


async def test_signed_requests_in_the_url(server: ServerProcess, keycloak: Keycloak) -> None:
    """Keycloak takes a request object by value, signed with the client's secret or with its key."""
    for alg in ("HS256", "PS256"):
        rp = await register(
            server, keycloak.issuer("login"), require_signed_request_object=True, request_object_signing_alg=alg
        )
        asked, callback = await authorize(rp)
        assert asked["request"].count(".") == 2
        await use(rp, await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"]))


@pytest.mark.parametrize(("alg", "enc"), [("RSA-OAEP", "A256GCM"), ("RSA-OAEP-256", "A128CBC-HS256")])
async def test_encrypted_answers(server: ServerProcess, keycloak: Keycloak, alg: str, enc: str) -> None:
    """id_token and authorization response are encrypted to the key that was registered."""
    rp = await register(
        server,
        keycloak.issuer("login"),
        response_mode="jwt",
        authorization_signed_response_alg="RS256",
        **{f"{what}_encrypted_response_alg": alg for what in ("id_token", "authorization")},
        **{f"{what}_encrypted_response_enc": enc for what in ("id_token", "authorization")},
    )
    _, callback = await authorize(rp)
    assert callback["response"].count(".") == 4
    tokens = await rp.ok("get_tokens_by_code", response=callback["response"])
    assert tokens["id_token"].count(".") == 2
    await use(rp, tokens)
