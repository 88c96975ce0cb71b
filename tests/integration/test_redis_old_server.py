"""Redis as an old server left it: its sites are imported, by command or at the first start, and its keys stay."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trio

from oxd_server.admin import import_old_keys, import_sites
from oxd_server.config import Config
from oxd_server.config.store_place import store_place
from oxd_server.store import MemoryStore, Site, StoreError, open_store
from tests.integration import preloaded
from tests.integration.logins import data_of
from tests.integration.oxd_process import running_server, write_config
from tests.integration.redis_nodes import ask, config_of, two_nodes
from tests.redis_server import free_port

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
