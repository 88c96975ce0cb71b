"""The main job at an OpenID provider that we did not write: the certified `oidc-provider`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conftest import StartServer
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.python2 import NO_PYTHON27, STEPS, find_python27, oxdpython_login
from tests.integration.real_provider import callback_params, log_in, log_out, real_provider

pytestmark = pytest.mark.node


@pytest.mark.parametrize("options", [{}, {"pkceRequired": True}, {"rotateRegistrationAccessToken": True}], ids=str)
async def test_a_whole_login(server: ServerProcess, options: dict[str, Any]) -> None:
    """Register, log in through its pages, tokens, userinfo, refresh, logout, update, remove."""
    async with real_provider(**options) as op:
        rp = await register(server, op.issuer, client_name="First name")
        tokens = await rp.log_in()
        user = await rp.ok("get_user_info", access_token=tokens["access_token"])
        assert user["claims"]["sub"] == tokens["id_token_claims"]["sub"]
        fresh = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
        assert fresh["access_token"] != tokens["access_token"]
        logout = await rp.ok("get_logout_uri", state="see-you")
        assert await log_out(logout["uri"]) == f"{LOGOUT_URI}?state=see-you"
        await rp.ok("update_site", client_name="Second name")
        await rp.ok("update_site", contacts=["ops@example.org"])
        stored = await rp.stored()
        assert (stored["client_name"], stored["contacts"]) == ("Second name", ["ops@example.org"])
        assert (await rp.log_in())["id_token_claims"]["sub"] == tokens["id_token_claims"]["sub"]
        await rp.ok("remove_site")


async def test_signing_keys_change_between_two_logins(server: ServerProcess) -> None:
    """A key that the server has not seen yet is fetched, and the login succeeds."""
    async with real_provider() as op:
        rp = await register(server, op.issuer)
        await rp.log_in()
        await op.rotate_keys()
        assert (await rp.log_in())["id_token"]


async def test_the_old_python_library(start_server: StartServer) -> None:
    """The library oxdpython, unchanged, does a whole login on Python 2.7."""
    python27 = find_python27()
    if python27 is None:
        pytest.skip(NO_PYTHON27)

    async def follow(url: str) -> dict[str, str]:
        params = callback_params(await log_in(url))
        return {"code": params["code"], "state": params["state"]}

    async with real_provider() as op, start_server() as server:
        results = await oxdpython_login(
            python27,
            port=server.port,
            op_host=op.issuer,
            redirect_uri=REDIRECT_URI,
            post_logout_redirect_uri=LOGOUT_URI,
            follow=follow,
        )
        assert tuple(results) == STEPS
        assert results["get_user_info"]["sub"] == results["get_tokens_by_code"]["id_token_claims"]["sub"]
        assert results["get_user_info_again"] == results["get_user_info"]
        assert await log_out(results["get_logout_uri"]) == LOGOUT_URI
