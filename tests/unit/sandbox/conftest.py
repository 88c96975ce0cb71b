"""A provider on a real socket whose clock the tests set, and a browser that talks to it."""

import base64
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx2
import pytest
import trio

from oxd_server.entrances import http1
from oxd_server.sandbox import browser
from oxd_server.sandbox.provider import routes
from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.server import new_token

REDIRECT_URI = "http://127.0.0.1:9/callback"
LOGOUT_URI = "http://127.0.0.1:9/bye"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PASSWORDS = {"alice": "wonderland", "bob": "builder", "zoe": "zürich"}
START = 1_800_000_000.0


def half_hash(value: str) -> str:
    """`at_hash` and `c_hash` for the algorithms with SHA-256 (OpenID Connect Core 3.1.3.6)."""
    return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest()[:16]).rstrip(b"=").decode()


class Op:
    """The running provider, seen from outside (`http`, a browser with cookies) and inside (`state`, `time`)."""

    def __init__(self, keys: SigningKeys) -> None:
        self.time = START
        self.keys = keys
        self.issuer = ""
        self.state: ProviderState
        self.http: httpx2.AsyncClient

    def now(self) -> float:
        return self.time

    def browser(self) -> httpx2.AsyncClient:
        """Another browser, without cookies."""
        return httpx2.AsyncClient(base_url=self.issuer)

    async def register(self, **metadata: Any) -> dict[str, Any]:
        """A client with our redirect URIs and whatever else."""
        body = {
            "redirect_uris": [REDIRECT_URI],
            "post_logout_redirect_uris": [LOGOUT_URI],
            "client_name": "Test client",
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        }
        if metadata.get("token_endpoint_auth_method") == "none":
            body["grant_types"] = ["authorization_code", "refresh_token"]
        answer = await self.http.post("/register", json=body | metadata)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def authorize_url(self, client: dict[str, Any], **params: str | None) -> str:
        """An authorization URL; None leaves a parameter out."""
        all_params = {
            "client_id": client["client_id"],
            "redirect_uri": REDIRECT_URI,
            "scope": "openid profile",
            "response_type": "code",
            "state": "the state",
            "nonce": "the nonce",
        } | params
        given = {name: value for name, value in all_params.items() if value is not None}
        return str(httpx2.URL(f"{self.issuer}/authorize", params=given))

    async def log_in(self, client: dict[str, Any], user: str = "alice", **params: str | None) -> str:
        """Log a user in; returns the URL that the browser is sent back to."""
        return await browser.log_in(self.http, self.authorize_url(client, **params), user, PASSWORDS[user])

    @staticmethod
    def parameters(url: str) -> dict[str, str]:
        """The parameters of a redirect, from fragment or query."""
        parsed = httpx2.URL(url)
        return dict(httpx2.QueryParams(parsed.fragment or parsed.query.decode()))

    async def code(self, client: dict[str, Any], user: str = "alice", **params: str | None) -> str:
        """An authorization code."""
        return httpx2.URL(await self.log_in(client, user, **params)).params["code"]

    async def token(self, client: dict[str, Any], **params: str) -> httpx2.Response:
        """A token request with client_secret_basic."""
        return await self.http.post("/token", data=params, auth=(client["client_id"], client["client_secret"]))

    async def redeem(self, client: dict[str, Any], code: str, **params: str) -> httpx2.Response:
        """Redeem a code."""
        data = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI} | params
        return await self.token(client, **data)

    async def tokens(self, client: dict[str, Any], user: str = "alice", **params: str | None) -> dict[str, Any]:
        """The tokens of a whole login."""
        answer = await self.redeem(client, await self.code(client, user, **params))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def is_active(self, client: dict[str, Any], token: str) -> bool:
        """Whether introspection calls the token active."""
        answer = await self.http.post(
            "/introspect", data={"token": token}, auth=(client["client_id"], client["client_secret"])
        )
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])


@pytest.fixture(scope="session")
def signing_keys() -> SigningKeys:
    """Keys for all tests: making RSA keys takes a while."""
    return SigningKeys.generate()


@pytest.fixture
async def op(signing_keys: SigningKeys) -> AsyncIterator[Op]:
    """A provider on loopback."""
    running = Op(signing_keys)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    running.issuer = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    running.state = ProviderState(running.issuer, signing_keys, running.now, new_token)
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery, running.browser() as http:
        running.http = http
        handler = partial(routes.handle, running.state)
        serve = partial(
            http1.serve, listeners, handler, http1.Limits(), on_exception=lambda error, _: failures.append(error)
        )
        await nursery.start(serve)
        yield running
        nursery.cancel_scope.cancel()
    assert failures == []
