"""The applications of the tutorial, exactly as they are shown: they log in, and each attack on them fails."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import trio
from joserfc import jwt
from joserfc.jwk import KeySet

from scripts.demo_kit import free_port
from tests.integration.background import Background
from tests.integration.bendable_op import BendableOp, Personality, bendable_op
from tests.integration.oxd_process import encode_command
from tests.integration.real_provider import log_in
from tests.integration.sandbox_provider import running_sandbox

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
LINES = 45
NOT_COUNTED = re.compile(r'\s*(?:$|#|//|/\*\*|"""|import |from |require |<\?php)')
START_SECONDS = 20
LANGUAGES = [
    "python",
    pytest.param("php", marks=pytest.mark.php),
    pytest.param("node", marks=pytest.mark.node),
]
PEOPLE = {"alice": ("wonderland", "Alice Jensen"), "bob": ("builder", "Bob Okafor")}
IMPORTS = {
    "python": [sys.executable, "-c", "from oxd import oxd; print(oxd('get_rp', list=True)['node'])"],
    "php": ["php", "-r", "require 'oxd.php'; echo oxd('get_rp', ['list' => true])['node'];"],
    "node": [
        *("node", "--input-type=module", "-e"),
        "import { oxd } from './oxd.mjs'; console.log((await oxd('get_rp', { list: true })).node)",
    ],
}


def command(language: str, port: int) -> list[str]:
    """How the tutorial says that the application is started."""
    return {
        "python": [sys.executable, "-m", "flask", "--app", "login", "run", "--port", str(port)],
        "php": ["php", "-S", f"127.0.0.1:{port}", "login.php"],
        "node": ["node", "login.mjs"],
    }[language]


@contextmanager
def application(language: str, folder: Path, op: str, oxd_port: int) -> Iterator[str]:
    """Run an application in a folder of its own; yields its address."""
    for file in (TUTORIAL / language).iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    environment = {"PATH": os.environ["PATH"], "HERE": here, "OP": op, "OXD_PORT": str(oxd_port)}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command(language, port), cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield here
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module", params=LANGUAGES)
def app(request: pytest.FixtureRequest, running: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One application for all tests of its language."""
    folder = tmp_path_factory.mktemp(request.param)
    with application(request.param, folder, running.sandbox.issuer, running.server.port) as here:
        yield here


@dataclass
class Browser:
    """A browser at the application: keeps its cookies, shows where it is sent."""

    client: httpx2.AsyncClient
    here: str

    async def get(self, place: str, **query: str) -> httpx2.Response:
        return await self.client.get(place if "://" in place else f"{self.here}{place}", params=query or None)

    async def begin(self) -> str:
        """Begin a login; returns the address at the OP."""
        return str((await self.get("/login")).headers["location"])

    async def log_in(self, username: str) -> list[str]:
        """Log in, and see one's own name; returns the cookies that the application sets then."""
        password, name = PEOPLE[username]
        callback = await log_in(await self.begin(), username, password)
        answer = await self.get(callback)
        assert (answer.status_code, answer.headers["location"]) == (302, "/"), answer.text
        assert f"Hello, {name}!" in await self.page()
        return list(answer.headers.get_list("set-cookie"))

    async def page(self) -> str:
        return (await self.get("/")).text

    async def log_out(self) -> str:
        """Press the button; returns where the browser is sent, or nothing."""
        return str((await self.client.post(f"{self.here}/logout")).headers.get("location", ""))


@asynccontextmanager
async def browser(here: str) -> AsyncIterator[Browser]:
    """A browser without a cookie."""
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        yield Browser(client, here)


@pytest.mark.parametrize("name", ["python/login.py", "php/login.php", "node/login.mjs"])
def test_an_application_is_short(name: str) -> None:
    """45 lines besides imports, comments and blank lines, none longer than ours."""
    lines = (TUTORIAL / name).read_text("utf-8").splitlines()
    assert len([line for line in lines if not NOT_COUNTED.match(line)]) <= LINES
    assert max(map(len, lines)) <= 120


async def test_a_user_logs_in_and_out(app: str, running: Background) -> None:
    """The link leads to the OP, and back; the button leads to the OP, with this user's id_token."""
    async with browser(app) as alice:
        assert 'href="/login"' in await alice.page()
        await alice.log_in("alice")
        uri = await alice.log_out()
        assert uri.startswith(f"{running.sandbox.issuer}/end_session?")
        assert parse_qs(urlsplit(uri).query)["post_logout_redirect_uri"] == [f"{app}/"]
        assert 'href="/login"' in await alice.page()


async def test_a_foreign_callback_is_refused(app: str) -> None:
    """Login CSRF: an attacker's code and state, brought to somebody else's browser, log nobody in."""
    async with browser(app) as attacker, browser(app) as victim, browser(app) as stranger:
        callback = await log_in(await attacker.begin(), "bob", "builder")
        await victim.begin()
        for person in (victim, stranger):
            answer = await person.get(callback)
            assert answer.status_code == 403
            assert "location" not in answer.headers
            assert 'href="/login"' in await person.page()
        assert (await attacker.get(callback)).status_code == 302  # it was good, in the browser where it began


@pytest.mark.parametrize("language", LANGUAGES)
async def test_an_op_that_wants_pushed_requests(language: str, running: Background, tmp_path: Path) -> None:
    """The URL has no state there; the application knows its own, and whose browser it belongs to."""
    async with running_sandbox() as op:
        op.state.requires_pushed_requests = True
        with_app = application(language, tmp_path, op.issuer, running.server.port)
        async with in_thread(with_app) as here, browser(here) as alice, browser(here) as stranger:
            url = await alice.begin()
            assert parse_qs(urlsplit(url).query).keys() == {"client_id", "request_uri"}
            callback = await log_in(url, "alice", "wonderland", f"{here}/callback")
            assert (await stranger.get(callback)).status_code == 403
            assert (await alice.get(callback)).status_code == 302
            assert "Hello, Alice Jensen!" in await alice.page()


async def test_a_callback_without_a_state_is_refused(app: str) -> None:
    """Neither an absent nor an empty state is that of a browser that began nothing."""
    async with browser(app) as stranger, browser(app) as victim:
        await victim.begin()
        for person in (stranger, victim):
            for query in ({"code": "c"}, {"code": "c", "state": ""}, {"error": "access_denied"}, {"state": "é"}):
                assert (await person.get("/callback", **query)).status_code == 403


async def test_a_callback_works_once(app: str) -> None:
    """The address that the browser came back with is worth nothing afterwards."""
    async with browser(app) as alice:
        callback = await log_in(await alice.begin(), "alice", "wonderland")
        assert (await alice.get(callback)).status_code == 302
        assert (await alice.get(callback)).status_code == 403
        assert "Hello, Alice Jensen!" in await alice.page()


async def test_an_error_is_shown_as_text(app: str) -> None:
    """A user who says no reads it; what an OP says is no HTML."""
    async with browser(app) as alice:
        state = parse_qs(urlsplit(await alice.begin()).query)["state"][0]
        answer = await alice.get("/callback", error="<script>alert(1)</script>", state=state)
        assert answer.status_code == 200
        assert "Not logged in: &" in answer.text
        assert "<script>" not in answer.text
        assert 'href="/login"' in await alice.page()


async def test_a_logout_names_the_user_who_logs_out(app: str, running: Background) -> None:
    """Two users at one site: each is logged out with the own id_token, and who is not logged in with none."""
    async with browser(app) as alice, browser(app) as bob, browser(app) as nobody:
        await alice.log_in("alice")
        await bob.log_in("bob")
        assert await nobody.log_out() in ("", "/")
        hint = parse_qs(urlsplit(await alice.log_out()).query)["id_token_hint"][0]
        keys = (await alice.get(f"{running.sandbox.issuer}/jwks")).json()
        assert jwt.decode(hint, KeySet.import_key_set(keys)).claims["sub"] == "a11ce-7f3b"
        assert "Hello, Bob Okafor!" in await bob.page()


async def test_a_link_logs_nobody_out(app: str) -> None:
    """Logout takes a form of the application: the cookie does not come along with a foreign one."""
    async with browser(app) as alice:
        cookies = await alice.log_in("alice")
        assert cookies
        assert all({"samesite=lax", "httponly"} <= set(cookie.lower().split("; ")) for cookie in cookies), cookies
        await alice.get("/logout")
        assert "Hello, Alice Jensen!" in await alice.page()


async def test_a_session_known_before_is_worth_nothing_after(app: str) -> None:
    """Session fixation: who planted or saw the cookie before the login does not have the session after it."""
    async with browser(app) as alice, browser(app) as attacker:
        url = await alice.begin()
        attacker.client.cookies.update(dict(alice.client.cookies))
        callback = await log_in(url, "alice", "wonderland")
        await alice.get(callback)
        assert "Hello, Alice Jensen!" in await alice.page()
        assert "Hello" not in await attacker.page()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_it_registers_once(language: str, running: Background, tmp_path: Path) -> None:
    """A restart finds the oxd_id, in a file that nobody else can read; a server that is away is said so."""
    names = []
    for port in (running.server.port, free_port()):
        with application(language, tmp_path, running.sandbox.issuer, port) as here:
            async with browser(here) as alice:
                names.append((await alice.get("/login")).status_code)
                (tmp_path / "oxd_id").read_text("ascii")
    assert (tmp_path / "oxd_id").stat().st_mode & 0o777 == 0o600
    assert names[0] == 302
    assert names[1] in (500, 502)
    listed = await running.server.call("get_rp", list=True)
    assert [one["oxd_id"] for one in listed["data"]["node"]].count((tmp_path / "oxd_id").read_text()) == 1


PERSONALITY = Personality(
    registers=True,
    claims={"sid": "s-1"},
    tokens={"expires_in": 1},
    refreshed={"refresh_token": "refresh-1", "expires_in": 3600, "access_token": "access-2"},
)


async def logged_in(op: BendableOp, person: Browser) -> None:
    """Log the provider's only user in."""
    redirect = op.authorize(await person.begin())
    assert (await person.get("/callback", **redirect)).status_code == 302


@pytest.mark.parametrize("language", LANGUAGES)
async def test_tokens_are_refreshed_and_logouts_arrive(language: str, running: Background, tmp_path: Path) -> None:
    """An expired access token is replaced; the OP's frame ends the one session that it names, without a cookie."""
    async with bendable_op(PERSONALITY) as op:
        with_app = application(language, tmp_path, op.url, running.server.port)
        async with in_thread(with_app) as here, browser(here) as alice, browser(here) as frame:
            await logged_in(op, alice)
            with trio.fail_after(10):
                while op.requests.count("POST /token") < 2:
                    assert "Hello" in await alice.page()
            assert op.shown["/userinfo"] == "Bearer access-2"
            for wrong in ({}, {"sid": ""}, {"sid": "s-2"}):
                assert (await frame.get("/ended", **wrong)).status_code == 200
                assert "Hello" in await alice.page()
            await frame.get("/ended", iss=op.url, sid="s-1")
            assert 'href="/login"' in await alice.page()


@asynccontextmanager
async def in_thread(context) -> AsyncIterator[str]:  # type: ignore[no-untyped-def]
    """Enter and leave a context manager without holding up the loop, on which the provider runs."""
    here = await trio.to_thread.run_sync(context.__enter__)
    try:
        yield here
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(context.__exit__, None, None, None)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_busy_server_is_asked_again(language: str, tmp_path: Path) -> None:
    """`server_busy` is repeated, on a new connection; the answer may come in pieces."""
    shutil.copytree(TUTORIAL / language, tmp_path, dirs_exist_ok=True)
    busy = b'{"status":"error","data":{"error":"server_busy","error_description":"","details":null}}'
    done = '{"status":"ok","data":{"node":"é"}}'.encode()
    asked = []

    async def serve(stream: trio.SocketStream) -> None:
        expected = encode_command("get_rp", {"list": True}).replace(b" ", b"")
        expected = b"%04d%s" % (len(expected) - 4, expected[4:])
        received = b""
        while len(received) < 4 or len(received) < 4 + int(received[:4]):
            received += await stream.receive_some(4096)
        asked.append(received.replace(b" ", b"")[4:] == expected[4:])
        body = busy if len(asked) == 1 else done
        for piece in (b"%04d" % len(body), body[:20], body[20:]):
            await stream.send_all(piece)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        environment = {"PATH": os.environ["PATH"], "OXD_PORT": str(port), "PYTHONIOENCODING": "utf-8"}
        with trio.fail_after(START_SECONDS):
            told = await trio.run_process(IMPORTS[language], cwd=tmp_path, env=environment, capture_stdout=True)
        nursery.cancel_scope.cancel()
    assert told.stdout.decode().strip() == "é"
    assert asked == [True, True]
