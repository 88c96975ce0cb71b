"""The demo relying party: whole journeys through a real server, and readable pages when something is wrong."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest
import trio

from oxd_protocol.client.with_trio import OxdClient
from oxd_server.sandbox import RunningSandbox, SandboxSettings, run_sandbox
from oxd_server.sandbox.browser import log_in
from oxd_server.sandbox.demo.frames import pretty_frame
from tests.integration.oxd_process import running_server


@asynccontextmanager
async def sandbox_beside(oxd_port: int) -> AsyncIterator[tuple[RunningSandbox, httpx2.AsyncClient]]:
    """A sandbox whose demo uses the server on this port, and a browser that stands at the demo."""
    async with trio.open_nursery() as nursery:
        sandbox = await nursery.start(run_sandbox, SandboxSettings(oxd_port=oxd_port))
        async with httpx2.AsyncClient(base_url=sandbox.demo_url, timeout=20) as http:
            yield sandbox, http
        nursery.cancel_scope.cancel()


async def press(http: httpx2.AsyncClient, action: str) -> httpx2.Response:
    """Press the button of a form on the first page."""
    page = (await http.get("/")).text
    found = re.search(rf'<form method="post" action="{action}"><input type="hidden" name="csrf" value="([^"]+)"', page)
    assert found, f"no button for {action}"
    return await http.post(action, data={"csrf": found[1]})


async def follow(http: httpx2.AsyncClient, answer: httpx2.Response) -> httpx2.Response:
    """Follow redirects to the end."""
    while answer.is_redirect:
        answer = await http.get(urljoin(str(answer.url), answer.headers["location"]))
    return answer


def commands(page: str) -> list[str]:
    """The commands whose frames a page shows."""
    return re.findall(r"<summary><code>([a-z_]+)</code>", page)


async def test_log_in_refresh_log_out_leave(tmp_path: Path) -> None:
    """A browser logs in, refreshes, logs out and removes the site, and sees the frames of every click."""
    async with running_server(tmp_path, {}, None) as server, sandbox_beside(server.port) as (_, http):
        assert "registered at the first login" in (await http.get("/")).text
        away = await press(http, "/login")
        back = await log_in(http, away.headers["location"], "alice", "wonderland")
        page = (await follow(http, await http.get(back))).text
        assert "Hello, Alice Jensen" in page
        assert "locality: København" in page
        assert commands(page) == ["register_site", "get_authorization_url", "get_tokens_by_code", "get_user_info"]
        assert "… (" in page
        assert not re.search(r"eyJ[\w-]{30,}", unescape(page))

        page = (await follow(http, await press(http, "/refresh"))).text
        assert commands(page) == ["get_access_token_by_refresh_token", "get_user_info"]

        page = (await follow(http, await press(http, "/logout"))).text
        assert "You are logged out" in page
        assert commands(page) == ["get_logout_uri"]

        away = await press(http, "/login")
        assert (await log_in(http, away.headers["location"], "bob", "builder")).startswith(str(http.base_url))
        page = (await follow(http, await press(http, "/leave"))).text
        assert "registered at the first login" in page
        assert commands(page) == ["remove_site"]


async def test_site_that_the_server_forgot_is_registered_again(tmp_path: Path) -> None:
    """If the server no longer knows the site, the error is shown, and the next click registers afresh."""
    async with running_server(tmp_path, {}, None) as server, sandbox_beside(server.port) as (_, http):
        await press(http, "/login")
        oxd_id = re.search(r"registered as <code>([^<]+)", (await http.get("/")).text)
        assert oxd_id
        removed = await OxdClient("127.0.0.1", server.port).call("remove_site", {"oxd_id": oxd_id[1]})
        assert removed["status"] == "ok"
        answer = await press(http, "/login")
        assert answer.status_code == 502
        assert "invalid_oxd_id" in answer.text
        assert (await press(http, "/login")).is_redirect


async def test_answers_that_this_browser_did_not_ask_for(tmp_path: Path) -> None:
    """A callback with another state, or with the OP's error, logs nobody in and says why; no command is sent."""
    async with running_server(tmp_path, {}, None) as server, sandbox_beside(server.port) as (_, http):
        await press(http, "/login")
        for query in ("code=x&state=forged", "code=x", "state=x", ""):
            answer = await http.get(f"/callback?{query}")
            assert answer.status_code == 400
            assert "get_tokens_by_code" not in answer.text
        answer = await http.get("/callback?error=access_denied&error_description=%3Cb%3Eno")
        assert "access_denied: &lt;b&gt;no" in answer.text
        assert (await http.get("/callback?a=1&a=2")).status_code == 400


async def test_server_that_is_down() -> None:
    """Without a server the demo says so and how to start it."""
    async with sandbox_beside(1) as (_, http):
        answer = await press(http, "/login")
        assert answer.status_code == 502
        assert "cannot be reached" in answer.text
        assert "oxd-server serve" in answer.text


@pytest.mark.parametrize("action", ["/login", "/refresh", "/logout", "/leave"])
async def test_forms_need_the_csrf_token(action: str) -> None:
    """A form that does not come from the demo's own page is refused."""
    async with sandbox_beside(1) as (_, http):
        await http.get("/")
        assert (await http.post(action, data={"csrf": "guess"})).status_code == 403
        assert (await http.post(action)).status_code == 403


@pytest.mark.parametrize("action", ["/refresh", "/logout", "/leave"])
async def test_clicks_that_make_no_sense_lead_home(action: str) -> None:
    """Refreshing, logging out or leaving without a login leads to the first page."""
    async with sandbox_beside(1) as (_, http):
        page = (await http.get("/")).text
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        answer = await http.post(action, data={"csrf": csrf})
        assert answer.headers["location"] == "/"


async def test_front_door() -> None:
    """Unknown pages are 404, wrong methods 405; pages are locked down; the cookie is not for scripts."""
    async with sandbox_beside(1) as (_, http):
        assert (await http.get("/nowhere")).status_code == 404
        assert (await http.get("/logout")).status_code == 405
        assert (await http.get("/style.css")).headers["content-type"].startswith("text/css")
        assert (await http.get("/logged-out")).headers["location"] == "/"
        answer = await http.get("/")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "HttpOnly; SameSite=Lax" in answer.headers["set-cookie"]
        assert "For trying things out only" in answer.text


def test_frames_are_shown_without_secrets() -> None:
    """Tokens, codes and secrets are shortened wherever they are; everything else is shown as sent."""
    secret = "s3cret" * 20
    values = {
        "command": "x",
        "params": {
            "access_token": secret,
            "refresh_token": secret,
            "id_token": secret,
            "code": secret,
            "client_secret": secret,
            "nested": [{"id_token_hint": secret}],
            "uri": f"https://op/end?id_token_hint={secret}&state=abc",
            "plain": "zoë",
        },
    }
    shown = pretty_frame(b"0123" + json.dumps(values).encode())
    assert shown.startswith("0123\n{")
    assert "s3cret" * 3 not in shown
    assert "(120 characters)" in shown
    assert "zoë" in shown
    assert "state=abc" in shown
    assert pretty_frame(b"0003{x}") == "0003{x}"
