"""A front of dialect 4 at a real OP, with a gateway's site that has its token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from joserfc.jwk import RSAKey

from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import Front, running_front

__all__ = ["CALLBACK", "RSA_KEY", "World", "registered", "world_of"]

RSA_KEY = RSAKey.generate_key(2048, {"use": "sig", "kid": "of-the-front"}).as_dict(private=True)
CALLBACK = "http://127.0.0.1:9/callback"
UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"
SCOPES = ["openid", "oxd", "profile", "email", "uma_protection", "read"]


@dataclass
class World:
    """A gateway's site and a consumer's at one OP, with what the recorded requests name."""

    front: Front
    op: RunningSandbox
    site: dict[str, Any]
    token: str

    async def post(self, path: str, body: Any, token: str | None = None) -> httpx2.Response:
        """Send a request as the gateway."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.front.client.post(path, json=body, headers=headers)

    async def ok(self, path: str, /, **body: Any) -> Any:
        """Send a request that succeeds, with the gateway's token; return its answer."""
        response = await self.post(path, {"oxd_id": self.site["oxd_id"], **body}, self.token)
        assert response.status_code == 200, (path, response.text)
        return response.json()


async def registered(front: Front, op: RunningSandbox, **more: Any) -> dict[str, Any]:
    """Register a site without a token."""
    body = {
        "op_host": op.issuer,
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": ["https://rp.example.test/cgi-bin/oxd.py/logout", "https://gw.example.test/bye"],
        "scope": SCOPES,
        "grant_types": ["authorization_code", "client_credentials", "refresh_token", UMA_TICKET],
        "claims_redirect_uri": ["https://gw.example.test/claims"],
        **more,
    }
    response = await front.client.post("/register-site", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


@asynccontextmanager
async def world_of(folder: Path, op: RunningSandbox, **https: Any) -> AsyncIterator[World]:
    """Run a front that has an RSA key, register, and get the token of the site's own client."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [RSA_KEY]}), "utf-8")
    async with running_front(folder, {"crypt_provider_key_store_path": str(keys)}, **https) as front:
        site = await registered(front, op)
        client = {name: site[name] for name in ("client_id", "client_secret")}
        answer = await front.client.post(
            "/get-client-token", json={"op_host": op.issuer, "scope": ["openid", "oxd"], **client}
        )
        assert answer.status_code == 200, answer.text
        yield World(front, op, site, answer.json()["access_token"])
