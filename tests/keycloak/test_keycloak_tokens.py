"""Logouts that arrive, bound tokens and logins on another device, at Keycloak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.integration.https_client import Front, running_front
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, Rp, register
from tests.integration.real_provider import callback_params
from tests.integration.user_agent import UserAgent, user_agent
from tests.keycloak.keycloak import Keycloak
from tests.redis_server import free_port

pytestmark = pytest.mark.keycloak

ANSWERS = {"username": "alice", "password": "wonderland"}
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
SECONDS = 30


@pytest.fixture
async def front(keycloak: Keycloak, tmp_path: Path) -> AsyncIterator[Front]:
    """A server with its front, which may register clients."""
    issuer, port = keycloak.issuer("login"), free_port()
    config = {"op_initial_access_tokens": {issuer: keycloak.initial_access_token("login")}}
    async with running_front(tmp_path, config, port=port, url=f"https://localhost:{port}") as running:
        yield running


async def log_in(rp: Rp, person: UserAgent) -> dict[str, str]:
    """Log alice in with her own browser; return the tokens."""
    url = (await rp.ok("get_authorization_url"))["authorization_url"]
    callback = callback_params(await person.visit(url, until=REDIRECT_URI, answers=ANSWERS))
    tokens = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
    return {name: tokens[name] for name in ("id_token", "access_token", "refresh_token")}


async def test_a_logout_arrives(front: Front, keycloak: Keycloak) -> None:
    """Alice logs out at Keycloak, and the application is told; a token that is revoked has ended."""
    wanted = {"backchannel_logout": True, "backchannel_logout_session_required": True}
    rp = await register(front.server, keycloak.issuer("login"), **wanted)
    async with user_agent() as person:
        tokens = await log_in(rp, person)
        assert (await rp.ok("session_status", id_token=tokens["id_token"]))["active"] is True
        await rp.ok("revoke_token", token=tokens["access_token"])
        assert (await rp.error("get_user_info", access_token=tokens["access_token"]))["error"] == "http_status_401"
        uri = (await rp.ok("get_logout_uri", id_token_hint=tokens["id_token"]))["uri"]
        await person.visit(uri, until=LOGOUT_URI, answers=ANSWERS)
    assert (await rp.ok("wait_for_logout", id_token=tokens["id_token"], timeout=SECONDS))["active"] is False


async def test_bound_tokens(front: Front, keycloak: Keycloak) -> None:
    """Keycloak binds the tokens to the server's key, refreshed ones as well."""
    rp = await register(front.server, keycloak.issuer("login"), dpop_bound_access_tokens=True)
    async with user_agent() as person:
        tokens = await log_in(rp, person)
    assert (await rp.ok("introspect_access_token", access_token=tokens["access_token"]))["cnf"]["jkt"]
    fresh = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
    user = await rp.ok("get_user_info", access_token=fresh["access_token"])
    assert user["claims"]["email"] == ["alice@example.com"]


async def test_another_device_and_the_site_itself(front: Front, keycloak: Keycloak) -> None:
    """A login with a code that is entered elsewhere, and a token for the client."""
    grants = ["authorization_code", "client_credentials", DEVICE]
    rp = await register(front.server, keycloak.issuer("login"), grant_types=grants)
    assert (await rp.ok("get_site_token"))["token_type"] == "Bearer"
    keycloak.allow_device_login("login", (await rp.stored())["client_id"])
    started = await rp.ok("start_device_login", scope=["openid", "email"])
    done = f"{keycloak.issuer('login')}/device/status"
    async with user_agent() as person:
        await person.visit(started["verification_uri_complete"], until=done, answers={**ANSWERS, "accept": "Yes"})
    code = {"device_code": started["device_code"]}
    with trio.fail_after(SECONDS):
        while (polled := await rp.ok("poll_device_login", **code))["status"] == "pending":
            await trio.sleep(polled["interval"])
    user = await rp.ok("get_user_info", access_token=polled["access_token"])
    assert user["claims"]["email"] == ["alice@example.com"]
