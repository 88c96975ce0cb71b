"""How a case gets to the one command that it is about: each flow returns that command and its params."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio

from oxd_server.sandbox import RunningSandbox
from oxd_server.sandbox.provider.client_authentication import jwt_payload
from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.provider.logout_token import issue_logout_token
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, SCOPES, Rp, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import log_in

Command = tuple[str, dict[str, Any]]
HYBRID = {"response_types": ["code id_token"], "grant_types": ["authorization_code", "implicit"]}
HYBRID_WITH_TOKEN = {**HYBRID, "response_types": ["code id_token token"]}


@dataclass
class Rig:
    """A server, an OP of the case's own, and what the site is registered with.

    `rp` is the site, once there is one. `login` is how a login gets to its tokens there, by a plain code by default.
    """

    server: ServerProcess
    folder: Path
    op: RunningSandbox
    site: Mapping[str, Any] = field(default_factory=dict)
    rp: Rp | None = None
    login: Callable[[Rig], Awaitable[Command]] | None = None

    async def registered(self) -> Rp:
        """Return the site, registered the first time that it is asked for."""
        if self.rp is None:
            self.rp = await register(self.server, self.op.issuer, **self.site)
        return self.rp

    async def authorize(self) -> dict[str, str]:
        """Log a person in; return the parameters of the redirect, be they in its query or in its fragment."""
        url = (await (await self.registered()).ok("get_authorization_url"))["authorization_url"]
        parts = urlsplit(await log_in(url, "alice", "wonderland", REDIRECT_URI))
        found = parse_qs(parts.query or parts.fragment, strict_parsing=True)
        return {name: values[0] for name, values in found.items()}

    async def log_in(self) -> dict[str, Any]:
        """Do a whole login, which must succeed; return the tokens."""
        rp = await self.registered()
        command, params = await (self.login or by_code)(self)
        return await rp.ok(command, **params)


async def by_code(rig: Rig) -> Command:
    """The code of a redirect is turned into tokens."""
    redirect = await rig.authorize()
    return "get_tokens_by_code", {"code": redirect["code"], "state": redirect["state"]}


async def by_code_with_iss(rig: Rig) -> Command:
    """The same, and the application passes the redirect's `iss` on."""
    redirect = await rig.authorize()
    return "get_tokens_by_code", {name: redirect[name] for name in ("code", "state", "iss")}


async def by_all_that_came(rig: Rig) -> Command:
    """The application passes on what the redirect brings of code, state and `iss`."""
    redirect = await rig.authorize()
    return "get_tokens_by_code", {name: redirect[name] for name in ("code", "state", "iss") if name in redirect}


async def by_signed_response(rig: Rig) -> Command:
    """The redirect brings a signed response, which the application passes on."""
    return "get_tokens_by_code", {"response": (await rig.authorize())["response"]}


async def by_code_of_signed_response(rig: Rig) -> Command:
    """The application, or somebody in its place, takes code and state out of a signed response."""
    claims = jwt_payload((await rig.authorize())["response"])
    return "get_tokens_by_code", {"code": claims["code"], "state": claims["state"]}


async def front_channel(rig: Rig) -> Command:
    """The application has what the redirect of a hybrid flow brought validated."""
    redirect = await rig.authorize()
    return "validate", {name: redirect[name] for name in ("code", "state", "id_token")}


async def front_channel_with_token(rig: Rig) -> Command:
    """The same, with an access token that came in the redirect."""
    redirect = await rig.authorize()
    return "validate", {name: redirect[name] for name in ("code", "state", "id_token", "access_token")}


async def userinfo(rig: Rig) -> Command:
    """The access token of a login is used at the userinfo endpoint."""
    return "get_user_info", {"access_token": (await rig.log_in())["access_token"]}


async def refresh(rig: Rig) -> Command:
    """The refresh token of a login is used, and the OP answers with an id_token as well."""
    return "get_access_token_by_refresh_token", {"refresh_token": (await rig.log_in())["refresh_token"]}


async def token_and_id_token(rig: Rig) -> Command:
    """The application asks whether access token and id_token of a login belong together."""
    tokens = await rig.log_in()
    return "access_token_status", {name: tokens[name] for name in ("access_token", "id_token")}


async def token_and_id_token_of_an_old_login(rig: Rig) -> Command:
    """The same, after somebody else has logged in."""
    command = await token_and_id_token(rig)
    await rig.log_in()
    return command


async def after_rotation(rig: Rig) -> Command:
    """Between two logins the OP changes its keys."""
    await rig.log_in()
    rig.op.state.keys = await new_keys()
    return await by_code(rig)


async def rotation_before_signing(rig: Rig) -> Command:
    """In the middle of a login, after the code is there, the OP changes its keys and signs with the new one."""
    await rig.log_in()
    command = await by_code(rig)
    rig.op.state.next_keys = await new_keys()
    return command


async def registration(rig: Rig) -> Command:
    """The site is registered, and that is what the case is about."""
    return "register_site", {
        "op_host": rig.op.issuer,
        "authorization_redirect_uri": REDIRECT_URI,
        "post_logout_redirect_uri": LOGOUT_URI,
        "scope": SCOPES,
        **rig.site,
    }


async def authorization_url(rig: Rig) -> Command:
    """The application asks where to send its user."""
    await rig.registered()
    return "get_authorization_url", {}


async def logout(rig: Rig) -> Command:
    """A user who is logged in wants to log out."""
    await rig.log_in()
    return "get_logout_uri", {"state": "the-state"}


async def logout_without_state(rig: Rig) -> Command:
    """The same, and the application sends no state."""
    await rig.log_in()
    return "get_logout_uri", {}


async def device_login(rig: Rig) -> Command:
    """A login on another device has been started elsewhere, and nobody has decided; the application asks."""
    started = await (await rig.registered()).ok("start_device_login")
    other = rig.op.state.device_logins.pop(started["device_code"])
    assert other is not None
    elsewhere = f"{started['device_code']} of another server"
    rig.op.state.device_logins.put(elsewhere, other, 600)
    other.asked_at = 0
    return "poll_device_login", {"device_code": elsewhere}


async def backchannel_logout(rig: Rig) -> Command:
    """The OP sends a logout token for a session."""
    claims = (await rig.log_in())["id_token_claims"]
    assert rig.rp is not None
    client = rig.op.state.clients.get((await rig.rp.stored())["client_id"])
    assert client is not None
    token = issue_logout_token(rig.op.state, client, claims["sub"][0], claims["sid"][0])
    return "backchannel_logout", {"logout_token": token}


async def backchannel_logout_again(rig: Rig) -> Command:
    """Somebody sends a logout token that the OP has sent before."""
    command, params = await backchannel_logout(rig)
    assert rig.rp is not None
    await rig.rp.ok(command, **params)
    return command, params


async def new_keys() -> SigningKeys:
    """Keys that nobody has seen yet."""
    return await trio.to_thread.run_sync(SigningKeys.generate, 2)
