"""What many commands need at the same time is asked of the OP once, and a failure is everybody's only once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.conftest import StartServer
from tests.integration.faulty_op import (
    DISCOVERY,
    KEY_SET,
    REGISTRATION,
    TOKEN,
    USERINFO,
    Exchange,
    Fault,
    FaultyOp,
    faulty_op,
    held,
)
from tests.integration.logins import Rp, data_of, register
from tests.integration.oxd_process import ServerProcess, encode_command

MANY = 50
Answers = list[dict[str, Any]]


@pytest.fixture
async def op(sandbox: RunningSandbox) -> AsyncIterator[FaultyOp]:
    """An OP that counts the requests that it gets."""
    async with faulty_op(sandbox) as op:
        yield op


def failing_once_told(arrived: trio.Event, release: trio.Event, status: int) -> Fault:
    """Say that the request is there, and refuse it when told to."""

    async def answer(exchange: Exchange) -> None:
        arrived.set()
        await release.wait()
        await exchange.reply((status, [(b"Content-Type", b"application/json")], b'{"error": "invalid_grant"}'))

    return answer


async def at_once(rp: Rp, op: FaultyOp, path: str, commands: list[tuple[str, dict[str, Any]]], fault: Any) -> Answers:
    """Send every command on a connection of its own while the OP holds the first answer back; return the answers.

    All of them have been sent, and the server has answered a command that came later, before the OP answers.
    """
    arrived, release = trio.Event(), trio.Event()
    op.faults = {path: fault(arrived, release)}
    connections = [await rp.server.connect() for _ in commands]
    for connection, (command, params) in zip(connections, commands, strict=True):
        await connection.send(encode_command(command, {"oxd_id": rp.oxd_id, **params}))
    await arrived.wait()
    await rp.stored()
    release.set()
    answers = [await connection.receive() for connection in connections]
    for connection in connections:
        await connection.aclose()
    op.faults = {}
    return answers


@asynccontextmanager
async def restarted(start_server: StartServer, rp: Rp) -> AsyncIterator[ServerProcess]:
    """The server started again: it has its sites, but nothing of the OP in its caches.

    The site has been looked up once: no later command has to wait for the disk while others overtake it.
    """
    await rp.server.terminate()
    async with start_server() as again:
        rp.server = again
        await rp.stored()
        yield again


async def test_one_discovery(start_server: StartServer, server: ServerProcess, op: FaultyOp) -> None:
    """50 commands that need the OP's metadata fetch it once."""
    rp = await register(server, op.issuer)
    async with restarted(start_server, rp):
        op.requests.clear()
        answers = await at_once(rp, op, DISCOVERY, [("get_authorization_url", {})] * MANY, held)
        assert len({data_of(answer)["authorization_url"] for answer in answers}) == MANY
        assert op.requests == [f"GET {DISCOVERY}"]


async def test_one_key_set(start_server: StartServer, server: ServerProcess, op: FaultyOp) -> None:
    """50 commands that need the OP's keys fetch them once."""
    rp = await register(server, op.issuer)
    params = {"id_token": (await rp.log_in())["id_token"]}
    async with restarted(start_server, rp):
        op.requests.clear()
        answers = await at_once(rp, op, KEY_SET, [("id_token_status", params)] * MANY, held)
        assert all(data_of(answer)["active"] is True for answer in answers)
        assert op.requests == [f"GET {DISCOVERY}", f"GET {KEY_SET}"]


async def test_one_use_of_a_refresh_token(server: ServerProcess, op: FaultyOp) -> None:
    """50 commands with one refresh token spend it once, and all get the same tokens."""
    rp = await register(server, op.issuer)
    params = {"refresh_token": (await rp.log_in())["refresh_token"]}
    op.requests.clear()
    answers = await at_once(rp, op, TOKEN, [("get_access_token_by_refresh_token", params)] * MANY, held)
    assert all(answer == answers[0] for answer in answers)
    assert op.requests == [f"POST {TOKEN}"]
    await rp.ok("get_user_info", access_token=data_of(answers[0])["access_token"])


async def test_one_refresh_token_for_different_scopes(server: ServerProcess, op: FaultyOp) -> None:
    """Of two that want different scopes the later one is told to use the new refresh token; the old is not spent twice.

    The OP would take a second use for a theft and revoke everything.
    """
    rp = await register(server, op.issuer)
    token = (await rp.log_in())["refresh_token"]
    commands = [
        ("get_access_token_by_refresh_token", {"refresh_token": token, "scope": scope})
        for scope in (["openid"], ["openid", "email"])
    ]
    op.requests.clear()
    answers = await at_once(rp, op, TOKEN, commands, held)
    assert op.requests == [f"POST {TOKEN}"]
    assert sorted(answer["status"] for answer in answers) == ["error", "ok"]
    (refused,) = (answer["data"] for answer in answers if answer["status"] == "error")
    assert (refused["error"], "Use the new one" in refused["error_description"]) == ("invalid_request", True)
    (tokens,) = (answer["data"] for answer in answers if answer["status"] == "ok")
    await rp.ok("get_user_info", access_token=tokens["access_token"])


async def test_different_sites_do_not_share(server: ServerProcess, op: FaultyOp) -> None:
    """The same refresh token from two sites is two requests: one site never gets the other's tokens."""
    rp, other = await register(server, op.issuer), await register(server, op.issuer)
    token = (await rp.log_in())["refresh_token"]
    op.requests.clear()
    outcomes: list[str] = []

    async def refresh(site: Rp) -> None:
        answer = await server.call("get_access_token_by_refresh_token", oxd_id=site.oxd_id, refresh_token=token)
        outcomes.append(f"{site.oxd_id} {answer['status']}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refresh, rp)
        nursery.start_soon(refresh, other)
    assert set(outcomes) == {f"{rp.oxd_id} ok", f"{other.oxd_id} error"}
    assert op.requests == [f"POST {TOKEN}"] * 2


async def test_a_failed_discovery_does_not_poison_the_next(
    start_server: StartServer, server: ServerProcess, op: FaultyOp
) -> None:
    """When the one fetch fails, all are told so; the next command fetches again and succeeds."""
    rp = await register(server, op.issuer)
    async with restarted(start_server, rp):
        op.requests.clear()
        commands: list[tuple[str, dict[str, Any]]] = [("get_authorization_url", {})] * MANY
        answers = await at_once(rp, op, DISCOVERY, commands, _fails_with(500))
        assert {answer["data"]["error"] for answer in answers} == {"no_connect_discovery_response"}
        assert op.requests == [f"GET {DISCOVERY}"]
        await rp.ok("get_authorization_url")
        assert op.requests == [f"GET {DISCOVERY}"] * 2


async def test_a_failed_refresh_does_not_poison_the_next(server: ServerProcess, op: FaultyOp) -> None:
    """When the OP refuses the one request, all are told so; the next command asks again and succeeds."""
    rp = await register(server, op.issuer)
    params = {"refresh_token": (await rp.log_in())["refresh_token"]}
    op.requests.clear()
    commands = [("get_access_token_by_refresh_token", params)] * MANY
    answers = await at_once(rp, op, TOKEN, commands, _fails_with(400))
    assert {answer["data"]["error"] for answer in answers} == {"http_status_400"}
    assert op.requests == [f"POST {TOKEN}"]
    await rp.ok("get_access_token_by_refresh_token", **params)


async def test_whoever_waits_outlives_the_one_who_asked(
    start_server: StartServer, server: ServerProcess, op: FaultyOp
) -> None:
    """When the client that caused the fetch hangs up, the others still get their answer."""
    rp = await register(server, op.issuer)
    async with restarted(start_server, rp) as again:
        arrived, release = trio.Event(), trio.Event()
        op.faults = {DISCOVERY: held(arrived, release)}
        gone = await again.connect()
        await gone.send(encode_command("get_authorization_url", {"oxd_id": rp.oxd_id}))
        await arrived.wait()
        waiting = await again.connect()
        await waiting.send(encode_command("get_authorization_url", {"oxd_id": rp.oxd_id}))
        await rp.stored()
        await gone.aclose()
        release.set()
        assert data_of(await waiting.receive())["authorization_url"]
        await waiting.aclose()


async def test_many_logins_at_once(server: ServerProcess, op: FaultyOp) -> None:
    """50 logins side by side each get tokens of their own and their own claims."""
    rp = await register(server, op.issuer)
    redirects = [await rp.authorize() for _ in range(MANY)]
    tokens: Answers = []

    async def finish(redirect: dict[str, str]) -> None:
        tokens.append(await rp.ok("get_tokens_by_code", code=redirect["code"], state=redirect["state"]))

    async with trio.open_nursery() as nursery:
        for redirect in redirects:
            nursery.start_soon(finish, redirect)
    assert len({one["access_token"] for one in tokens}) == MANY
    op.requests.clear()
    user = await rp.ok("get_user_info", access_token=tokens[0]["access_token"])
    assert user["claims"]["sub"] == tokens[0]["id_token_claims"]["sub"]
    assert op.requests == [f"GET {USERINFO}"]


def _fails_with(status: int) -> Callable[[trio.Event, trio.Event], Callable[[Exchange], Awaitable[None]]]:
    return lambda arrived, release: failing_once_told(arrived, release, status)


async def test_a_site_that_is_removed_during_its_update(server: ServerProcess, op: FaultyOp) -> None:
    """The update, of which the OP knows already, is told that there is no such site any more: no internal error."""
    rp = await register(server, op.issuer)
    arrived, release = trio.Event(), trio.Event()
    op.faults = {REGISTRATION: held(arrived, release)}
    updating = await server.connect()
    await updating.send(encode_command("update_site", {"oxd_id": rp.oxd_id, "client_name": "New"}))
    await arrived.wait()
    await rp.ok("remove_site")
    release.set()
    assert (await updating.receive())["data"]["error"] == "invalid_oxd_id"
    await updating.aclose()


async def test_a_client_is_not_deleted_during_its_update(start_server: StartServer, op: FaultyOp) -> None:
    """With deregister_client_on_remove a removal waits for the update that is under way; both succeed, in turn."""
    async with start_server({"deregister_client_on_remove": True}) as server:
        rp = await register(server, op.issuer)
        arrived, release = trio.Event(), trio.Event()
        op.faults = {REGISTRATION: held(arrived, release)}
        updating, removing = await server.connect(), await server.connect()
        await updating.send(encode_command("update_site", {"oxd_id": rp.oxd_id, "client_name": "New"}))
        await arrived.wait()
        await removing.send(encode_command("remove_site", {"oxd_id": rp.oxd_id}))
        await rp.stored()
        assert f"DELETE {REGISTRATION}" not in op.requests
        release.set()
        assert data_of(await updating.receive()) == data_of(await removing.receive()) == {"oxd_id": rp.oxd_id}
        for connection in (updating, removing):
            await connection.aclose()
