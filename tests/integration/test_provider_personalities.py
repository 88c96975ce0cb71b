"""Providers that people have, each with its habits: one whole login, refresh and logout at every one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.bendable_op import REFRESH_TOKEN, bendable_op
from tests.integration.logins import data_of
from tests.integration.oxd_process import running_server
from tests.integration.personalities import PERSONALITIES, REDIRECT_URI, get_claims, log_out, site_params


@pytest.mark.parametrize("name", PERSONALITIES)
async def test_login_refresh_and_logout(tmp_path: Path, name: str) -> None:
    """At every provider a user logs in, claims and a new access token can be had, and the user logs out."""
    async with (
        bendable_op(PERSONALITIES[name]) as op,
        running_server(tmp_path, op.filled(op.personality.settings)) as server,
    ):
        oxd_id = data_of(await server.call("register_site", **site_params(op)))["oxd_id"]
        url = data_of(await server.call("get_authorization_url", oxd_id=oxd_id, **op.personality.login))
        redirect = op.authorize(url["authorization_url"])
        assert op.asked["redirect_uri"] == REDIRECT_URI
        assert (op.asked["response_type"], op.asked["scope"]) == ("code", "openid profile")
        assert op.asked.get("response_mode") == op.personality.site.get("response_mode")
        tokens = data_of(await server.call("get_tokens_by_code", oxd_id=oxd_id, **redirect))
        assert tokens["id_token_claims"]["sub"] == ["user-1"]
        assert tokens["expires_in"] == -1 or tokens["expires_in"] > 0
        await get_claims(server, op, oxd_id, tokens["access_token"])
        refreshed = data_of(
            await server.call("get_access_token_by_refresh_token", oxd_id=oxd_id, refresh_token=REFRESH_TOKEN)
        )
        assert refreshed["access_token"] == "access-2"
        await log_out(server, op, oxd_id)
        assert op.refused == []
        used = [line["exception"] for line in server.log_lines() if "exception" in line]
        assert used == op.personality.settings.get("op_exceptions", {}).get("{op}", [])
