"""SIGHUP: what a running server takes from its configuration, and what it does not."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from oxd_server.entrances.certificates import ensure_self_signed
from oxd_server.op.key_store import new_key_store
from oxd_server.sandbox import RunningSandbox
from tests.integration.faulty_op import DISCOVERY, FaultyOp, held
from tests.integration.in_process import NOT_RELOADED, SECONDS, running
from tests.integration.logins import REDIRECT_URI, SCOPES, data_of, error_of, register
from tests.integration.oxd_process import OxdConnection
from tests.integration.tls_op import make_certificates, tls_op


def site_at(op_host: str) -> dict[str, Any]:
    return {"op_host": op_host, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}


async def test_the_ops_that_are_allowed(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """An OP that is not allowed any more is refused to the next command, on a connection that is open as well."""
    async with running(tmp_path) as server:
        connection = await server.connect()
        data_of(await connection.call("register_site", **site_at(sandbox.issuer)))
        line = await server.reload(allowed_op_hosts=["op.example.org"])
        assert line["level"] == "info"
        answer = await connection.call("register_site", **site_at(sandbox.issuer))
        assert "allowed_op_hosts" in answer["data"]["error_description"]
        await server.reload(allowed_op_hosts=[])
        data_of(await connection.call("register_site", **site_at(sandbox.issuer)))
        await connection.aclose()


async def test_a_login_goes_on(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A login that began before a reload ends after it: states and sites are those of the store."""
    async with running(tmp_path) as server:
        rp = await register(server, sandbox.issuer)
        callback = await rp.authorize()
        await server.reload(state_expiration_in_minutes=7)
        tokens = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
        assert tokens["access_token"]


async def test_the_default_site(tmp_path: Path) -> None:
    """What register_site falls back to, as ever."""
    async with running(tmp_path) as server:
        (tmp_path / "oxd-default-site-config.json").write_text('{"op_host": "https://second.example.org"}')
        await server.hang_up()
        own = {"client_id": "own-client", "client_secret": "own-secret"}
        params = {"authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES, **own}
        assert data_of(await server.call("register_site", **params))["op_host"] == "https://second.example.org"


async def test_the_certificate(tmp_path: Path) -> None:
    """Who connects from now on sees the new certificate; a connection that is open lives on with the old one."""
    now = datetime.now(UTC)
    pairs = [ensure_self_signed(tmp_path / name, now) for name in ("one", "two")]
    https = {"enabled": True, "port": 0, "cert_path": str(pairs[0][0]), "key_path": str(pairs[0][1])}
    async with running(tmp_path, https={**https, "bind_addresses": ["127.0.0.1"]}) as server:

        async def connect(trusted: Path) -> trio.SSLStream[trio.SocketStream]:
            context = ssl.create_default_context(cafile=trusted)
            stream = await trio.open_tcp_stream("127.0.0.1", server.https_port)
            secure = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
            await secure.do_handshake()
            return secure

        async def answers(stream: trio.SSLStream[trio.SocketStream]) -> bool:
            await stream.send_all(b"GET /health-check HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while b"running" not in received:
                received += (chunk := await stream.receive_some())
                if not chunk:
                    return False
            return True

        with trio.fail_after(SECONDS):
            old = await connect(pairs[0][0])
            assert await answers(old)
            for source, target in zip(pairs[1], pairs[0], strict=True):
                target.write_bytes(source.read_bytes())
            await server.hang_up()
            new = await connect(pairs[1][0])
            assert new.getpeercert(binary_form=True) != old.getpeercert(binary_form=True)
            assert await answers(new)
            assert await answers(old)
            pairs[0][1].write_text("no key")
            line = await server.hang_up(NOT_RELOADED)
            assert "https.cert_path" in line["reasons"][0]
            newest = await connect(pairs[1][0])
            assert await answers(newest)
            for stream in (old, new, newest):
                await trio.aclose_forcefully(stream)


async def test_the_key_store(tmp_path: Path) -> None:
    """Clients authenticate with the new keys, which the public key set shows."""
    new_key_store(tmp_path / "one.json")
    new_key_store(tmp_path / "two.json")
    async with running(tmp_path, crypt_provider_key_store_path="one.json") as server:
        before = data_of(await server.call("get_rp_jwks"))
        await server.reload(crypt_provider_key_store_path="two.json")
        after = data_of(await server.call("get_rp_jwks"))
        assert len(after["keys"]) == len(before["keys"]) > 0
        assert after != before


async def test_the_trust_store(tmp_path: Path) -> None:
    """An OP whose authority was not trusted is, and is not again."""
    certificates = make_certificates(tmp_path)
    async with running(tmp_path) as server, tls_op(certificates, "untrusted") as op:
        for trusted, good in (("", False), (str(certificates.trust_store), True), ("", False)):
            await server.reload(trust_store_path=trusted)
            answer = await server.call("register_site", **site_at(op.issuer))
            assert (answer["status"] == "ok") is good, answer


async def test_limits_and_the_log(tmp_path: Path) -> None:
    """How many may connect, what a request may be, and what is logged; who is connected stays."""
    async with running(tmp_path) as server:
        connection = await server.connect()
        await connection.call("get_rp", list=True)
        await server.reload(max_connections=1, log_level="warning")
        assert error_of(await server.call("get_rp", list=True)) == "server_busy"
        data_of(await connection.call("get_rp", list=True))
        seen = len(server.log_lines())
        await connection.call("no_such_command")
        assert server.log_lines()[seen:] == []
        await connection.aclose()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"crypt_provider_key_store_path": "none.json"}, "none.json"),
        ({"trust_store_path": "none.pem"}, "none.pem"),
        ({"port": "many"}, "port"),
    ],
)
async def test_what_is_wrong_changes_nothing(
    tmp_path: Path, sandbox: RunningSandbox, config: dict[str, Any], words: str
) -> None:
    """One thing that is wrong, and nothing of the rest is taken either."""
    async with running(tmp_path) as server:
        line = await server.reload(NOT_RELOADED, allowed_op_hosts=["op.example.org"], **config)
        assert line["level"] == "error"
        assert words in line["reasons"][0]
        data_of(await server.call("register_site", **site_at(sandbox.issuer)))


async def test_broken_files_change_nothing(tmp_path: Path) -> None:
    """A file that is no JSON, or not there, is told of; both files count."""
    async with running(tmp_path) as server:
        for name in ("oxd-default-site-config.json", "oxd-conf.json"):
            (tmp_path / name).write_text("{")
            line = await server.hang_up(NOT_RELOADED)
            assert name in line["reasons"][0]
        data_of(await server.call("get_rp", list=True))


async def test_what_needs_a_restart_says_so(tmp_path: Path) -> None:
    """Such keys are named and keep their values; the others of the file are taken."""
    async with running(tmp_path) as server:
        storage = {"path": str(tmp_path / "other.sqlite")}
        await server.reload(port=1, storage_configuration=storage, https={"enabled": True}, max_connections=1)
        line = await server.wait_for_log("restart_needed")
        assert line["keys"] == ["port", "https.enabled", "storage_configuration"]
        connection = await server.connect()
        data_of(await connection.call("get_rp", list=True))
        assert error_of(await server.call("get_rp", list=True)) == "server_busy"
        await connection.aclose()
        assert not (tmp_path / "other.sqlite").exists()


async def test_a_command_ends_as_it_began(tmp_path: Path, op: FaultyOp) -> None:
    """A command that waits for its OP while the OPs that are allowed change is answered as if nothing had."""
    arrived, release = trio.Event(), trio.Event()
    answers: list[dict[str, Any]] = []
    async with running(tmp_path) as server:
        op.faults[DISCOVERY] = held(arrived, release)

        async def register_slowly() -> None:
            answers.append(await server.call("register_site", **site_at(op.issuer)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(register_slowly)
            await arrived.wait()
            await server.reload(allowed_op_hosts=["op.example.org"])
            assert answers == []
            release.set()
        assert data_of(answers[0])["op_host"] == op.issuer


async def test_many_reloads_under_load(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """While clients register and ask, the configuration is reloaded many times: no command fails."""
    done = trio.Event()
    asked = 0

    async def ask(connection: OxdConnection) -> None:
        nonlocal asked
        while not done.is_set():
            data_of(await connection.call("register_site", **site_at(sandbox.issuer)))
            data_of(await connection.call("get_rp", list=True))
            asked += 2
        await connection.aclose()

    async with running(tmp_path) as server, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask, await server.connect())
        for minutes in range(1, 9):
            await server.reload(state_expiration_in_minutes=minutes)
        done.set()
    assert asked > 8
