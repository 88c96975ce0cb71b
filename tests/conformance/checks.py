"""A closer look at answers that were accepted: each check raises ``AssertionError`` where something is amiss."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from oxd_server.sandbox.provider import routes
from tests.conformance.flows import Rig
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, Rp
from tests.integration.real_provider import callback_params, log_out


async def userinfo_too(rig: Rig, tokens: dict[str, Any]) -> None:
    """The access token gets the userinfo of the same user, the id_token is valid, and it is kept for the logout."""
    assert rig.rp is not None
    user = await rig.rp.ok("get_user_info", access_token=tokens["access_token"])
    assert user["claims"]["sub"] == tokens["id_token_claims"]["sub"]
    assert (await rig.rp.ok("id_token_status", id_token=tokens["id_token"]))["active"] is True
    hint = (await rig.rp.ok("get_logout_uri"))["uri"]
    assert tokens["id_token"] in hint, "the id_token is not kept for the logout"


async def userinfo_of_refreshed(rig: Rig, tokens: dict[str, Any]) -> None:
    """The user of the refreshed tokens is known: the userinfo of another one is refused."""
    assert rig.rp is not None
    rig.op.state.faults = {"userinfo_bad_sub"}
    refused = await rig.rp.error("get_user_info", access_token=tokens["access_token"])
    assert refused["details"]["check"] == "bad_subject"


async def signed_as_registered(rig: Rig, tokens: dict[str, Any]) -> None:
    """The site asks for the algorithm of the case, and the rest works as well."""
    assert rig.rp is not None
    stored = await rig.rp.stored()
    assert stored["id_token_signed_response_alg"] == rig.site["id_token_signed_response_alg"]
    await userinfo_too(rig, tokens)


async def authenticated_as_registered(rig: Rig, tokens: dict[str, Any]) -> None:
    """The client authenticates by the method of the case, for a refresh too: the OP accepts no other."""
    assert rig.rp is not None
    client = rig.op.state.clients.get((await rig.rp.stored())["client_id"])
    assert client is not None
    assert client.auth_method == rig.site["client_token_endpoint_auth_method"]
    await rig.rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])


async def code_works_too(rig: Rig, data: dict[str, Any]) -> None:
    """What came in the redirect was validated and nothing is answered; the code is still good for a login."""
    assert data == {}
    await userinfo_too(rig, await rig.log_in())


async def claims_of_all_scopes(rig: Rig, data: dict[str, Any]) -> None:
    """There is a claim of every scope that was asked for."""
    claims = data["claims"]
    for name in ("name", "family_name", "birthdate", "email", "email_verified", "address", "phone_number"):
        assert claims[name], name


async def belongs_together(rig: Rig, data: dict[str, Any]) -> None:
    """Access token and id_token are told to be of the same login."""
    assert data["active"] is True


async def discovered_endpoint(rig: Rig, data: dict[str, Any]) -> None:
    """The login begins where the OP's metadata say."""
    endpoint = routes.metadata(rig.op.state)["authorization_endpoint"]
    assert data["authorization_url"].startswith(f"{endpoint}?"), data


async def is_registered(rig: Rig, data: dict[str, Any]) -> None:
    """The OP knows the client, with the secret that was kept and with everything that the site asked for."""
    stored = await Rp(rig.server, data["oxd_id"]).stored()
    client = rig.op.state.clients.get(stored["client_id"])
    assert client is not None, "the OP does not know the client"
    assert client.secret == stored["client_secret"]
    assert client.metadata["redirect_uris"] == [REDIRECT_URI]
    assert client.metadata["post_logout_redirect_uris"] == [LOGOUT_URI]
    assert client.metadata["client_name"] == rig.site["client_name"]
    assert client.metadata["contacts"] == rig.site["contacts"]


async def state_comes_back(rig: Rig, data: dict[str, Any]) -> None:
    """After the logout the application gets the state that it gave."""
    assert callback_params(await log_out(data["uri"])) == {"state": "the-state"}


async def another_state_is_seen(rig: Rig, data: dict[str, Any]) -> None:
    """The state that comes back after the logout is not the one that the application gave."""
    assert "state=the-state" in data["uri"]
    assert callback_params(await log_out(data["uri"]))["state"] != "the-state", "the application cannot tell"


async def no_state_comes_back(rig: Rig, data: dict[str, Any]) -> None:
    """Without a state there is none in the request, and none comes back."""
    assert "state=" not in data["uri"]
    assert await log_out(data["uri"]) == LOGOUT_URI


def waits(seconds: int) -> Callable[[Rig, dict[str, Any]], Awaitable[None]]:
    """Return the check that the user has not decided, and that so many seconds lie between two questions."""

    async def check(rig: Rig, data: dict[str, Any]) -> None:
        assert (data["status"], data["interval"]) == ("pending", seconds)

    return check


async def bound(rig: Rig, tokens: dict[str, Any]) -> None:
    """The access token is bound to a key, and works at the userinfo endpoint."""
    token = rig.op.state.live_access_token(tokens["access_token"])
    assert token is not None
    assert token.thumbprint is not None, "the token is bound to no key"
    await userinfo_too(rig, tokens)


async def bound_too(rig: Rig, tokens: dict[str, Any]) -> None:
    """The new access token is bound to the key of its login."""
    token = rig.op.state.live_access_token(tokens["access_token"])
    assert token is not None
    assert token.thumbprint == token.grant.thumbprint is not None


async def claims_of_alice(rig: Rig, data: dict[str, Any]) -> None:
    """The userinfo is that of a user."""
    assert data["claims"]["sub"]


async def session_has_ended(rig: Rig, data: dict[str, Any]) -> None:
    """Nothing is answered, and the session of the id_token is over."""
    assert data == {}
    assert rig.rp is not None
    hint = parse_qs(urlsplit((await rig.rp.ok("get_logout_uri"))["uri"]).query)["id_token_hint"][0]
    assert (await rig.rp.ok("session_status", id_token=hint))["active"] is False
