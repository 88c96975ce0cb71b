"""Redis's bad days: hanging, full, read-only, killed under load, failed over by Sentinel. Real servers, all of them."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio
from msgspec.structs import replace

from oxd_server.client_metadata import ClientMetadata
from oxd_server.sandbox import RunningSandbox
from oxd_server.store import RedisSettings, Site, Store, StoreUnavailable, open_store
from tests.integration.conftest import StartServer
from tests.integration.logins import data_of, error_of, register
from tests.redis_server import free_port, redis_server, sentinel_of

SECONDS = 30
WRITERS = 8


async def tell(port: int, *commands: str) -> None:
    """Run commands with Redis's own client."""
    for command in commands:
        await trio.run_process(["redis-cli", "-p", str(port), *command.split()], capture_stdout=True)


async def eventually(call: Callable[[], Awaitable[bool]]) -> None:
    """Return when the call says yes."""
    with trio.fail_after(SECONDS):
        while not await call():
            await trio.sleep(0.02)


async def test_what_cannot_be_kept_is_told(start_server: StartServer, sandbox: RunningSandbox, tmp_path: Path) -> None:
    """Full, read-only, hanging, gone: storage_unavailable; reads go on where that is safe; and all does afterwards."""
    with redis_server(tmp_path) as (port, redis):
        storage = {"servers": [f"127.0.0.1:{port}"], "timeout_in_seconds": 1}
        async with start_server({"storage": "redis", "storage_configuration": storage}) as server:
            rp = await register(server, sandbox.issuer)

            async def reads() -> bool:
                return bool((await server.call("get_rp", oxd_id=rp.oxd_id))["status"] == "ok")

            async def writes() -> bool:
                params = {"oxd_id": rp.oxd_id, "contacts": ["a@example.org"]}
                return bool((await server.call("update_site", **params))["status"] == "ok")

            async def refuses_to_write() -> bool:
                answer = await server.call("update_site", oxd_id=rp.oxd_id, contacts=["b@example.org"])
                return answer["status"] == "error" and error_of(answer) == "storage_unavailable"

            assert await writes()
            await tell(port, "CONFIG SET maxmemory 1")
            assert await refuses_to_write()
            assert await reads()
            await tell(port, "CONFIG SET maxmemory 0")
            assert await writes()

            await tell(port, f"REPLICAOF 127.0.0.1 {free_port()}")
            assert await refuses_to_write()
            assert error_of(await server.call("get_rp", oxd_id=rp.oxd_id)) == "storage_unavailable"
            await tell(port, "REPLICAOF NO ONE")
            await eventually(writes)

            redis.send_signal(signal.SIGSTOP)
            assert await refuses_to_write()
            assert error_of(await server.call("get_rp", list=True)) == "storage_unavailable"
            redis.send_signal(signal.SIGCONT)
            await eventually(writes)

            redis.kill()
            assert await refuses_to_write()
            redis.wait()
            with redis_server(tmp_path, port=port):
                await eventually(reads)
                assert data_of(await server.call("get_rp", oxd_id=rp.oxd_id))["node"]["contacts"] == ["a@example.org"]
        assert "store_unavailable" in server.log_text()


class Tally:
    """What writers were told that is kept: for each site the last number that was acknowledged."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.acknowledged = 0
        self.refused = 0

    async def write(self, store: Store, oxd_id: str) -> None:
        """Write ever higher numbers into a site of its own."""
        number = 0
        while True:
            number += 1
            try:
                if oxd_id in self.kept:
                    await store.change(oxd_id, partial(_renamed, named(oxd_id, number)))
                else:
                    await store.add(named(oxd_id, number))
            except StoreUnavailable:
                self.refused += 1
                oxd_id = oxd_id if oxd_id in self.kept else f"{oxd_id}'"  # nobody knows whether it is there
                await trio.sleep(0.01)
                continue
            self.kept[oxd_id] = number
            self.acknowledged += 1

    async def lost(self, store: Store) -> list[str]:
        """Return the sites that are not there, or in an older version than was acknowledged."""
        lost = []
        for oxd_id, number in self.kept.items():
            site = await store.get(oxd_id)
            if site is None or int(site.client.client_name or 0) < number:
                lost.append(oxd_id)
        return lost


def named(oxd_id: str, number: int) -> Site:
    """Return a site that tells the number."""
    client = ClientMetadata(client_name=str(number))
    return Site(oxd_id=oxd_id, op_host="https://op.example.org", client=client)


def _renamed(newer: Site, site: Site) -> Site:
    return replace(site, client=newer.client)


async def written_through(settings: RedisSettings, trouble: Callable[[], Awaitable[None]]) -> Tally:
    """Let several tasks of two nodes write before, during and after the trouble; nothing acknowledged may be lost."""
    tally = Tally()

    async def so_many_more(count: int) -> None:
        wanted = tally.acknowledged + count

        async def have() -> bool:
            return tally.acknowledged >= wanted

        await eventually(have)

    async with open_store(settings) as a, open_store(settings) as b:
        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(tally.write, (a, b)[number % 2], f"site {number}")
            await so_many_more(200)
            await trouble()
            await so_many_more(200)
            nursery.cancel_scope.cancel()
        assert await tally.lost(a) == await tally.lost(b) == []
    return tally


async def test_a_killed_redis_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """Redis is killed under load and started again, with appendfsync always: no acknowledged write is lost."""
    with ExitStack() as stack:
        port, redis = stack.enter_context(redis_server(tmp_path))

        async def kill() -> None:
            redis.kill()
            redis.wait()
            stack.enter_context(redis_server(tmp_path, port=port))

        tally = await written_through(RedisSettings(servers=(("127.0.0.1", port),)), kill)
    print(f"killed Redis: {tally.acknowledged} writes acknowledged, {tally.refused} refused, 0 lost")


async def test_a_failover_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """The master is killed under load and Sentinel makes a replica the master: no acknowledged write is lost."""
    with ExitStack() as stack:
        master, process = stack.enter_context(redis_server(_folder(tmp_path, "master"), *_AT_ONCE))
        for name in ("one", "two"):
            options = ("--replicaof", "127.0.0.1", str(master), *_AT_ONCE)
            stack.enter_context(redis_server(_folder(tmp_path, name), *options))
        await eventually(lambda: says(master, "INFO replication", "connected_slaves:2"))
        sentinel = stack.enter_context(sentinel_of(_folder(tmp_path, "sentinel"), "oxd", master))
        await eventually(lambda: says(sentinel, "SENTINEL MASTER oxd", "num-slaves\n2\n"))

        async def kill() -> None:
            process.kill()

        settings = RedisSettings(
            servers=(("127.0.0.1", free_port()), ("127.0.0.1", sentinel)), sentinel_master="oxd", wait_for_replicas=1
        )
        assert settings.place.endswith("(Sentinel)")
        tally = await written_through(settings, kill)
    print(f"failover: {tally.acknowledged} writes acknowledged, {tally.refused} refused, 0 lost")


_AT_ONCE = ("--repl-diskless-sync-delay", "0")


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


async def says(port: int, command: str, expected: str) -> bool:
    """Tell whether Redis's answer has the text in it."""
    done = await trio.run_process(["redis-cli", "-p", str(port), *command.split()], capture_stdout=True, check=False)
    return expected in done.stdout.decode().replace("\r", "")
