"""Logouts that begin elsewhere: at the OP, at another application, in a browser; and tokens that end."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
import trio

from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.op.key_store import new_key_store
from oxd_server.sandbox import RunningSandbox
from oxd_server.sandbox.provider.logout_token import issue_logout_token
from tests.integration.background import Background, background
from tests.integration.conftest import StartServer
from tests.integration.https_client import CERT, front_of
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, Rp, data_of, error_of, register
from tests.integration.oxd_process import running_server
from tests.integration.real_provider import callback_params, real_provider
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.user_agent import UserAgent, user_agent
from tests.redis_server import free_port

ANSWERS = {"login": "alice", "username": "alice", "password": "wonderland", "logout": "yes"}
SECONDS = 20
LOGOUT = {"backchannel_logout": True, "backchannel_logout_session_required": True}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server with its front, which knows its own URL, for all tests here."""
    port = free_port()
    section = {"enabled": True, "port": port, "bind_addresses": ["127.0.0.1"], "url": f"https://localhost:{port}"}
    folder = tmp_path_factory.mktemp("logout")
    new_key_store(folder / "keys.json")
    with background(folder, {"https": section, "crypt_provider_key_store_path": str(folder / "keys.json")}) as both:
        yield both


@pytest.fixture
async def op(running: Background) -> AsyncIterator[RunningSandbox]:
    """An OP of the test's own, which trusts the front's certificate."""
    async with running_sandbox() as op:
        op.state.trusted = ssl.create_default_context(cafile=running.folder / CERT)
        yield op


@pytest.fixture
async def front(running: Background) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the front."""
    async with front_of(running.server, running.folder, running.folder / CERT) as front:
        yield front.client


async def log_in(rp: Rp, person: UserAgent) -> dict[str, Any]:
    """Log the person in with their own browser; return the tokens."""
    url = (await rp.ok("get_authorization_url"))["authorization_url"]
    callback = callback_params(await person.visit(url, until=REDIRECT_URI, answers=ANSWERS))
    return await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])


async def log_out(rp: Rp, person: UserAgent, id_token: str) -> None:
    """Log the person out at the OP, at the instance of this application."""
    uri = (await rp.ok("get_logout_uri", id_token_hint=id_token))["uri"]
    await person.visit(uri, until=LOGOUT_URI, answers=ANSWERS)


async def registered_client(rp: Rp, op: RunningSandbox) -> Any:
    """Return the site's client as the OP has it."""
    return op.state.clients.get((await rp.stored())["client_id"])


async def logout_token(rp: Rp, op: RunningSandbox, sub: str, sid: str | None = None) -> str:
    """Return a logout token as the OP would send it."""
    return issue_logout_token(op.state, await registered_client(rp, op), sub, sid)


# --- what the OP sends ------------------------------------------------------------------------


async def test_a_logout_at_the_op_ends_the_session_here(running: Background, op: RunningSandbox) -> None:
    """The user logs out of one application; another one is told, however it asks, and its wait ends."""
    rp, other = await register(running.server, op.issuer, **LOGOUT), await register(running.server, op.issuer)
    client = await registered_client(rp, op)
    assert client.metadata["backchannel_logout_uri"].endswith(f"/backchannel-logout/{rp.oxd_id}")
    assert client.metadata["backchannel_logout_session_required"] is True
    async with user_agent() as person:
        tokens, others = await log_in(rp, person), await log_in(other, person)
        claims = {name: values[0] for name, values in tokens["id_token_claims"].items()}
        ways: list[dict[str, Any]] = [
            {"sid": claims["sid"]},
            {"sub": claims["sub"]},
            {"sid": claims["sid"], "sub": claims["sub"]},
            {"id_token": tokens["id_token"]},
        ]
        for way in ways:
            assert await rp.ok("session_status", **way) == {"active": True, "logged_out_at": 0}
        ended = list[dict[str, Any]]()

        async def wait(way: dict[str, Any]) -> None:
            ended.append(await rp.ok("wait_for_logout", timeout=60, **way))

        async with trio.open_nursery() as nursery:
            for way in ways:
                nursery.start_soon(wait, way)
            await log_out(other, person, others["id_token"])
        assert len(ended) == len(ways)
    for status in ended:
        assert status["active"] is False
        assert abs(status["logged_out_at"] - time.time()) < 60
    for way in ways:
        assert await rp.ok("session_status", **way) == ended[0]
    assert (await rp.ok("session_status", sub="somebody-else"))["active"] is True
    assert (await rp.ok("session_status", sub=claims["sub"], since=int(time.time()) + 60))["active"] is True
    assert (await other.ok("session_status", sid=claims["sid"]))["active"] is True, "another site's logout was told"


async def test_one_session_or_all(running: Background, op: RunningSandbox) -> None:
    """A logout with a sid ends that session alone; one without ends all that began before it."""
    rp = await register(running.server, op.issuer, **LOGOUT)
    async with user_agent() as laptop, user_agent() as phone, user_agent() as tablet:
        first, second = (await log_in(rp, laptop))["id_token"], (await log_in(rp, phone))["id_token"]
        claims = (await rp.ok("id_token_status", id_token=first))["claims"]
        sub, sid = claims["sub"][0], claims["sid"][0]
        await rp.ok("backchannel_logout", logout_token=await logout_token(rp, op, sub, sid))
        states = [(await rp.ok("session_status", id_token=token))["active"] for token in (first, second)]
        assert states == [False, True]
        await rp.ok("backchannel_logout", logout_token=await logout_token(rp, op, sub))
        assert (await rp.ok("session_status", id_token=second))["active"] is False
        op.state.now = lambda: time.time() + 5
        later = (await log_in(rp, tablet))["id_token"]
        assert (await rp.ok("session_status", id_token=later))["active"] is True


async def test_answers_of_the_front(running: Background, op: RunningSandbox, front: httpx2.AsyncClient) -> None:
    """200 for a logout that happened, 400 for everything else; nothing is cached; a token counts once."""
    rp = await register(running.server, op.issuer, **LOGOUT)
    deaf = await register(running.server, op.issuer)
    path, token = f"/backchannel-logout/{rp.oxd_id}", await logout_token(rp, op, "248289761001")
    answer = await front.post(path, data={"logout_token": token, "other": "1"})
    assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
    refused = {
        "again": await front.post(path, data={"logout_token": token}),
        "no token": await front.post(path, data={"token": token}),
        "two tokens": await front.post(path, data={"logout_token": [token, token]}),
        "nonsense": await front.post(path, data={"logout_token": "nonsense"}),
        "JSON": await front.post(path, json={"logout_token": token}),
        "no form": await front.post(
            path, content=b"\xff=1", headers={"Content-Type": "application/x-www-form-urlencoded"}
        ),
        "no such site": await front.post("/backchannel-logout/nobody", data={"logout_token": token}),
        "a site that did not ask": await front.post(
            f"/backchannel-logout/{deaf.oxd_id}",
            data={"logout_token": await logout_token(deaf, op, "248289761001")},
        ),
        "the token of another site": await front.post(
            path, data={"logout_token": await logout_token(deaf, op, "248289761001")}
        ),
    }
    for name, answer in refused.items():
        assert (answer.status_code, answer.headers["cache-control"]) == (400, "no-store"), name
        assert answer.json()["error"] == "invalid_request", name
        assert token not in answer.text, name
    assert (await front.get(path)).status_code == 405
    assert (await front.post("/backchannel-logout/", data={"logout_token": token})).status_code in (403, 404)
    assert token not in running.server.log_text()


async def test_an_encrypted_token_that_cannot_be_opened(running: Background, op: RunningSandbox) -> None:
    """It is refused in the words of a logout token."""
    rp = await register(running.server, op.issuer, **LOGOUT)
    await rp.ok("update_site", id_token_encrypted_response_alg="RSA-OAEP")
    refused = await rp.error("backchannel_logout", logout_token="e30.e30.e30.e30.e30")
    assert refused["error"] == "invalid_logout_token"


# --- waiting ----------------------------------------------------------------------------------


async def test_how_long_a_wait_may_be(running: Background, op: RunningSandbox) -> None:
    """The time is the caller's within bounds; which session is meant has to be said; an id_token is checked."""
    rp = await register(running.server, op.issuer, **LOGOUT)
    assert (await rp.ok("wait_for_logout", sid="s", timeout=0))["active"] is True
    assert (await rp.ok("wait_for_logout", sid="s", timeout=1))["active"] is True
    for timeout in (-1, 61):
        assert (await rp.error("wait_for_logout", sid="s", timeout=timeout))["error"] == "invalid_request"
    for command in ("session_status", "wait_for_logout"):
        assert (await rp.error(command))["error"] == "bad_request"
        assert (await rp.error(command, id_token="a.b.c"))["error"] == "invalid_id_token"


async def test_a_site_that_is_removed_ends_the_wait(running: Background, op: RunningSandbox) -> None:
    """Nobody waits for a logout at a site that is no more."""
    rp = await register(running.server, op.issuer, **LOGOUT)
    connection = await running.server.connect()
    waiting = trio.Event()
    refused = list[str]()

    async def wait() -> None:
        waiting.set()
        refused.append(error_of(await connection.call("wait_for_logout", oxd_id=rp.oxd_id, sid="s", timeout=60)))

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await waiting.wait()
            await rp.ok("remove_site")
    await connection.aclose()
    assert refused == ["invalid_oxd_id"]


async def test_a_logout_that_another_server_received(tmp_path: Path) -> None:
    """Two servers on one store: what one of them has received ends the wait at the other, and is refused there."""
    store = {"storage_configuration": {"path": str(tmp_path / "shared.db")}, "https": {"url": "https://localhost:1"}}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        running_sandbox() as op,
        running_server(tmp_path / "one", store) as one,
        running_server(tmp_path / "two", store) as two,
    ):
        rp = await register(one, op.issuer, **LOGOUT)
        elsewhere = Rp(two, rp.oxd_id)
        token = await logout_token(rp, op, "alice", "a-session")
        ended = list[dict[str, Any]]()

        async def wait() -> None:
            ended.append(await elsewhere.ok("wait_for_logout", sid="a-session", timeout=60))

        with trio.fail_after(SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await rp.ok("backchannel_logout", logout_token=token)
        assert ended[0]["active"] is False
        assert (await elsewhere.error("backchannel_logout", logout_token=token))["details"]["check"] == "used"


async def test_a_server_that_stops_ends_the_wait(start_server: StartServer) -> None:
    """A stop does not wait for those who wait: they are answered at once, and the stop is clean."""
    async with running_sandbox() as op, start_server() as server:
        rp = await register(server, op.issuer)
        connection = await server.connect()
        answers = list[dict[str, Any]]()

        async def wait() -> None:
            answers.append(await connection.call("wait_for_logout", oxd_id=rp.oxd_id, sid="s", timeout=60))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await rp.ok("wait_for_logout", sid="s", timeout=1)  # the other one waits by then
            assert await server.terminate() == 0
        await connection.aclose()
        assert data_of(answers[0])["active"] is True
        assert "abandoned" not in server.log_text()


# --- the application's own URL ----------------------------------------------------------------


@dataclass
class Application:
    """An application with a URL that is called; `status` is what it answers."""

    status: int = 204
    url: str = ""
    called: list[dict[str, list[str]]] = field(default_factory=list)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Remember what came."""
        self.called.append(parse_qs(request.body.decode()))
        return HttpResponse(self.status)


@asynccontextmanager
async def application() -> AsyncIterator[Application]:
    """Run an application on a free port of loopback."""
    app, stop = Application(), trio.Event()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    app.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/logged-out"

    def failed(exception: Exception, request: HttpRequest) -> None:
        raise AssertionError(request.path) from exception

    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: http1.serve(
            listeners, app.answer, Limits(), on_exception=failed, stop=stop, task_status=task_status
        ))  # fmt: skip
        yield app
        stop.set()


async def test_the_application_is_called(running: Background, op: RunningSandbox) -> None:
    """Its URL is told who was logged out; if it fails, the logout is kept all the same, and the log has it."""
    async with application() as app:
        rp = await register(running.server, op.issuer, **LOGOUT, logout_notification_uri=app.url)
        await rp.ok("backchannel_logout", logout_token=await logout_token(rp, op, "alice", "s1"))
        assert app.called == [{"oxd_id": [rp.oxd_id], "iss": [op.issuer], "sid": ["s1"], "sub": ["alice"]}]
        app.status = 500
        await rp.ok("backchannel_logout", logout_token=await logout_token(rp, op, "alice", "s2"))
    await rp.ok("backchannel_logout", logout_token=await logout_token(rp, op, "alice", "s3"))
    for sid in ("s1", "s2", "s3"):
        assert (await rp.ok("session_status", sid=sid))["active"] is False
    logged = [line for line in running.server.log_lines() if line["event"] == "logout_not_told"]
    assert [line["oxd_id"] for line in logged] == [rp.oxd_id] * 2
    await rp.ok("update_site", backchannel_logout=False)
    stored = await rp.stored()
    assert "logout_notification_uri" not in stored
    assert stored.get("backchannel_logout_uri") is None
    assert "backchannel_logout_uri" not in (await registered_client(rp, op)).metadata


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/x", "https://127.0.0.1/x", "http://localhost.example.org/x", "http://a@127.0.0.1/x", "/x",
        "http://127.0.0.1:0/x", "http://[::1/x", "http://127.0.0.1:x/",
    ],
)  # fmt: skip
async def test_only_this_machine_is_called(running: Background, op: RunningSandbox, url: str) -> None:
    """A URL that is not of loopback is refused, and so is any that comes over HTTPS: it would name the server's."""
    rp = await register(running.server, op.issuer)
    assert (await rp.error("update_site", logout_notification_uri=url))["error"] == "invalid_request"
    assert "logout_notification_uri" not in await rp.stored()


async def test_nobody_from_elsewhere_has_this_machine_called(
    running: Background, op: RunningSandbox, front: httpx2.AsyncClient
) -> None:
    """Over HTTPS the URL is refused, whoever asks."""
    site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": ["openid"]}
    answer = await front.post("/register-site", json={**site, "logout_notification_uri": "http://127.0.0.1:9/x"})
    assert answer.status_code == 400
    assert "loopback socket" in answer.json()["error_description"]
    assert len(op.state.clients) == 0


async def test_without_a_url_of_its_own_there_is_no_logout(start_server: StartServer) -> None:
    """A server that does not know its own URL cannot tell the OP where to send logout tokens."""
    async with running_sandbox() as op, start_server() as server:
        site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": ["openid"]}
        answer = await server.call("register_site", **site, backchannel_logout=True)
        assert error_of(answer) == "bad_request_no_oxd_host"
        assert len(op.state.clients) == 0


# --- the front channel ------------------------------------------------------------------------


async def test_the_front_channel_page(running: Background, op: RunningSandbox) -> None:
    """The page loads the further logout URLs with iss and sid; it may load nothing else, and is not cached."""
    urls = ["http://127.0.0.1:9/out", "https://shop.example.org/out?a=1&b=<2>", "https://blog.example.org/out"]
    rp = await register(running.server, op.issuer, client_frontchannel_logout_uris=urls)
    answer = await rp.ok("get_frontchannel_logout_page", iss=op.issuer, sid="s&1")
    page, headers = answer["page"], answer["headers"]
    assert page.count("<iframe") == 2
    assert 'src="https://shop.example.org/out?a=1&amp;b=&lt;2&gt;&amp;iss=http' in page
    assert "sid=s%261" in page
    assert headers["Cache-Control"] == "no-cache, no-store"
    policy = "default-src 'none'; frame-src https://blog.example.org https://shop.example.org"
    assert headers["Content-Security-Policy"] == policy
    alone = await register(running.server, op.issuer, client_frontchannel_logout_uris=urls[:1])
    answer = await alone.ok("get_frontchannel_logout_page")
    assert "<iframe" not in answer["page"]
    assert "frame-src 'none'" in answer["headers"]["Content-Security-Policy"]


async def test_what_a_front_channel_logout_must_say(running: Background, op: RunningSandbox) -> None:
    """Both of iss and sid or neither; the issuer is the OP's; the session is that of the browser's user."""
    urls = {"client_frontchannel_logout_uris": ["http://127.0.0.1:9/out"]}
    rp = await register(running.server, op.issuer, **urls)
    async with user_agent() as person:
        id_token = (await log_in(rp, person))["id_token"]
    sid = (await rp.ok("id_token_status", id_token=id_token))["claims"]["sid"][0]
    command = "get_frontchannel_logout_page"
    assert (await rp.ok(command, iss=op.issuer, sid=sid, id_token=id_token))["page"]
    assert (await rp.error(command, iss=op.issuer))["error"] == "invalid_request"
    assert (await rp.error(command, sid=sid))["error"] == "invalid_request"
    assert (await rp.error(command, iss=op.issuer, sid="other", id_token=id_token))["error"] == "invalid_request"
    other_issuer = await rp.error(command, iss="https://other.example.org", sid=sid)
    assert other_issuer["details"]["check"] == "iss"
    strict = await register(running.server, op.issuer, **urls, frontchannel_logout_session_required=True)
    assert (await strict.error(command))["error"] == "invalid_request"


# --- revocation -------------------------------------------------------------------------------


async def test_a_token_that_is_revoked(running: Background, op: RunningSandbox) -> None:
    """A revoked refresh token gets nothing any more; a token that the OP does not know is revoked as well."""
    rp = await register(running.server, op.issuer)
    async with user_agent() as person:
        tokens = await log_in(rp, person)
    refresh_token = tokens["refresh_token"]
    assert await rp.ok("revoke_token", token=refresh_token, token_type_hint="refresh_token") == {}
    refused = await rp.error("get_access_token_by_refresh_token", refresh_token=refresh_token)
    assert refused["details"]["error"] == "invalid_grant"
    assert await rp.ok("revoke_token", token="never issued") == {}
    assert (await rp.error("revoke_token"))["error"] == "bad_request"
    assert refresh_token not in running.server.log_text()


# --- the certified provider -------------------------------------------------------------------


@pytest.mark.node
@pytest.mark.parametrize(
    "encrypted", [{}, {"id_token_encrypted_response_alg": "RSA-OAEP"}], ids=["signed", "encrypted"]
)
async def test_the_certified_provider(running: Background, encrypted: dict[str, Any]) -> None:
    """Its logout token reaches the front over TLS and ends the session; its revocation ends a token."""
    async with real_provider(trusted=running.folder / CERT, encrypts=True) as provider:
        rp = await register(running.server, provider.issuer, **LOGOUT, **encrypted)
        assert json.loads((await rp.stored())["registered_metadata"])["backchannel_logout_session_required"] is True
        async with user_agent() as person:
            tokens = await log_in(rp, person)
            assert (await rp.ok("session_status", id_token=tokens["id_token"]))["active"] is True
            await rp.ok("revoke_token", token=tokens["access_token"])
            assert (await rp.error("get_user_info", access_token=tokens["access_token"]))["error"] == "http_status_401"
            await log_out(rp, person, tokens["id_token"])
        ended = await rp.ok("wait_for_logout", id_token=tokens["id_token"], timeout=SECONDS)
        assert ended["active"] is False, provider.printed_errors()
        sid = (await rp.ok("id_token_status", id_token=tokens["id_token"]))["claims"]["sid"][0]
        assert (await rp.ok("session_status", sid=sid))["active"] is False
