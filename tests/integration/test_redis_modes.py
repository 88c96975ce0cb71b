"""Redis as a cluster of three masters, and over TLS. Real servers, all of them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from oxd_server.admin import import_old_keys
from oxd_server.client_metadata import ClientMetadata
from oxd_server.config import Config, StorageConfig
from oxd_server.config.store_place import store_place
from oxd_server.store import Site, SiteSession, StoreError, open_store
from tests.integration.tls_op import DAY, make_authority
from tests.redis_server import free_port, redis_cluster, redis_server

NODE = '{"oxd_id":"%s","op_host":"https://op.example.org"}'


async def smoke(config: Config) -> None:
    """Do what a store is for, at two nodes: what one has acknowledged, the other sees."""
    async with open_store(store_place(config)) as a, open_store(store_place(config)) as b:
        site = Site(oxd_id="one", op_host="https://op.example.org", is_setup_client=True)
        await a.add_all([(site, SiteSession(pat="p")), (replace(site, oxd_id="two"), SiteSession())])
        assert await b.get("one") == site
        renamed = replace(site, client=ClientMetadata(client_name="N"))
        assert await b.change("one", lambda _: renamed) == await a.get("one") == renamed
        await a.change_session("one", lambda session: replace(session, pat="q"))
        assert (await b.session("one")).pat == "q"
        assert await a.list() == [("one", "N"), ("two", "")]
        assert [found.oxd_id for found in await b.setup_clients("https://op.example.org", 1)] == ["two"]
        assert await a.secret("key", lambda: b"a") == await b.secret("key", lambda: b"b")
        assert [await store.spend(b"state", 100.0, 1.0) for store in (a, b)] == [True, False]
        assert a.locks is not None
        async with a.locks.hold("one"):
            await a.remove("one")
        assert await b.get("one") is None


async def test_a_cluster(tmp_path: Path) -> None:
    """Wherever the keys of a prefix lie, any server of the cluster leads there; old keys come from all masters."""
    with redis_cluster(tmp_path) as ports:

        def config_of(prefix: str = "oxd") -> Config:
            servers = (f"127.0.0.1:{free_port()}", f"127.0.0.1:{ports[0]}")
            keys = StorageConfig(mode="cluster", servers=servers, prefix=prefix)
            return Config(storage="redis", storage_configuration=keys)

        for prefix in "abc":  # in slots 15495, 3300 and 7365: one on each master
            await smoke(config_of(prefix))
        sizes = [await ask(port, "DBSIZE") for port in ports]
        assert all(int(size) > 0 for size in sizes), sizes
        old = {f"old-{number}" for number in range(9)}
        for oxd_id in old:
            text = (NODE % oxd_id).encode()
            value = b"\xac\xed\x00\x05\x74" + len(text).to_bytes(2, "big") + text
            await ask(ports[0], "-c", "-x", "SET", oxd_id, stdin=value)
        async with open_store(store_place(config_of())) as store:
            imported = await import_old_keys(store, config_of())
            assert imported is not None
            assert imported.added == 9
            assert {oxd_id for oxd_id, _ in await store.list()} == old


async def ask(port: int, *words: str, stdin: bytes = b"") -> str:
    """Run a command with Redis's own client."""
    done = await trio.run_process(["redis-cli", "-p", str(port), *words], stdin=stdin, capture_stdout=True)
    return done.stdout.decode()


async def test_tls(tmp_path: Path) -> None:
    """Over TLS Redis's certificate must be of the configured authority and for its address; ours is shown to it."""
    if "--tls" not in subprocess.run(["redis-cli", "--help"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("this Redis is built without TLS")
    authority, port = make_authority("redis"), free_port()
    key, certificate = authority.issue("127.0.0.1", datetime.now(UTC) + DAY)
    pair, ca = tmp_path / "pair.pem", tmp_path / "ca.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    files = ("--tls-cert-file", str(pair), "--tls-key-file", str(pair), "--tls-ca-cert-file", str(ca))
    with redis_server(tmp_path, "--tls-port", str(port), "--bind", "127.0.0.1", "127.0.0.2", *files):

        def config_of(ca: Path | None, pair: Path | None, host: str = "127.0.0.1") -> Config:
            servers = (f"{host}:{port}",)
            keys = StorageConfig(servers=servers, tls=True, ca_path=ca, cert_path=pair, key_path=pair)
            return Config(storage="redis", storage_configuration=keys)

        await smoke(config_of(ca, pair))
        for wrong in (config_of(None, pair), config_of(ca, None), config_of(ca, pair, "127.0.0.2")):
            with pytest.raises(StoreError, match="cannot be used"):
                async with open_store(store_place(wrong)):
                    pass
