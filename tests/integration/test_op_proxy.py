"""A server whose way to the OPs leads through a real proxy, and what it says when a request does not get there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import pytest
import trio

from oxd_server.app.building import proxies_of
from oxd_server.config import Config, ConfigError
from oxd_server.config.proxy_keys import ProxyConfig
from oxd_server.entrances.http1 import Limits, serve
from oxd_server.sandbox.provider import routes
from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.server import new_token
from tests.http_proxy import http_proxy
from tests.integration.background import Background, background
from tests.integration.logins import REDIRECT_URI, SCOPES
from tests.integration.oxd_process import ServerProcess

PASSWORD = "proxy-secret-0123456789"


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """Run a server behind a proxy with a password, which is not told to the proxy of `closed.test`."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "password").touch(0o600)
    (folder / "password").write_text(PASSWORD)
    with http_proxy(tmp_path_factory.mktemp("proxy"), "--basic-auth", f"oxd:{PASSWORD}") as port:
        proxy = {
            "url": f"http://127.0.0.1:{port}",
            "user": "oxd",
            "password_file": str(folder / "password"),
            "hosts": {"closed.test": f"http://localhost:{port}", "lost.test": "http://lost.invalid"},
            "no_proxy": ["invalid"],
        }
        settings = {"op_proxy": proxy, "allow_http_op_hosts": ["op.test"], "op_read_timeout_in_seconds": 0.5}
        with background(folder, settings) as running:
            yield running


@asynccontextmanager
async def provider_at(name: str) -> AsyncIterator[ProviderState]:
    """Run an OP on this machine whose issuer has this name."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    keys = await trio.to_thread.run_sync(SigningKeys.generate)
    state = ProviderState(f"http://{name}:{listener.socket.getsockname()[1]}", keys, time.time, new_token)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, [listener], partial(routes.handle, state), Limits())
        yield state
        nursery.cancel_scope.cancel()


def registration(op_host: str) -> dict[str, object]:
    """Return the params of `register_site`."""
    return {"op_host": op_host, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}


async def test_registration_through_the_proxy(behind_proxy: Background) -> None:
    """A site registers at an OP whose name only the proxy knows; the proxy's password is in no line of the log."""
    async with provider_at("op.test") as state:
        answer = await behind_proxy.server.call("register_site", **registration(state.issuer))
    assert answer["status"] == "ok", answer
    assert PASSWORD not in behind_proxy.server.log_text()


async def refused(server: ServerProcess, op_host: str) -> str:
    """Return what the error says of an OP that cannot be asked."""
    answer = await server.call("register_site", **registration(op_host))
    assert answer["data"]["error"] == "no_connect_discovery_response"
    return str(answer["data"]["error_description"])


@pytest.mark.parametrize(
    ("host", "told", "reason"),
    [
        ("nowhere.invalid", "no connection: its name has no address.", "dns"),
        ("closed.test", "the proxy wants other credentials: HTTP status 407.", "proxy"),
        ("lost.test", "no connection: its name has no address (of the proxy).", "dns"),
        ("nobody.test:9", "the proxy opens no way there: HTTP status 502.", "proxy"),
    ],
)
async def test_what_failed_is_told(behind_proxy: Background, host: str, told: str, reason: str) -> None:
    """The error says where a request came to an end, at a name or at the proxy and why; the log has it in a word."""
    assert await refused(behind_proxy.server, f"https://{host}") == f"The OP failed: discovery at {host}: {told}"
    outages = [line for line in behind_proxy.server.log_lines() if line["event"] == "op_outage_began"]
    assert (host, reason) in [(line["op"], line["reason"]) for line in outages]


async def test_port_and_time_are_told(behind_proxy: Background) -> None:
    """On this machine, where no proxy is asked: a port where nobody listens, and one where nobody answers."""
    with trio.socket.socket() as silent:
        await silent.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        assert "nobody listens there" in await refused(behind_proxy.server, f"http://{host}")
        silent.listen()
        assert "timed out: there is no answer" in await refused(behind_proxy.server, f"http://{host}")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"user": "oxd"}, "op_proxy.user is set without op_proxy.url"),
        ({"url": "http://relay.example", "password": PASSWORD}, "op_proxy.password is set without op_proxy.user"),
        ({"no_proxy": ("op.example:https",)}, "op_proxy: no_proxy"),
        ({"from_environment": True}, "op_proxy: https_proxy in the environment: not the URL of a proxy"),
    ],
)
def test_what_does_not_fit_together(keys: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that make no proxy together stop the start, without a password in the message."""
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://oxd:{PASSWORD}@relay.example")
    with pytest.raises(ConfigError, match=told) as caught:
        proxies_of(Config(op_proxy=ProxyConfig(**keys)))
    assert PASSWORD not in str(caught.value)


def test_environment_counts_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxies are used where the operator says so, and only there."""
    monkeypatch.setenv("https_proxy", "http://relay.example:8118")
    url = httpx2.URL("https://op.example/")
    assert proxies_of(Config()).of(url) is None
    asked = proxies_of(Config(op_proxy=ProxyConfig(from_environment=True))).of(url)
    assert asked is not None
    assert str(asked.url) == "http://relay.example:8118"
