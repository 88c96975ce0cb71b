"""`sync_client_from_op`: a site's client is read again at its OP before a command uses it (RFC 7592, section 2.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from oxd_server.rp.client_sync import ClientSync
from tests.integration.background import Background
from tests.integration.faulty_op import REGISTRATION, Exchange, Fault, FaultyOp, altered
from tests.integration.logins import REDIRECT_URI, SCOPES, Rp, error_of, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.uma_services import OXD_ID, uma_house

ALWAYS: dict[str, Any] = {"sync_client_from_op": True, "sync_client_period_in_seconds": 0}
READ = f"GET {REGISTRATION}"


@pytest.fixture
def server(running: Background) -> ServerProcess:
    """The server."""
    return running.server


def failing(status: int) -> Fault:
    """Answer this status and nothing else."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply((status, [(b"Content-Type", b"application/json")], b"{}"))

    return answer


def warnings(server: ServerProcess, rp: Rp, text: str) -> int:
    """Return how many log lines about the site have this text."""
    lines = [json.dumps(line) for line in server.log_lines()]
    return sum(rp.oxd_id in line and text in line for line in lines)


async def test_what_the_op_has_now_is_taken_over(server: ServerProcess, op: FaultyOp) -> None:
    """The rotated secret and the metadata are stored; what the application asked for stays what it asks for."""
    rp = await register(server, op.issuer, client_name="Mine", **ALWAYS)
    changed = {"client_secret": "rotated-" * 6, "client_name": "Renamed there", "contacts": ["op@example.org"]}
    op.faults[REGISTRATION] = altered(**changed)
    stored = await rp.stored()
    assert (stored["client_secret"], stored["client_name"]) == (changed["client_secret"], "Mine")
    assert json.loads(stored["registered_metadata"])["contacts"] == changed["contacts"]
    assert stored["last_synced"] > 0


async def test_a_young_view_is_not_read_again(server: ServerProcess, op: FaultyOp) -> None:
    """Within the period no command reads the client, and a site that does not ask for it is never read."""
    young = await register(server, op.issuer, sync_client_from_op=True)
    never = await register(server, op.issuer)
    op.requests.clear()
    assert (await young.stored())["sync_client_period_in_seconds"] == 3600
    await never.stored()
    assert op.requests == []
    await never.ok("update_site", **ALWAYS)
    op.requests.clear()
    await never.stored()
    assert op.requests == [READ]


async def test_a_failed_reading_fails_no_command(server: ServerProcess, op: FaultyOp) -> None:
    """It is logged, the command goes on with what is stored, and the next ones do not ask that OP at once again."""
    rp = await register(server, op.issuer, **ALWAYS)
    op.faults[REGISTRATION] = failing(500)
    op.requests.clear()
    first, second = await rp.stored(), await rp.stored()
    assert first["client_secret"] == second["client_secret"]
    assert op.requests.count(READ) >= 1
    asked = op.requests.count(READ)
    assert "http" in (await rp.ok("get_authorization_url"))["authorization_url"]
    assert op.requests.count(READ) == asked
    assert warnings(server, rp, "could not be read at the OP") == 1


async def test_one_reading_for_all_and_no_more_for_a_while() -> None:
    """Whoever comes meanwhile waits for the first; after a failure, the OP is left alone for a minute."""
    async with uma_house() as house:  # it answers nothing about clients
        known = await house.services.site(OXD_ID)
        url = f"{known.op_host}/register"
        wants = {"client_registration_client_uri": url, "client_registration_access_token": "token", **ALWAYS}
        site = await house.store.change(OXD_ID, lambda newest: replace(newest, **wants))
        other = replace(site, oxd_id="site-2")
        await house.store.add(other)
        sync = ClientSync(most_failed=1)
        async with trio.open_nursery() as nursery, house.services.under_way.site_locks.hold(OXD_ID):
            for _ in range(3):
                nursery.start_soon(sync.before_use, house.services, site)
            await trio.testing.wait_all_tasks_blocked()
        attempts = len(house.requests())
        assert {line["oxd_id"] for line in house.log} == {OXD_ID}
        await sync.before_use(house.services, site)
        assert len(house.requests()) == 0 < attempts
        house.clock.now += 61
        await sync.before_use(house.services, site)
        assert house.requests()
        await sync.before_use(house.services, other)  # there is room for one failure only
        await sync.before_use(house.services, site)
        assert house.requests()


async def test_another_node_was_first() -> None:
    """A site that was read while the command waited for its lock is not read again."""
    async with uma_house() as house:
        site = replace(await house.services.site(OXD_ID), client_registration_client_uri="https://op.example/c")
        site = replace(site, sync_client_from_op=True, client_registration_access_token="token")
        await house.store.change(OXD_ID, lambda _: replace(site, last_synced=int(house.clock.now * 1000)))
        await ClientSync().before_use(house.services, site)
        assert (house.requests(), house.log) == ([], [])


async def test_a_client_that_cannot_be_read_is_named(server: ServerProcess, op: FaultyOp) -> None:
    """Where the OP says no place to read it, the log says at registration that the parameter has no effect."""
    op.faults[REGISTRATION] = altered(registration_client_uri=None)
    rp = await register(server, op.issuer, **ALWAYS)
    await rp.stored()
    assert READ not in op.requests
    assert warnings(server, rp, "sync_client_from_op has no effect") == 1


async def test_a_negative_period_is_refused(server: ServerProcess, op: FaultyOp) -> None:
    """It means nothing."""
    site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
    answer = await server.call("register_site", **site, sync_client_period_in_seconds=-1)
    assert error_of(answer) == "invalid_request"
