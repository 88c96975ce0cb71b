"""Logouts that arrive, bound tokens and logins on another device, at Keycloak."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.integration.https_client import Front, running_front
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, Rp, register
from tests.integration.oxd_process import running_server
from tests.integration.real_provider import callback_params
from tests.integration.tls_op import write_certificate
from tests.integration.user_agent import UserAgent, user_agent
from tests.keycloak.keycloak import Keycloak
from tests.redis_server import free_port

pytestmark = pytest.mark.keycloak

ANSWERS = {"username": "alice", "password": "wonderland"}
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
SECONDS = 30


@pytest.fixture
async def front(keycloak: Keycloak, tmp_path: Path) -> AsyncIterator[Front]:
    """A server with its front, which may register clients."""
    issuer, port = keycloak.issuer("login"), free_port()
    config = {"op_initial_access_tokens": {issuer: keycloak.initial_access_token("login")}}
    async with running_front(tmp_path, config, port=port, url=f"https://localhost:{port}") as running:
        yield running


async def redirect_of(rp: Rp, person: UserAgent) -> dict[str, str]:
    """Have alice log in with her own browser; return the code and the state that she comes back with."""
    url = (await rp.ok("get_authorization_url"))["authorization_url"]
    callback = callback_params(await person.visit(url, until=REDIRECT_URI, answers=ANSWERS))
    return {name: callback[name] for name in ("code", "state")}


async def log_in(rp: Rp, person: UserAgent) -> dict[str, str]:
    """Log alice in with her own browser; return the tokens."""
    tokens = await rp.ok("get_tokens_by_code", **await redirect_of(rp, person))
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


async def test_mutual_tls(keycloak: Keycloak, tmp_path: Path) -> None:
    """Keycloak knows the client by its certificate's subject and binds the tokens to it; another subject is refused."""
    on_tls = keycloak.on_tls()
    issuer = on_tls.issuer("login")
    shown = write_certificate(tmp_path / "client.pem", keycloak.authority, "the-client")
    config = {
        "op_initial_access_tokens": {issuer: on_tls.initial_access_token("login")},
        "trust_store_path": str(keycloak.trust_store),
        "mtls_client_key_store_path": str(tmp_path / "client.pem"),
    }
    by_certificate = {
        "client_token_endpoint_auth_method": "tls_client_auth",
        "tls_client_certificate_bound_access_tokens": True,
    }
    trust = ssl.create_default_context(cafile=keycloak.trust_store)
    async with running_server(tmp_path, config) as server, user_agent(trust) as person:
        rp = await register(server, issuer, **by_certificate)
        tokens = await log_in(rp, person)
        fresh = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
        token = {"access_token": fresh["access_token"]}
        assert (await rp.ok("get_user_info", **token))["claims"]["email"] == ["alice@example.com"]
        told = await rp.ok("introspect_access_token", **token, client_certificate=shown)
        assert told["active"] is True
        other = write_certificate(tmp_path / "other.pem", keycloak.authority, "the-client")
        refused = await rp.error("introspect_access_token", **token, client_certificate=other)
        assert refused["error"] == "invalid_client_certificate"
        foreign = await register(server, issuer, **by_certificate, tls_client_auth_subject_dn="CN=another")
        refused = await foreign.error("get_tokens_by_code", **await redirect_of(foreign, person))
        assert refused["details"]["error"] == "invalid_client"


async def test_one_token_for_another(front: Front, keycloak: Keycloak) -> None:
    """The token of a login, exchanged for one that is for another client; without the permission it is refused."""
    issuer = keycloak.issuer("login")
    rp = await register(front.server, issuer, grant_types=["authorization_code", "refresh_token", EXCHANGE])
    backend = await register(front.server, issuer)
    client_id, audience = [(await site.stored())["client_id"] for site in (rp, backend)]
    async with user_agent() as person:
        tokens = await log_in(rp, person)
    wanted = {"subject_token": tokens["access_token"], "audience": [audience], "requested_token_type": "access_token"}
    assert (await rp.error("exchange_token", **wanted))["details"]["error"] == "access_denied"
    keycloak.allow_exchange("login", client_id, audience)
    answer = await rp.ok("exchange_token", **wanted)
    assert answer["issued_token_type"].endswith(":access_token")
    ours, theirs = [
        await backend.ok("introspect_access_token", access_token=token)
        for token in (tokens["access_token"], answer["access_token"])
    ]
    assert theirs["active"] is True
    assert (theirs["sub"], theirs["client_id"]) == (ours["sub"], client_id)
    assert audience in theirs["aud"]
