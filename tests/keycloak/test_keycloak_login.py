"""Logins at Keycloak: clients that it registered for us, users who fill in its forms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from oxd_server.op.key_store import new_key_store
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, SCOPES, Rp, register
from tests.integration.oxd_process import ServerProcess, running_server
from tests.integration.real_provider import callback_params
from tests.integration.user_agent import UserAgent, user_agent
from tests.keycloak.keycloak import Keycloak

pytestmark = pytest.mark.keycloak


@dataclass(frozen=True)
class Login:
    """The server, and the realm."""

    server: ServerProcess
    issuer: str

    async def register(self, **params: Any) -> Rp:
        """Register a site whose client Keycloak registers."""
        return await register(self.server, self.issuer, **params)


@pytest.fixture
async def login(keycloak: Keycloak, tmp_path: Path) -> AsyncIterator[Login]:
    """A server with a key store, to which an administrator of Keycloak gave an initial access token."""
    issuer, keys = keycloak.issuer("login"), tmp_path / "keys.json"
    new_key_store(keys)
    config = {
        "op_initial_access_tokens": {issuer: keycloak.initial_access_token("login")},
        "crypt_provider_key_store_path": str(keys),
    }
    async with running_server(tmp_path, config) as server:
        yield Login(server, issuer)


@dataclass(frozen=True)
class Person:
    """A user with a browser."""

    agent: UserAgent
    name: str

    async def authorize(self, rp: Rp, **params: Any) -> str:
        """Log in at Keycloak; return the URL that it redirects to."""
        url = (await rp.ok("get_authorization_url", **params))["authorization_url"]
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["scope"].split() == SCOPES
        answers = {"username": self.name, "password": "wonderland"}
        return await self.agent.visit(url, until=REDIRECT_URI, answers=answers)

    async def log_in(self, rp: Rp) -> dict[str, Any]:
        """Log in; return the tokens."""
        callback = callback_params(await self.authorize(rp))
        return await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])

    async def log_out(self, rp: Rp, **params: Any) -> dict[str, str]:
        """Log out, by Keycloak's page if it asks; return the parameters that the logout was asked for with."""
        uri = (await rp.ok("get_logout_uri", **params))["uri"]
        assert await self.agent.visit(uri, until=LOGOUT_URI, answers={}) == f"{LOGOUT_URI}?state=after"
        return {name: values[0] for name, values in parse_qs(urlsplit(uri).query).items()}

    async def is_logged_in(self, rp: Rp) -> bool:
        """Whether Keycloak lets the user in without asking."""
        url = (await rp.ok("get_authorization_url", prompt="none"))["authorization_url"]
        callback = callback_params(await self.agent.visit(url, until=REDIRECT_URI, answers={}))
        assert callback.get("error") in (None, "login_required"), callback
        return "code" in callback


@asynccontextmanager
async def person(name: str) -> AsyncIterator[Person]:
    """A user who has not logged in yet."""
    async with user_agent() as agent:
        yield Person(agent, name)


async def use(rp: Rp, tokens: dict[str, Any], email: str) -> None:
    """Get the claims and refresh; the new access token is good for the claims too."""
    assert 0 < tokens["expires_in"] <= 300
    claims = (await rp.ok("get_user_info", access_token=tokens["access_token"]))["claims"]
    assert (claims["email"], claims["sub"]) == ([email], tokens["id_token_claims"]["sub"])
    refreshed = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
    assert refreshed["access_token"] != tokens["access_token"]
    again = await rp.ok("get_user_info", access_token=refreshed["access_token"])
    assert again["claims"] == claims


async def test_login_refresh_and_logout_with_hint(login: Login) -> None:
    """A site that asks for nothing special logs its user in, refreshes, and logs out by the id_token."""
    rp = await login.register()
    async with person("alice") as alice:
        await use(rp, await alice.log_in(rp), "alice@example.com")
        assert await alice.is_logged_in(rp)
        assert "id_token_hint" in await alice.log_out(rp, state="after")
        assert not await alice.is_logged_in(rp)


async def test_logout_without_hint(login: Login) -> None:
    """Where the site has had two users no id_token is named: Keycloak knows the client, and asks the user."""
    rp = await login.register()
    async with person("alice") as alice, person("bob") as bob:
        await use(rp, await alice.log_in(rp), "alice@example.com")
        await use(rp, await bob.log_in(rp), "bob@example.com")
        asked = await alice.log_out(rp, state="after")
        assert "id_token_hint" not in asked
        assert asked["client_id"] == (await rp.stored())["client_id"]
        assert not await alice.is_logged_in(rp)
        assert await bob.is_logged_in(rp)


async def test_hybrid(login: Login) -> None:
    """With `code id_token` code and id_token come in the fragment; the code has the tokens of the same user."""
    rp = await login.register(response_types=["code", "id_token"])
    async with person("alice") as alice:
        redirected = await alice.authorize(rp)
        assert urlsplit(redirected).query == ""
        callback = callback_params(redirected.replace("#", "?", 1))
        tokens = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
        assert callback["id_token"].count(".") == 2
        await use(rp, tokens, "alice@example.com")
        assert "id_token_hint" in await alice.log_out(rp, state="after")


async def test_private_key_jwt(login: Login) -> None:
    """The client authenticates with the key of the server's key store, whose public half Keycloak was given."""
    rp = await login.register(client_token_endpoint_auth_method="private_key_jwt")
    assert (await rp.stored())["token_endpoint_auth_method"] == "private_key_jwt"
    async with person("alice") as alice:
        await use(rp, await alice.log_in(rp), "alice@example.com")


async def test_update_and_removal(login: Login) -> None:
    """An update keeps what the site asks for, and a removal is fine; a registration without the token is refused."""
    rp = await login.register()
    await rp.ok("update_site", client_name="Looking-glass")
    async with person("alice") as alice:
        await use(rp, await alice.log_in(rp), "alice@example.com")
    await rp.ok("remove_site")
    refused = await login.server.call(
        "register_site",
        op_host=login.issuer,
        authorization_redirect_uri=REDIRECT_URI,
        scope=SCOPES,
        initial_access_token="made-up",
    )
    assert refused["data"]["error"] == "http_status_401", refused
