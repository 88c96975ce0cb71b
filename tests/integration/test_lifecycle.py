"""From start to stop: what is listened on, what signals do, what is kept, and what stops a start with one line."""

from __future__ import annotations

import filecmp
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from oxd_server.store.importers.errors import SourceError
from oxd_server.store.importers.old_server import read_old_server
from tests.integration import preloaded
from tests.integration.conftest import StartServer
from tests.integration.faulty_op import DISCOVERY, faulty_op, held, silent
from tests.integration.logins import REDIRECT_URI, SCOPES, data_of, error_of, register
from tests.integration.oxd_process import READY, START_SECONDS, ServerProcess, write_config

OLD_DATABASE = Path(__file__).parents[1] / "unit" / "store" / "old" / "oxd_db.mv.db"
OWN = {"client_id": "own-client", "client_secret": "own-secret"}
SITE = {"op_host": "https://op.example.org", "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES, **OWN}


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def start_fails(folder: Path, config: dict[str, Any] | None = None) -> str:
    """Start a server that cannot: exit code 1, and the one line that it printed."""
    path = write_config(folder, config)
    with trio.fail_after(START_SECONDS):
        ran = await trio.to_thread.run_sync(preloaded.run, "serve", "--config", path)
    assert ran.returncode == 1, ran
    assert ran.stdout == ""
    lines = ran.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("oxd-server: ")
    return lines[0]


# --- listening ----------------------------------------------------------------------------------


async def test_it_says_that_it_listens(server: ServerProcess) -> None:
    """The line that init scripts wait for comes once, with version, port and addresses."""
    line = await server.wait_for_log(READY)
    assert line["port"] == server.port
    assert "127.0.0.1" in line["addresses"]
    assert line["level"] == "info"
    assert [entry["event"] for entry in server.log_lines()].count(READY) == 1


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")
async def test_both_loopback_addresses(server: ServerProcess) -> None:
    """127.0.0.1 and ::1 are served on the same port, because newer runtimes resolve localhost to ::1 first."""
    for host in ("127.0.0.1", "::1", "localhost"):
        connection = await server.connect(host)
        assert (await connection.call("get_rp", list=True))["status"] == "ok"
        await connection.aclose()


async def test_only_loopback_is_listened_on(server: ServerProcess) -> None:
    """By default no other address of the machine is bound."""
    assert set((await server.wait_for_log(READY))["addresses"]) <= {"127.0.0.1", "::1"}


async def test_exposed_and_so_protected(start_server: StartServer) -> None:
    """localhost_only: false is warned about in the log, and its socket wants a token for every command."""
    async with start_server({"localhost_only": False}) as server:
        warning = await server.wait_for_log("socket_exposed")
        assert warning["level"] == "warning"
        assert "0.0.0.0" in warning["addresses"]
        for command, params in (("register_site", SITE), ("get_rp", {"list": True}), ("remove_site", {"oxd_id": "x"})):
            assert error_of(await server.call(command, **params)) == "blank_protection_access_token"


async def test_exposed_and_left_open(start_server: StartServer) -> None:
    """protect_commands_with_access_token: false opens even an exposed socket, and the warning stays."""
    async with start_server({"localhost_only": False, "protect_commands_with_access_token": False}) as server:
        await server.wait_for_log("socket_exposed")
        assert (await server.call("get_rp", list=True))["status"] == "ok"


async def test_the_port_is_taken(server: ServerProcess, tmp_path: Path) -> None:
    """A second server on the same port says which one is taken and leaves; the first serves on."""
    other = tmp_path / "other"
    other.mkdir()
    line = await start_fails(other, {"port": server.port})
    assert f"port {server.port}" in line
    assert "in use" in line
    assert (await server.call("get_rp", list=True))["status"] == "ok"


# --- stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_lets_commands_finish(
    start_server: StartServer, sandbox: RunningSandbox, number: signal.Signals
) -> None:
    """The command that runs is finished and answered, idle connections close, nobody new is let in; exit code 0.

    Until then whoever asks whether the server is ready is told that it is not.
    """
    arrived, release = trio.Event(), trio.Event()
    answers: list[dict[str, Any]] = []
    async with faulty_op(sandbox) as op, start_server({"metrics": {"enabled": True, "port": 0}}) as server:
        ready = f"http://127.0.0.1:{(await server.wait_for_log('metrics_listening'))['port']}/ready"
        op.faults[DISCOVERY] = held(arrived, release)
        busy, idle = await server.connect(), await server.connect()
        assert (await idle.call("get_rp", list=True))["status"] == "ok"

        async def register_slowly() -> None:
            metadata = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
            answers.append(await busy.call("register_site", **metadata))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(register_slowly)
            await arrived.wait()
            assert await _asked(ready) == (200, {"status": "ready"})
            server.signal(number)
            await idle.receive_eof()
            with pytest.raises(OSError):
                await trio.open_tcp_stream("127.0.0.1", server.port)
            assert await _asked(ready) == (503, {"status": "not ready", "reason": "the server is being stopped"})
            assert answers == []
            release.set()
        assert data_of(answers[0])["op_host"] == op.issuer
        await busy.receive_eof()
        assert await server.wait() == 0
        assert (await server.wait_for_log("stopping"))["signal"] == number.name
        await server.wait_for_log("stopped")
        await busy.aclose()
        await idle.aclose()
    async with start_server() as again:
        assert data_of(await again.call("get_rp", oxd_id=answers[0]["data"]["oxd_id"]))


async def _asked(url: str) -> tuple[int, Any]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
    return answer.status_code, answer.json()


async def test_a_stop_does_not_wait_forever(start_server: StartServer, sandbox: RunningSandbox) -> None:
    """A command that outlasts shutdown_timeout_in_seconds is abandoned with a line in the log; exit code 0."""
    arrived = trio.Event()
    async with faulty_op(sandbox) as op, start_server({"shutdown_timeout_in_seconds": 0.2}) as server:
        op.faults[DISCOVERY] = held(arrived, trio.Event())
        connection = await server.connect()

        async def never_answered() -> None:
            with pytest.raises(AssertionError, match="closed in the middle of an answer, after b''"):
                await connection.call("register_site", op_host=op.issuer, authorization_redirect_uri=REDIRECT_URI,
                                      scope=SCOPES)  # fmt: skip

        async with trio.open_nursery() as nursery:
            nursery.start_soon(never_answered)
            await arrived.wait()
            server.signal(signal.SIGTERM)
        assert await server.wait() == 0
        assert (await server.wait_for_log("commands_abandoned"))["level"] == "warning"
        await connection.aclose()


# --- reloading ----------------------------------------------------------------------------------


async def _reload(server: ServerProcess, path: Path, text: str, event: str) -> dict[str, Any]:
    path.write_text(text, "utf-8")
    server.signal(signal.SIGHUP)
    return await server.wait_for_log(event)


async def test_sighup_reloads_the_default_site(start_server: StartServer, tmp_path: Path) -> None:
    """The next register_site uses the new defaults; a file that is broken is told of and changes nothing."""
    path = tmp_path / "oxd-default-site-config.json"
    params = {name: value for name, value in SITE.items() if name != "op_host"}
    async with start_server(default_site={"op_host": "https://first.example.org"}) as server:
        assert data_of(await server.call("register_site", **params))["op_host"] == "https://first.example.org"
        await _reload(server, path, '{"op_host": "https://second.example.org"}', "configuration_reloaded")
        assert data_of(await server.call("register_site", **params))["op_host"] == "https://second.example.org"
        line = await _reload(server, path, '{"op_host": ', "configuration_not_reloaded")
        assert line["level"] == "error"
        assert path.name in line["reasons"][0]
        assert data_of(await server.call("register_site", **params))["op_host"] == "https://second.example.org"


# --- the store ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("storage", "kept"), [("memory", False), ("file", True), ("h2", True)])
async def test_what_is_kept(start_server: StartServer, tmp_path: Path, storage: str, kept: bool) -> None:
    """storage: memory forgets at the end and writes no file; file (and the old h2) is there after a restart."""
    async with start_server({"storage": storage}) as server:
        oxd_id = data_of(await server.call("register_site", **SITE))["oxd_id"]
        assert data_of(await server.call("get_rp", oxd_id=oxd_id))["node"]["client_id"] == OWN["client_id"]
    assert (tmp_path / "data" / "oxd.db").exists() is kept
    async with start_server({"storage": storage}) as server:
        assert ((await server.call("get_rp", oxd_id=oxd_id))["status"] == "ok") is kept


async def test_a_kill_loses_nothing_that_was_acknowledged(start_server: StartServer) -> None:
    """What was answered before the process was killed is there when it starts again."""
    async with start_server() as server:
        oxd_id = data_of(await server.call("register_site", **SITE))["oxd_id"]
        await server.kill()
    async with start_server() as server:
        assert data_of(await server.call("get_rp", oxd_id=oxd_id))


async def test_a_damaged_store(tmp_path: Path) -> None:
    """A store that is no database stops the start with one line that names it; the file stays as it was."""
    path = tmp_path / "data" / "oxd.db"
    path.parent.mkdir()
    damaged = b"this is no database, but somebody may still want it\n" * 100
    path.write_bytes(damaged)
    line = await start_fails(tmp_path)
    assert str(path) in line
    assert "damaged" in line
    assert path.read_bytes() == damaged


async def test_old_sites_are_taken_over(start_server: StartServer, tmp_path: Path) -> None:
    """The sites in migration_source_folder_path are there at the first start, and a second one leaves them alone."""
    folder = tmp_path / "old"
    folder.mkdir()
    old = {"oxd_id": "6F9619FF", "op_host": "https://op.example.org", "authorization_redirect_uri": REDIRECT_URI,
           "client_id": "@!1736", "client_secret": "old-secret", "client_secret_expires_at": 1763820000000,
           "scope": ["openid"], "rpt": None, "uma_protected_resources": []}  # fmt: skip
    (folder / "6F9619FF.json").write_text(json.dumps(old), "utf-8")
    config = {"migration_source_folder_path": str(folder)}
    async with start_server(config) as server:
        line = await server.wait_for_log("sites_imported")
        assert (line["added"], line["known"]) == (1, 0)
        node = data_of(await server.call("get_rp", oxd_id="6F9619FF"))["node"]
        assert {name: node[name] for name in old} == old
    async with start_server(config) as server:
        await server.wait_for_log(READY)
        lines = [line for line in server.log_lines() if line["event"] == "sites_imported"]
        assert (lines[-1]["added"], lines[-1]["known"]) == (0, 1)


async def test_the_old_database_is_taken_over_once(start_server: StartServer, tmp_path: Path) -> None:
    """An old configuration with storage h2: every old oxd_id works at once, and what is removed stays removed."""
    copy = tmp_path / "oxd_db.mv.db"
    shutil.copy(OLD_DATABASE, copy)
    config = {"storage": "h2", "storage_configuration": {"dbFileLocation": str(tmp_path / "oxd_db")}}
    event = "old_database_imported"
    async with start_server(config) as server:
        line = await server.wait_for_log(event)
        assert (line["added"], line["known"]) == (9, 0)
        listed = data_of(await server.call("get_rp", list=True))["node"]
        assert len(listed) == 9
        data_of(await server.call("remove_site", oxd_id=listed[0]["oxd_id"]))
    async with start_server(config) as server:
        assert len(data_of(await server.call("get_rp", list=True))["node"]) == 8
    assert filecmp.cmp(OLD_DATABASE, copy, shallow=False)


async def test_sites_of_a_running_server(start_server: StartServer, tmp_path: Path) -> None:
    """The sites of a server that runs are read over its socket; a site whose answer is too long is named."""
    uris = [f"https://a.example/{number}" for number in range(600)]
    nodes = [{"oxd_id": name, "op_host": "https://op.example", "client_name": "S"} for name in ("one", "two", "large")]
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "sites.json").write_text(json.dumps([*nodes[:2], nodes[2] | {"redirect_uris": uris}]), "utf-8")
    async with start_server({"migration_source_folder_path": str(folder)}) as server:
        url = f"tcp://127.0.0.1:{server.port}"
        source = await read_old_server(url)
    assert sorted(found.site.oxd_id for found in source.sites) == ["one", "two"]
    assert [line.partition(":")[0] for line in source.not_taken] == ["large"]
    for wrong, reason in ((url, "No oxd server answers"), ("tcp://:x", "names no server")):
        with pytest.raises(SourceError, match=reason):
            await read_old_server(wrong)


# --- the configuration --------------------------------------------------------------------------


async def test_the_old_configuration_loads(start_server: StartServer) -> None:
    """A configuration with every key of the old server starts as it is; what is not understood is named."""
    config = {
        "port": 0,
        "localhost_only": None,
        "time_out_in_seconds": 0,
        "use_client_authentication_for_pat": True,
        "trust_all_certs": False,
        "trust_store_path": "",
        "trust_store_password": "",
        "crypt_provider_key_store_path": "",
        "crypt_provider_key_store_password": "",
        "crypt_provider_dn_name": "CN=oxAuth CA Certificates",
        "license_id": "1234",
        "license_server_endpoint": "https://license.example.org",
        "support-google-logout": True,
        "state_expiration_in_minutes": 5,
        "nonce_expiration_in_minutes": 5,
        "public_op_key_cache_expiration_in_minutes": 60,
        "protect_commands_with_access_token": False,
        "uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client": True,
        "migration_source_folder_path": "",
        "storage": "h2",
    }
    async with start_server(config) as server:
        assert (await server.call("get_rp", list=True))["status"] == "ok"
        for unknown in ("license_id", "license_server_endpoint"):
            assert (await server.wait_for_log(f"{unknown} is an unknown key"))["level"] == "warning"
        await server.wait_for_log("storage h2 is a legacy database")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"port": "many"}, ["port", '"many"', "0 to 65535"]),
        ({"storage": "mysql"}, ["storage", '"mysql"', "file, redis, memory"]),
        ({"https": {"port": -1}}, ["https.port", "-1"]),
        ({"bind_addresses": ["0.0.0.0"]}, ["bind_addresses", "0.0.0.0", "localhost_only"]),
        ({"log_level": "loud"}, ["log_level", '"loud"', "debug"]),
        ({"trust_store_path": "no-such-file.pem"}, ["no-such-file.pem"]),
        ({"crypt_provider_key_store_path": "no-such-keys.json"}, ["no-such-keys.json"]),
        ({"migration_source_folder_path": "no-such-folder"}, ["no-such-folder"]),
    ],
    ids=lambda value: next(iter(value)),
)
async def test_a_wrong_value_stops_the_start(tmp_path: Path, config: dict[str, Any], words: list[str]) -> None:
    """One line names the key or the file, its value and what was expected; the exit code is 1."""
    line = await start_fails(tmp_path, config)
    for word in words:
        assert word in line


async def test_a_command_has_a_time_limit(start_server: StartServer, sandbox: RunningSandbox) -> None:
    """With time_out_in_seconds a command that takes longer is answered with an error, and the connection lives."""
    async with faulty_op(sandbox) as op, start_server({"time_out_in_seconds": 0.3}) as server:
        op.faults[DISCOVERY] = silent
        connection = await server.connect()
        params = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
        answer = await connection.call("register_site", **params)
        assert error_of(answer) == "op_unreachable"
        assert "0.3 seconds" in answer["data"]["error_description"]
        op.faults.clear()
        assert data_of(await connection.call("get_rp", list=True))["node"] == []
        await connection.aclose()
        await register(server, op.issuer)


# --- resources ----------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
async def test_connections_leave_nothing_behind(server: ServerProcess) -> None:
    """After hundreds of connections, good and broken ones, the server has as many open files as before."""

    def open_files() -> int:
        return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))

    await server.call("get_rp", list=True)
    before = open_files()
    for _ in range(50):
        await server.call("get_rp", list=True)
        await server.send(b"junk")
        connection = await server.connect()
        await connection.send(b"0083{")
        await connection.aclose()
    with trio.fail_after(10):
        while open_files() > before:
            await trio.sleep(0.01)


def test_python_m_is_the_same(tmp_path: Path) -> None:
    """`python -m oxd_server` is the command line, too."""
    ran = subprocess.run([sys.executable, "-m", "oxd_server", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("oxd-server ")
