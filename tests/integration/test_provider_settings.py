"""What can be set for one provider or one site: each setting does what it says, and is off where nobody set it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.integration.bendable_op import CLIENT_ID, CLIENT_SECRET, BendableOp, Personality, bendable_op
from tests.integration.logins import Rp, data_of
from tests.integration.oxd_process import ServerProcess, running_server

SITE = {"authorization_redirect_uri": "https://app.example/cb", "scope": ["openid"]}
LOCALES = {"ui_locales": ["de", "fr"], "claims_locales": ["de"]}
HABITS = Personality(
    path="/tenant",
    issuer="{origin}/issuer",
    registers=True,
    claims={"aud": [CLIENT_ID, "client-2"], "azp": CLIENT_ID},
    settings={
        "send_locales": True,
        "op_initial_access_tokens": {"{op}": "initial-of-the-operator"},
        "op_issuers": {"{op}": "{origin}/issuer"},
        "op_settings": {"{op}": {"trusted_audiences": ["client-2"]}},
    },
)


async def register(server: ServerProcess, op: BendableOp, **params: Any) -> Rp:
    """Register a site at the provider."""
    answer = data_of(await server.call("register_site", op_host=op.url, **SITE, **params))
    return Rp(server, answer["oxd_id"])


async def callback(rp: Rp, op: BendableOp, **params: Any) -> dict[str, str]:
    """Log a user in; return what the redirect brings."""
    return op.authorize((await rp.ok("get_authorization_url", **params))["authorization_url"])


async def test_what_is_set_is_done(tmp_path: Path) -> None:
    """Locales, response mode, initial access token, another issuer and further audiences, as operator and site say."""
    async with bendable_op(HABITS) as op, running_server(tmp_path, op.filled(HABITS.settings)) as server:
        rp = await register(server, op, response_mode="form_post", **LOCALES)
        assert op.shown["/register"] == "Bearer initial-of-the-operator"
        redirect = await callback(rp, op)
        assert (op.asked["ui_locales"], op.asked["claims_locales"]) == ("de fr", "de")
        assert op.asked["response_mode"] == "form_post"
        assert (await rp.ok("get_tokens_by_code", **redirect))["id_token_claims"]["aud"] == [CLIENT_ID, "client-2"]
        await register(server, op, initial_access_token="initial-of-the-caller")
        assert op.shown["/register"] == "Bearer initial-of-the-caller"


async def test_what_is_not_set_is_not_done(tmp_path: Path) -> None:
    """No locale is sent, no token is shown, issuer and audience are exact, and errors name the settings."""
    async with bendable_op(HABITS) as op, running_server(tmp_path) as server:
        refused = await server.call("register_site", op_host=op.url, **SITE)
        assert "op_issuers" in refused["data"]["error_description"]
        op.personality = replace(HABITS, issuer="{op}")
        rp = await register(server, op, **LOCALES)
        assert op.shown["/register"] is None
        redirect = await callback(rp, op)
        assert not op.asked.keys() & {"ui_locales", "claims_locales", "response_mode"}
        refused = await server.call("get_tokens_by_code", oxd_id=rp.oxd_id, **redirect)
        assert "trusted_audiences" in refused["data"]["error_description"]
        await callback(rp, op, ui_locales=["it"], claims_locales=["it", "de"])
        assert (op.asked["ui_locales"], op.asked["claims_locales"]) == ("it", "it de")


async def test_a_new_secret_for_a_client_that_was_brought_along(tmp_path: Path) -> None:
    """When the provider has given the client another secret, `update_site` tells it, and logins go on."""
    async with bendable_op(Personality()) as op, running_server(tmp_path) as server:
        rp = await register(server, op, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        await rp.ok("get_tokens_by_code", **await callback(rp, op))
        op.personality = Personality(client_secret="another-secret-of-client-1")
        await rp.error("get_tokens_by_code", **await callback(rp, op))
        assert op.refused == ["client_secret_basic: another client"]
        await rp.ok("update_site", client_secret="another-secret-of-client-1", client_secret_expires_at=4102444800000)
        await rp.ok("get_tokens_by_code", **await callback(rp, op))
        assert "another-secret-of-client-1" not in server.log_text()
