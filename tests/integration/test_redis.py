"""Several nodes on one Redis: real server processes, a real redis-server, and what only one may do for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import trio
import trio.testing

from oxd_server.client_metadata import ClientMetadata
from oxd_server.op.tokens import TokenAnswer
from oxd_server.rp.refreshes import Refreshes
from oxd_server.rp.under_way import UnderWay
from oxd_server.sandbox import RunningSandbox
from oxd_server.store import Site
from oxd_server.store.redis import RedisStore, open_redis_store
from tests.integration.logins import Rp, data_of, error_of, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.redis_nodes import settings_of, storage, two_nodes
from tests.integration.uma_as import INTROSPECT, PAT
from tests.integration.uma_services import OXD_ID, uma_house

ROUNDS = int(os.environ.get("OXD_TEST_ROUNDS", "2"))
"""How often 200 commands want the same state; 100 in a long run."""
SECONDS = 20


async def test_two_nodes_are_one_server(sandbox: RunningSandbox, tmp_path: Path, redis_port: int) -> None:
    """What one node says the other knows at its next command; a state is redeemed once; a kill costs nothing."""
    async with two_nodes(tmp_path, storage(redis_port)) as (a, b):
        at_a = await register(a, sandbox.issuer)
        at_b = Rp(b, at_a.oxd_id)
        for number in range(10):
            writer, reader = (at_a, at_b) if number % 2 else (at_b, at_a)
            await writer.ok("update_site", client_name=f"name {number}")
            assert (await reader.stored())["client_name"] == f"name {number}"
        for _ in range(ROUNDS):
            assert await redeem_at_both(at_a, at_b, 200) == 1
        await at_b.ok("remove_site")
        assert (await at_a.error("get_rp"))["error"] == "invalid_oxd_id"
        assert await kill_under_load(a, b, sandbox.issuer) == set()


async def redeem_at_both(at_a: Rp, at_b: Rp, count: int) -> int:
    """Redeem one state so often, half at each node, all at once; return how many succeed."""
    callback = await at_a.authorize()
    params = {"code": callback["code"], "state": callback["state"]}
    won: list[str] = []

    async def redeem(rp: Rp) -> None:
        answer = await rp.server.call("get_tokens_by_code", oxd_id=rp.oxd_id, **params)
        if answer["status"] == "ok":
            won.append(answer["data"]["access_token"])
        else:
            assert error_of(answer) in ("bad_request", "invalid_state")

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(redeem, (at_a, at_b)[number % 2])
    return len(won)


async def kill_under_load(a: ServerProcess, b: ServerProcess, op_host: str) -> set[str]:
    """Kill the first node while clients register sites at both; return what was acknowledged and is lost."""
    acknowledged: list[str] = []
    killed = trio.Event()

    async def client(server: ServerProcess) -> None:
        while not killed.is_set() or len(acknowledged) < 60:
            try:
                rp = await register(server, op_host, client_id="known", client_secret="s3cret")
            except (AssertionError, trio.BrokenResourceError, OSError):
                assert server is a
                return
            acknowledged.append(rp.oxd_id)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(client, (a, b)[number % 2])
        with trio.fail_after(SECONDS):
            while len(acknowledged) < 40:
                await trio.sleep(0.005)
        await a.kill()
        killed.set()
    listed = {node["oxd_id"] for node in data_of(await b.call("get_rp", list=True))["node"]}
    return set(acknowledged) - listed


async def test_no_read_is_older_than_an_acknowledged_write(redis_port: int) -> None:
    """A thousand times: one node's write is acknowledged, then another reads, whose memory is kept full meanwhile."""
    rounds, settings = 1000, settings_of(redis_port)
    stale: list[int] = []

    def named(number: int) -> Callable[[Site], Site]:
        return lambda site: msgspec.structs.replace(site, client=ClientMetadata(client_name=str(number)))

    async def keep_reading(store: RedisStore) -> None:
        while True:
            await store.get("one")

    async with open_redis_store(settings) as writer, open_redis_store(settings) as reader:
        await writer.add(Site(oxd_id="one", op_host="https://op.example.org"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_reading, reader)
            for number in range(rounds):
                await writer.change("one", named(number))
                site = await reader.get("one")
                assert site is not None
                if site.client.client_name != str(number):
                    stale.append(number)
            nursery.cancel_scope.cancel()
    assert stale == []


async def test_one_refresh_of_one_token_for_all_nodes(redis_port: int) -> None:
    """A node that wants to use a refresh token while another does gets the answer of that one; later it asks anew."""
    settings = settings_of(redis_port)
    sent: list[None] = []
    got: list[TokenAnswer] = []
    async with open_redis_store(settings) as a, open_redis_store(settings) as b:

        async def request() -> TokenAnswer:
            sent.append(None)
            if len(sent) == 1:
                while not len(b.locks):
                    await trio.sleep(0.001)
                await trio.testing.wait_all_tasks_blocked(0.001)
                await b.secret("x", lambda: b"x")  # so Redis has answered b that the lock is taken
            return TokenAnswer(access_token=f"token {len(sent)}", refresh_token="next")

        async def refresh(store: RedisStore) -> None:
            got.append(await Refreshes(store.locks).run("one", "r3fresh", None, request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refresh, a)
            while not sent:
                await trio.sleep(0.001)
            nursery.start_soon(refresh, b)
        assert [tokens.access_token for tokens in got] == ["token 1", "token 1"]
        assert got[0] == msgspec.structs.replace(got[0], refresh_token="next")
        await refresh(b)
        assert got[2].access_token == "token 2"


async def test_one_renewal_of_a_pat_for_all_nodes(redis_port: int) -> None:
    """Twenty commands at each of two nodes need a PAT at the same time: the authorization server is asked for one."""
    settings = settings_of(redis_port)
    async with open_redis_store(settings) as a, open_redis_store(settings) as b, uma_house() as house:
        site = await house.store.get(OXD_ID)
        assert site is not None
        await a.add(site)

        async def until_both_want_it() -> None:
            while not (len(a.locks) and len(b.locks)):
                await trio.sleep(0.001)
            await trio.testing.wait_all_tasks_blocked(0.001)
            for store in (a, b):
                await store.secret("x", lambda: b"x")  # so Redis has answered the other one that the lock is taken

        house.authorization_server.fault(PAT, lambda _: until_both_want_it())
        nodes = [
            replace(
                house,
                store=store,
                services=msgspec.structs.replace(
                    house.services, store=store, under_way=UnderWay(site_locks=store.locks)
                ),
            )
            for store in (a, b)
        ]
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(partial(nodes[number % 2].call, "introspect_rpt", rpt="r"))
        steps = house.requests()
        assert (steps.count(PAT), steps.count(INTROSPECT)) == (1, 40)
        assert (await a.session(OXD_ID)).pat == (await b.session(OXD_ID)).pat == "pat-1"
