"""Several nodes on one Redis: real server processes, a real redis-server, and what only one may do for all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from oxd_server.admin import (
    copy_between,
    export_sites,
    import_old_keys,
    import_sites,
    list_sites,
    remove_site,
)
from oxd_server.client_metadata import ClientMetadata
from oxd_server.config import Config, Sources, StorageConfig, load_settings
from oxd_server.config.store_place import store_place
from oxd_server.op.tokens import TokenAnswer
from oxd_server.rp.refreshes import Refreshes
from oxd_server.rp.site_marks import SiteMarks
from oxd_server.sandbox import RunningSandbox
from oxd_server.store import MemoryStore, RedisSettings, Site, SiteSession, StoreError, StoreUnavailable, open_store
from oxd_server.store.redis import RedisStore, open_redis_store
from oxd_server.sync.single_flight import SingleFlight
from tests.integration import preloaded
from tests.integration.logins import Rp, data_of, error_of, register
from tests.integration.oxd_process import ServerProcess, running_server, write_config
from tests.integration.uma_as import INTROSPECT, PAT
from tests.integration.uma_services import OXD_ID, uma_house
from tests.redis_server import free_port, redis_server

ROUNDS = int(os.environ.get("OXD_TEST_ROUNDS", "2"))
"""How often 200 commands want the same state; 100 in a long run."""
SECONDS = 20


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis"), "--requirepass", "s3same") as (port, _):
        yield port


def storage(port: int, **keys: Any) -> dict[str, Any]:
    """Return the configuration of a node on that Redis."""
    keys = {"servers": f"127.0.0.1:{port}", "password": "s3same", "prefix": uuid.uuid4().hex, **keys}
    return {"storage": "redis", "storage_configuration": keys}


@asynccontextmanager
async def two_nodes(folder: Path, config: dict[str, Any]) -> AsyncIterator[tuple[ServerProcess, ServerProcess]]:
    """Run two servers, as on two machines: what they share is Redis alone."""
    for name in ("a", "b"):
        (folder / name).mkdir()
    async with running_server(folder / "a", config) as a, running_server(folder / "b", config) as b:
        yield a, b


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


def settings_of(port: int, **changes: Any) -> RedisSettings:
    """Return what a store on that Redis needs, with a prefix of its own."""
    settings = RedisSettings(servers=(("127.0.0.1", port),), password="s3same", prefix=uuid.uuid4().hex, timeout=10.0)
    return msgspec.structs.replace(settings, **changes)


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
                    house.services, store=store, site_locks=store.locks, pats=SingleFlight()
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


def test_one_line_says_why_it_cannot_start(tmp_path: Path, redis_port: int) -> None:
    """A server whose Redis is not there says so in one line and ends with 1."""
    path = write_config(tmp_path, storage(free_port()))
    path.chmod(0o600)  # it holds a password, and whoever lets others read it is warned
    done = preloaded.run("serve", "--config", path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "oxd-server: the store at Redis 127.0.0.1:" in done.stderr
    assert "s3same" not in done.stderr


def config_of(port: int, **keys: Any) -> Config:
    """Return the configuration of a node, as it is after reading."""
    keys = {"servers": (f"127.0.0.1:{port}",), "password": "s3same", **keys}
    return Config(storage="redis", storage_configuration=StorageConfig(**keys))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"password": "wr0ng"}, "refuses the user name or the password"),
        ({"password": None}, "refuses the user name or the password"),
        ({"username": "nobody"}, "refuses the user name or the password"),
        ({"prefix": "foreign"}, "is not of this version of oxd-server; nothing was changed"),
        ({"prefix": "list"}, "something that another application keeps lies under our prefix"),
        ({"mode": "sentinel"}, "needs storage_configuration.sentinel_master"),
        ({"mode": "sentinel", "sentinel_master": "m"}, "cannot be used"),
        ({"tls": True, "ca_path": Path("/nowhere/ca.pem")}, "a certificate for Redis cannot be used"),
        ({"tls": True}, "cannot be used"),
    ],
)
async def test_what_cannot_be_used_is_told(redis_port: int, keys: dict[str, Any], expected: str) -> None:
    """Each mistake in the configuration has a line of its own, and no password is in it."""
    ask(redis_port, "SET {foreign}:about hello", "DEL {list}:about", "RPUSH {list}:about x")
    with pytest.raises(StoreError) as caught:
        async with open_store(store_place(config_of(redis_port, timeout_in_seconds=2.0, **keys))):
            pass
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "wr0ng" not in str(caught.value)


async def test_without_the_package(redis_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without coredis the error says how to get it."""
    monkeypatch.setitem(sys.modules, "oxd_server.store.redis", None)
    with pytest.raises(StoreError, match="needs coredis: pip install"):
        async with open_store(settings_of(redis_port)):
            pass


def ask(port: int, *commands: str) -> None:
    """Run commands with Redis's own client."""
    for command in commands:
        subprocess.run(
            ["redis-cli", "-p", str(port), *command.split()],
            check=True, capture_output=True, timeout=10, env={**os.environ, "REDISCLI_AUTH": "s3same"},
        )  # fmt: skip


async def test_old_names_and_passwords_elsewhere(redis_port: int, tmp_path: Path) -> None:
    """The keys of old servers are understood; the password may be in a file or in the environment."""
    (tmp_path / "password").write_text("s3same\n")
    old = {"host": "127.0.0.1", "port": redis_port, "redisProviderType": "STANDALONE", "servers": "[::1]:1"}
    path = tmp_path / "oxd-conf.json"
    in_file, in_variable = {"password_file": "password"}, {"OXD_STORAGE_CONFIGURATION_PASSWORD": "s3same"}
    for keys, environment in ((in_file, {}), ({}, in_variable)):
        storage = {"prefix": uuid.uuid4().hex, **old, **keys}
        path.write_text(json.dumps({"storage": "redis", "storage_configuration": storage}))
        async with open_store(store_place(load_settings(Sources(path, environment)).config)) as store:
            assert await store.list() == []


async def test_command_line(redis_port: int, tmp_path: Path) -> None:
    """Sites in Redis are imported, listed, exported and removed from the command line."""
    config = config_of(redis_port, prefix=uuid.uuid4().hex)
    async with open_store(store_place(config)) as store:
        await store.add(Site(oxd_id="one", op_host="https://op.example.org"))
    exported = await export_sites(config, None)
    (tmp_path / "one.json").write_bytes(msgspec.json.encode(exported[0]))
    assert (await import_sites(config, str(tmp_path), dry_run=True)).known == ("one",)
    await remove_site(config, "one")
    assert (await import_sites(config, str(tmp_path))).added == 1
    assert [oxd_id for oxd_id, _ in await list_sites(config)] == ["one"]


async def test_between_a_file_and_redis(redis_port: int, tmp_path: Path) -> None:
    """All sites go from a file to Redis and from there to another file; what differs stays without --replace."""
    in_redis, sums = config_of(redis_port, prefix=uuid.uuid4().hex), []
    files = [Config(store_path=tmp_path / name) for name in ("old.sqlite", "new.sqlite")]
    async with open_store(files[0].store_path) as store:
        pairs = [(Site(oxd_id=f"site {n}", op_host="https://op.example.org"), SiteSession(pat=f"p{n}")) for n in "abc"]
        await store.add_all(pairs)
    configs = [files[0], in_redis, files[1]]
    for source, target in pairwise(configs):
        copied = await copy_between(source, target, replace=False, progress=lambda *_: None)
        assert copied[:5] == (3, 0, 0, 2, 3)
        sums.append(copied.sha256)
        assert await export_sites(target, None) == await export_sites(source, None)
    assert sums[0] == sums[1]
    async with open_store(store_place(in_redis)) as store:
        await store.change_session("site b", lambda _: SiteSession(pat="newer"))
    for source, target in (configs[:2], configs[:0:-1]):
        with pytest.raises(StoreError, match=r"1 sites .* differ \(site b\)"):
            await copy_between(source, target, replace=False, progress=lambda *_: None)
    with pytest.raises(StoreError, match="both configurations name the same store"):
        await copy_between(in_redis, in_redis, replace=False, progress=lambda *_: None)


def test_backup_of_a_store_in_redis(redis_port: int, tmp_path: Path) -> None:
    """Neither backup nor restore touches anything; one line says what to do instead."""
    path = write_config(tmp_path, storage(redis_port))
    for command in ("backup", "restore"):
        done = preloaded.run(command, tmp_path / "backup", "--config", path)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "`oxd-server sites copy`" in done.stderr
    assert not [found for found in tmp_path.iterdir() if found.suffix != ".json"]


OLD_VALUES = Path(__file__).parents[1] / "unit" / "store" / "old" / "redis-values.hex"


async def fill(port: int, values: dict[str, bytes], database: int) -> None:
    """Put values into a database, as an old server did, beside what another application keeps there."""
    env = {**os.environ, "REDISCLI_AUTH": "s3same"}
    others = {"session": b"\xac\xed\x00\x05\x73\x72", "text": b"\xac\xed\x00\x05\x74\x00\x01x", "plain": b'"oxd_id"'}
    command = ["redis-cli", "-p", str(port), "-n", str(database)]
    for key, value in (values | others).items():
        await trio.run_process([*command, "-x", "SET", key], stdin=value, env=env, capture_stdout=True)
    expires = f"SETEX expires 1000 {'x' * 9}"
    for words in (expires, "RPUSH list x"):
        await trio.run_process([*command, *words.split()], env=env, capture_stdout=True)


def old_values() -> dict[str, bytes]:
    """Return what a real old server kept in Redis."""
    pairs = (line.split() for line in OLD_VALUES.read_text().splitlines())
    return {key: bytes.fromhex(value) for key, value in pairs}


def all_of(port: int, database: int) -> bytes:
    """Return all of a database but our own keys and what expires."""
    script = (
        "local t = {} for _, k in ipairs(redis.call('KEYS', '[^{]*')) do "
        "if k ~= 'expires' then t[#t + 1] = k .. (redis.call('TYPE', k).ok == 'string' and redis.call('GET', k) or '') "
        "end end table.sort(t) return t"
    )
    return subprocess.run(
        ["redis-cli", "-p", str(port), "-n", str(database), "EVAL", script, "0"],
        check=True, capture_output=True, timeout=10, env={**os.environ, "REDISCLI_AUTH": "s3same"},
    ).stdout  # fmt: skip


async def test_the_old_servers_redis_is_a_source(redis_port: int, tmp_path: Path) -> None:
    """The command line imports from a Redis that runs: all sites, once, nothing of others, and writes nothing there."""
    values = old_values()
    await fill(redis_port, values, database=3)
    before = all_of(redis_port, 3)
    url, config = f"redis://127.0.0.1:{redis_port}/3", write_config(tmp_path, {})
    (tmp_path / "password").write_text("s3same\n")
    options = ("--password-path", tmp_path / "password", "--config", config)
    done = preloaded.run("sites", "import", url, *options)
    assert done.stdout.startswith(f"Read {url}: Redis of an old server, {len(values)} sites.\nAdded {len(values)}; 0 ")
    listed = preloaded.run("sites", "list", "--config", config).stdout
    assert {line.split()[0] for line in listed.splitlines()[1:]} == set(values)
    assert f"{len(values)} were there already" in preloaded.run("sites", "import", url, "--dry-run", *options).stdout
    assert all_of(redis_port, 3) == before
    for wrong, expected in (
        (f"redis://user:s3same@127.0.0.1:{redis_port}/3", "a password does not belong on the command line"),
        (f"redis://127.0.0.1:{redis_port}/x", "this names no Redis"),
        (url, "it refuses the user name or the password"),
        (f"rediss://nobody@127.0.0.1:{redis_port}/3", "cannot be read"),
        (f"redis://127.0.0.1:{free_port()}", "cannot be read"),
    ):
        with pytest.raises(StoreError, match=expected) as caught:
            await import_sites(Config(store_path=tmp_path / "x.sqlite"), wrong)
        assert "s3same" not in str(caught.value)
    key = next(iter(values))
    await fill(redis_port, {key: values[key][:-1]}, database=3)
    with pytest.raises(StoreError, match=f"the key '{key}' has .* bytes where"):
        await import_sites(Config(store_path=tmp_path / "x.sqlite"), url, password="s3same")


async def test_first_start_on_an_old_servers_redis(redis_port: int, tmp_path: Path) -> None:
    """With the old server's configuration the old sites are there at once; they come over once, and its keys stay."""
    values = old_values()
    await fill(redis_port, values, database=4)
    before = all_of(redis_port, 4)
    old = {"redisProviderType": "STANDALONE", "servers": f"127.0.0.1:{redis_port}", "password": "s3same", "database": 4}
    config = {"storage": "redis", "storage_configuration": old}
    async with two_nodes(tmp_path, config) as (a, b):
        for oxd_id in values:
            assert data_of(await b.call("get_rp", oxd_id=oxd_id))["node"]["oxd_id"] == oxd_id
        gone = next(iter(values))
        data_of(await a.call("remove_site", oxd_id=gone))
        assert (a.log_text() + b.log_text()).count("old server's sites in Redis were imported") == 1
    assert all_of(redis_port, 4) == before
    (tmp_path / "again").mkdir()
    async with running_server(tmp_path / "again", config) as again:
        listed = {node["oxd_id"] for node in data_of(await again.call("get_rp", list=True))["node"]}
    assert listed == set(values) - {gone}


async def test_whose_old_keys_are_not_looked_at(redis_port: int) -> None:
    """A store with sites, another prefix, an ACL user, a store in a file: no old key comes over."""
    await fill(redis_port, old_values(), database=5)
    for keys in ({"prefix": "x"}, {"username": "default"}):
        async with open_store(store_place(config_of(redis_port, database=5, **keys))) as store:
            assert await import_old_keys(store, config_of(redis_port, database=5, **keys)) is None
            assert await store.list() == []
    config = config_of(redis_port, database=5)
    async with open_store(store_place(config)) as store:
        ask(redis_port, "ACL SETUSER default resetkeys ~{oxd}:*")
        try:
            assert await import_old_keys(store, config) is None
        finally:
            ask(redis_port, "ACL SETUSER default allkeys")
        assert await import_old_keys(store, config) is None
        assert await store.list() == []
    ask(redis_port, "FLUSHALL")
    await fill(redis_port, old_values(), database=5)
    async with open_store(store_place(config)) as store:
        await store.add(Site(oxd_id="one", op_host="https://op.example.org"))
        assert await import_old_keys(store, config) is None
        assert len(await store.list()) == 1
    assert await import_old_keys(MemoryStore(), Config()) is None


class _Gone:
    """A store that cannot be reached."""

    async def get(self, oxd_id: str) -> Site | None:
        raise StoreUnavailable(oxd_id)

    async def sites_of_client(self, op_host: str, client_id: str, limit: int) -> list[Site]:
        raise StoreUnavailable(client_id)


async def test_marks_of_a_store_that_is_gone() -> None:
    """Whose dialect cannot be looked up has no mark: the command itself will tell that the store is gone."""
    marks = SiteMarks(_Gone())  # type: ignore[arg-type]
    assert await marks.of_site("one") is None
    assert await marks.of_client("https://op.example.org", "client") is None
