"""The command line as people use it: the installed `oxd-server`, its exit codes and its one-line errors."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from oxd_server import __version__
from tests.integration import preloaded
from tests.integration.conftest import StartServer
from tests.integration.https_client import CERT, running_front
from tests.integration.logins import REDIRECT_URI, SCOPES, data_of, error_of
from tests.integration.oxd_process import ServerProcess, write_config
from tests.integration.tls_op import make_certificates

OXD_SERVER = Path(sys.executable).with_name("oxd-server")
OWN = {"client_id": "own-client", "client_secret": "own-secret"}
SITE = {"op_host": "https://op.example.org", "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES, **OWN}
RUN_SECONDS = 60


@dataclass(frozen=True)
class Ran:
    """What a run of the command came to."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a run that failed."""
        assert (self.code, self.out) == (1, ""), self
        lines = self.err.splitlines()
        assert len(lines) == 1, self
        assert lines[0].startswith("oxd-server: "), self
        return lines[0]

    @property
    def output(self) -> str:
        """What a run that succeeded printed."""
        assert (self.code, self.err) == (0, ""), self
        return self.out


async def oxd(*arguments: str | Path) -> Ran:
    """Run `oxd-server` with these arguments."""
    with trio.fail_after(RUN_SECONDS):
        ran = await trio.to_thread.run_sync(partial(preloaded.run, *arguments))
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """The configuration of a store with one site in it, whose oxd_id is `site-1`; no server runs."""
    path = write_config(tmp_path)
    node = {"oxd_id": "site-1", "op_host": SITE["op_host"], "client_name": "First", "id_token": "the.id.token", **OWN}
    source = tmp_path / "first.json"
    source.write_text(json.dumps(node), "utf-8")
    done = await oxd("sites", "import", "--config", path, source)
    assert done.output == f"Read {source}: JSON file, 1 site.\nAdded 1; 0 were there already.\n"
    return path


# --- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["", "serve", "check-config", "sites", "sites list", "sites show", "sites remove", "sites export", "sites import",
     "sites copy", "backup", "restore", "call", "sandbox"],
)  # fmt: skip
async def test_help(command: str) -> None:
    """Every subcommand has a help text that begins with its usage."""
    output = (await oxd(*command.split(), "--help")).output
    assert output.startswith(f"usage: oxd-server {command}".rstrip())
    assert "-h, --help" in output


async def test_version() -> None:
    """--version prints the version and nothing else."""
    assert (await oxd("--version")).output == f"oxd-server {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["sites"], ["sites", "show"], ["call"], ["serve", "--fly", "1"]])
async def test_wrong_usage(arguments: list[str]) -> None:
    """Arguments that mean nothing get the usage and exit code 2."""
    ran = await oxd(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "usage: oxd-server" in ran.err


# --- check-config -------------------------------------------------------------------------------


async def test_check_config(tmp_path: Path) -> None:
    """A good configuration is called so, with its warnings; nothing is made on the way."""
    path = write_config(tmp_path, {"license_id": "x"})
    output = (await oxd("check-config", "--config", path)).output
    assert "license_id is an unknown key" in output
    assert output.endswith("The configuration is valid.\n")
    assert not (tmp_path / "data").exists()


async def test_check_config_of_wrong_ones(tmp_path: Path) -> None:
    """A wrong value, broken JSON and a missing file each get their line; so does the default site's file."""
    path = write_config(tmp_path, {"port": "many"})
    assert 'port: "many" is wrong' in (await oxd("check-config", "--config", path)).error
    path.write_text('{\n"port": 8099,\n}', "utf-8")
    assert "line 3" in (await oxd("check-config", "--config", path)).error
    assert "cannot be read" in (await oxd("check-config", "--config", tmp_path / "none.json")).error
    path = write_config(tmp_path, {}, {"scope": 5})
    assert "oxd-default-site-config.json: 'scope'" in (await oxd("check-config", "--config", path)).error


# --- sites --------------------------------------------------------------------------------------


async def test_sites_list(config: Path) -> None:
    """A header, then oxd_id and client_name of each site."""
    assert (await oxd("sites", "list", "--config", config)).output == "oxd_id  client_name\nsite-1  First\n"


async def test_sites_list_page_by_page(config: Path, tmp_path: Path) -> None:
    """As JSON, so many at a time, after the last one of the page before; how many are left is said apart."""
    source = tmp_path / "more"
    source.mkdir()
    for number in (3, 2):
        node = {"oxd_id": f"site-{number}", "op_host": SITE["op_host"], "client_name": f"No. {number}", **OWN}
        (source / f"{number}.json").write_text(json.dumps(node), "utf-8")
    assert (await oxd("sites", "import", "--config", config, source)).code == 0
    ran = await oxd("sites", "list", "--config", config, "--json", "--limit", "2")
    assert (ran.code, ran.err) == (0, "1 more: --after site-2\n")
    assert [site["oxd_id"] for site in json.loads(ran.out)] == ["site-1", "site-2"]
    ran = await oxd("sites", "list", "--config", config, "--json", "--limit", "2", "--after", "site-2")
    assert json.loads(ran.output) == [{"oxd_id": "site-3", "client_name": "No. 3"}]
    assert (await oxd("sites", "list", "--config", config, "--limit", "0")).code == 2


async def test_sites_export_to_a_file(config: Path, tmp_path: Path) -> None:
    """The secrets go into a new file of the owner's; one that is there is not written over."""
    path = tmp_path / "export.json"
    assert (await oxd("sites", "export", "--config", config, "--output", path)).output == ""
    assert json.loads(path.read_text())[0]["client_secret"] == "own-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "File exists" in (await oxd("sites", "export", "--config", config, "--output", path)).error


async def test_sites_show(config: Path) -> None:
    """One site as JSON, its secrets masked and everything else in the clear."""
    output = (await oxd("sites", "show", "--config", config, "site-1")).output
    node = json.loads(output)
    assert (node["client_id"], node["client_secret"], node["id_token"]) == ("own-client", "***", "***")
    assert "own-secret" not in output


async def test_sites_export_and_import(config: Path, tmp_path: Path) -> None:
    """What export writes, import reads: the sites of a second store are those of the first, secrets included."""
    exported = (await oxd("sites", "export", "--config", config)).output
    assert json.loads(exported)[0]["client_secret"] == "own-secret"
    assert (await oxd("sites", "export", "--config", config, "site-1")).output == exported
    file = tmp_path / "sites.json"
    file.write_text(exported, "utf-8")
    other = tmp_path / "other"
    other.mkdir()
    second = write_config(other)
    would = await oxd("sites", "import", "--dry-run", "--config", second, file)
    assert would.output.endswith("\nWould add 1; 0 were there already.\n")
    added = await oxd("sites", "import", "--config", second, file)
    assert added.output.endswith("\nAdded 1; 0 were there already.\n")
    again = await oxd("sites", "import", "--config", second, file)
    assert "\nAdded 0; 1 were there already.\n  site-1: is there already" in again.output
    assert (await oxd("sites", "export", "--config", second)).output == exported
    file.write_text('[{"oxd_id": "new"}, {"op_host": "no id"}]', "utf-8")
    assert "oxd_id" in (await oxd("sites", "import", "--config", second, file)).error
    assert (await oxd("sites", "export", "--config", second)).output == exported


async def test_sites_remove(config: Path) -> None:
    """A removed site is gone; removing or showing it again says that there is none."""
    assert (await oxd("sites", "remove", "--config", config, "site-1")).output == "Removed site-1.\n"
    assert (await oxd("sites", "list", "--config", config)).output == "oxd_id  client_name\n"
    assert "site-1" in (await oxd("sites", "remove", "--config", config, "site-1")).error
    assert "site-1" in (await oxd("sites", "show", "--config", config, "site-1")).error


async def test_sites_beside_a_running_server(start_server: StartServer, config: Path, tmp_path: Path) -> None:
    """What is removed or added while a server runs on the same store is so for its very next command."""
    async with start_server() as server:
        oxd_id = data_of(await server.call("register_site", **SITE))["oxd_id"]
        assert data_of(await server.call("get_rp", oxd_id=oxd_id))
        assert oxd_id in (await oxd("sites", "list", "--config", config)).output
        await oxd("sites", "remove", "--config", config, oxd_id)
        assert error_of(await server.call("get_rp", oxd_id=oxd_id)) == "invalid_oxd_id"
        node = json.loads((await oxd("sites", "export", "--config", config, "site-1")).output)[0]
        file = tmp_path / "again.json"
        file.write_text(json.dumps({**node, "oxd_id": oxd_id, "client_name": "Back"}), "utf-8")
        await oxd("sites", "import", "--config", config, file)
        assert data_of(await server.call("get_rp", oxd_id=oxd_id))["node"]["client_name"] == "Back"
        assert data_of(await server.call("register_site", **SITE))


async def test_a_backup_of_a_running_server_is_restored(
    start_server: StartServer, config: Path, tmp_path: Path
) -> None:
    """A backup holds what was acknowledged before it; it is restored into a stopped server's store, on demand only."""
    file = tmp_path / "oxd.backup"
    async with start_server() as server:
        oxd_id = data_of(await server.call("register_site", **SITE))["oxd_id"]
        assert "Backed up 2 sites" in (await oxd("backup", "--config", config, file)).output
        assert "a server runs" in (await oxd("restore", "--replace", "--config", config, file)).error
        assert data_of(await server.call("remove_site", oxd_id=oxd_id))
    assert "has sites (1); --replace" in (await oxd("restore", "--config", config, file)).error
    assert "Restored 2 sites" in (await oxd("restore", "--replace", "--config", config, file)).output
    async with start_server() as server:
        assert data_of(await server.call("get_rp", oxd_id=oxd_id))


async def test_a_store_deleted_under_a_running_server(start_server: StartServer, config: Path) -> None:
    """Commands fail when the store is gone, and the log says why; when it is back, they work."""
    path = config.parent / "data"
    async with start_server() as server:
        assert data_of(await server.call("get_rp", oxd_id="site-1"))
        path.rename(config.parent / "away")
        assert error_of(await server.call("register_site", **SITE)) == "storage_unavailable"
        assert "deleted or replaced under the server" in str(await server.wait_for_log("store_unavailable"))
        (config.parent / "away").rename(path)
        assert data_of(await server.call("register_site", **SITE))


async def test_sites_copy(config: Path, tmp_path: Path) -> None:
    """All sites are in the other store; a site that differs there is replaced on demand; the same store is refused."""
    other = tmp_path / "other"
    other.mkdir()
    second = write_config(other)
    copied = await oxd("sites", "copy", "--from", config, "--to", second)
    assert copied.output.startswith("Added 1, changed 0, removed 0; in the last of 2 passes both had 1 site")
    assert (await oxd("sites", "list", "--config", second)).output == "oxd_id  client_name\nsite-1  First\n"
    assert "the same store" in (await oxd("sites", "copy", "--from", config, "--to", config)).error


async def test_sites_of_no_store(tmp_path: Path) -> None:
    """Looking at a store that is not there says so and makes none; a store in memory cannot be looked at."""
    path = write_config(tmp_path)
    for action in (["list"], ["show", "x"], ["export"], ["remove", "x"]):
        assert "there is no store" in (await oxd("sites", action[0], "--config", path, *action[1:])).error
    assert not (tmp_path / "data").exists()
    assert "memory" in (await oxd("sites", "list", "--config", write_config(tmp_path, {"storage": "memory"}))).error


# --- call ---------------------------------------------------------------------------------------


async def test_call(server: ServerProcess) -> None:
    """The answer is printed as indented JSON without colours; the exit code says whether its status is ok."""
    ok = await oxd("call", "--port", str(server.port), "get_rp", '{"list": true}')
    assert json.loads(ok.output) == {"status": "ok", "data": {"node": []}}
    assert "\x1b" not in ok.out
    failed = await oxd("call", "--port", str(server.port), "get_rp", '{"oxd_id": "nobody"}')
    assert (failed.code, failed.err) == (1, "")
    assert json.loads(failed.out)["data"]["error"] == "invalid_oxd_id"
    assert json.loads((await oxd("call", "--port", str(server.port), "get_rp")).out)["data"]["error"] == "bad_request"


@pytest.mark.parametrize("params", ["{", "[]", "5", "null", '{"a": NaN', "[" * 100_000])
async def test_call_with_params_that_are_no_object(params: str) -> None:
    """Params that are no JSON object are refused before anything is sent."""
    assert "PARAMS" in (await oxd("call", "get_rp", params)).error


async def test_call_without_a_server() -> None:
    """Where no server listens, the line says where that is."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert f"127.0.0.1 port {port}" in (await oxd("call", "--port", str(port), "get_rp")).error


async def test_call_keeps_secrets_off_the_command_line(server: ServerProcess, tmp_path: Path) -> None:
    """Params come from files too, the token from its own; what is typed all the same is warned about, by name.

    The answer goes into a new file that only its owner can read.
    """
    token, answer = tmp_path / "token", tmp_path / "answer"
    token.write_text("s3same\n")
    at = ("--port", str(server.port))
    ran = await oxd("call", *at, "--token-file", token, "--output", answer, "get_rp", "oxd_id=nobody")
    assert (ran.code, ran.out, ran.err) == (1, "", "")
    assert json.loads(answer.read_text())["data"]["error"] == "invalid_oxd_id"
    assert stat.S_IMODE(answer.stat().st_mode) == 0o600
    ran = await oxd("call", *at, "get_client_token", "client_secret=s3same")
    assert ran.err.startswith("warning: everybody on this machine can read a command line, and with it client_secret: ")
    assert "s3same" not in ran.err


async def test_call_over_standard_input_and_https(tmp_path: Path) -> None:
    """A command goes to the front as it goes to the socket: with a token from a file, over TLS that is verified."""
    async with running_front(tmp_path, {"protect_commands_with_access_token": True}) as front:
        (tmp_path / "token").write_text("s3same\n")
        trusted = ("--ca-file", tmp_path / CERT, "--token-file", tmp_path / "token")
        ran = await oxd("call", "--https", front.url, *trusted, "get_rp", "list:=true")
        assert (ran.code, json.loads(ran.out)["data"]["error"]) == (1, "no_setup_client_for_oxd_id")
        assert "its TLS certificate is not trusted" in (await oxd("call", "--https", front.url, "get_rp")).error
        without = await oxd("call", "--https", f"{front.url}/", "--ca-file", tmp_path / CERT, "get_rp", "list:=true")
        assert (without.code, json.loads(without.out)["data"]["error"]) == (1, "403")
        address = f"--port={front.server.port}"
        command: list[str | Path] = [OXD_SERVER, "call", address, "get_rp", "-"]
        piped = await trio.run_process(command, stdin=b'{"list": true}', capture_stdout=True, check=False)
        assert json.loads(piped.stdout)["data"]["error"] == "blank_protection_access_token"
    for url in ("http://localhost:8443", "https://token@localhost:8443"):
        assert "--https takes a URL such as https://" in (await oxd("call", "--https", url, "get_rp")).error


async def test_call_at_something_else(tmp_path: Path) -> None:
    """An HTTPS server that is none of ours, one that never answers, and one that answers without end are told apart."""
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen()
    silent = ("--timeout", "0.2", "--https", f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert "timed out" in (await oxd("call", *silent, "get_rp")).error
    listener.close()
    certificates = make_certificates(tmp_path)
    for body, reason in ((b"<html>", "HTTP status 200 and no JSON"), (b" " * 1_000_001, "larger than 1000000 bytes")):

        async def answer(stream: trio.SSLStream[trio.SocketStream], body: bytes = body) -> None:
            await stream.receive_some()
            with suppress(trio.BrokenResourceError):  # whoever has read enough leaves
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                async for _ in stream:
                    pass

        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_ssl_over_tcp, answer, 0, certificates.contexts["good"], host="127.0.0.1")
            (started,) = await nursery.start(serve)
            url = f"https://localhost:{started.transport_listener.socket.getsockname()[1]}"
            ran = await oxd("call", "--https", url, "--ca-file", certificates.trust_store, "get_rp")
            nursery.cancel_scope.cancel()
        assert reason in ran.error


async def test_call_at_a_unix_socket(tmp_path: Path) -> None:
    """A path takes the place of host and port, also in the error."""
    path = tmp_path / "oxd.sock"

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b'0025{"status":"ok","data":{}}')

    with trio.socket.socket(socket.AF_UNIX) as sock:
        await sock.bind(str(path))
        sock.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(sock)])
            ran = await oxd("call", "--unix", path, "get_rp", "list:=true")
            assert json.loads(ran.output) == {"status": "ok", "data": {}}
            nursery.cancel_scope.cancel()
    path.unlink()
    assert f"No oxd server answers at {path}" in (await oxd("call", "--unix", path, "get_rp")).error


async def test_a_pipe_that_is_closed(config: Path) -> None:
    """Whoever reads the output may stop doing so, as `head` does: that is no error, and nothing is said."""
    for arguments in (["sites", "list", "--config", config], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        command: list[Any] = [OXD_SERVER, *arguments]
        ran = await trio.run_process(command, stdout=writer, capture_stderr=True, check=False)
        os.close(writer)
        assert ran.stderr == b""


async def test_call_is_in_colour_on_a_terminal(server: ServerProcess) -> None:
    """On a terminal keys and values have colours; without them the text is the same JSON."""

    def run() -> str:
        reader, terminal = os.openpty()
        command: list[Any] = [OXD_SERVER, "call", "--port", str(server.port), "get_rp", '{"list": true}']
        subprocess.run(command, stdout=terminal, check=True, timeout=RUN_SECONDS)
        os.close(terminal)
        printed = b""
        try:
            while chunk := os.read(reader, 4096):
                printed += chunk
        except OSError:  # the terminal's other end is closed
            pass
        os.close(reader)
        return printed.decode()

    printed = await trio.to_thread.run_sync(run)
    assert "\x1b[36m" in printed
    for code in ("\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        printed = printed.replace(code, "")
    assert json.loads(printed) == {"status": "ok", "data": {"node": []}}


# --- sandbox ------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_the_sandbox_stays_at_home(address: str) -> None:
    """The sandbox refuses to listen on anything but loopback."""
    assert address in (await oxd("sandbox", "--bind", address, "--port", "0", "--demo-port", "0")).error
