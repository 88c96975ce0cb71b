"""The configuration of a store in Redis, what is wrong with it, and what the command line does with such a store."""

from __future__ import annotations

import json
import sys
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oxd_server.admin import copy_between, export_sites, import_sites, list_sites, remove_site
from oxd_server.config import Config, Sources, load_settings
from oxd_server.config.store_place import store_place
from oxd_server.store import Site, SiteSession, StoreError, open_store
from tests.integration import preloaded
from tests.integration.oxd_process import write_config
from tests.integration.redis_nodes import ask, config_of, settings_of, storage
from tests.redis_server import free_port


def test_one_line_says_why_it_cannot_start(tmp_path: Path, redis_port: int) -> None:
    """A server whose Redis is not there says so in one line and ends with 1."""
    path = write_config(tmp_path, storage(free_port()))
    path.chmod(0o600)  # it holds a password, and whoever lets others read it is warned
    done = preloaded.run("serve", "--config", path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "oxd-server: the store at Redis 127.0.0.1:" in done.stderr
    assert "s3same" not in done.stderr


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
