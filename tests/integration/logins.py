"""One site's life through the socket, step by step, at any OpenID provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import callback_params, log_in

REDIRECT_URI = "http://127.0.0.1:9/callback"
LOGOUT_URI = "http://127.0.0.1:9/goodbye"
SCOPES = ["openid", "profile", "email"]


def data_of(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Return an ok answer's data; an error answer fails the test and is shown."""
    assert envelope["status"] == "ok", envelope
    data: dict[str, Any] = envelope["data"]
    return data


def error_of(envelope: Mapping[str, Any]) -> str:
    """Return an error answer's code; an ok answer fails the test and is shown."""
    assert envelope["status"] == "error", envelope
    return str(envelope["data"]["error"])


@dataclass
class Rp:
    """An application with its site."""

    server: ServerProcess
    oxd_id: str

    async def ok(self, command: str, **params: Any) -> dict[str, Any]:
        """Run a command about the site that must succeed; return its data."""
        return data_of(await self.server.call(command, oxd_id=self.oxd_id, **params))

    async def error(self, command: str, **params: Any) -> dict[str, Any]:
        """Run a command about the site that must fail; return the error's data."""
        envelope = await self.server.call(command, oxd_id=self.oxd_id, **params)
        assert envelope["status"] == "error", envelope
        data: dict[str, Any] = envelope["data"]
        return data

    async def stored(self) -> dict[str, Any]:
        """Return the site as it is stored."""
        node: dict[str, Any] = (await self.ok("get_rp"))["node"]
        return node

    async def authorize(self, **params: Any) -> dict[str, str]:
        """Let a person log in at the OP; return the parameters of the redirect."""
        url = (await self.ok("get_authorization_url", **params))["authorization_url"]
        return callback_params(await log_in(url, "alice", "wonderland", REDIRECT_URI))

    async def log_in(self, **params: Any) -> dict[str, Any]:
        """Log a person in; return the tokens."""
        callback = await self.authorize(**params)
        return await self.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])


async def register(server: ServerProcess, op_host: str, **params: Any) -> Rp:
    """Register a site at the OP."""
    metadata: dict[str, Any] = {
        "op_host": op_host,
        "authorization_redirect_uri": REDIRECT_URI,
        "post_logout_redirect_uri": LOGOUT_URI,
        "scope": SCOPES,
        "grant_types": ["authorization_code", "refresh_token"],
        **params,
    }
    answer = data_of(await server.call("register_site", **metadata))
    assert set(answer) == {"oxd_id", "op_host"}
    return Rp(server, answer["oxd_id"])
