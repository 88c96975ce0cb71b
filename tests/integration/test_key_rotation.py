"""`oxd-server keys rotate` while a server runs: logins go on, and OPs read the new keys at `/jwks`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oxd_server.op.key_store import new_key_store
from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import Front, running_front
from tests.integration.logins import register
from tests.integration.oxd_process import ServerProcess


def oxd_server(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a subcommand."""
    command = [sys.executable, "-m", "oxd_server", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def rotated(folder: Path, overlap: str) -> set[str]:
    """Rotate the keys of the server in this folder; return the ids of those that are published then."""
    done = oxd_server("keys", "rotate", "--config", str(folder / "oxd-conf.json"), "--overlap", overlap)
    assert done.returncode == 0, done.stderr
    assert "Send SIGHUP" in done.stderr
    return kids(json.loads(done.stdout))


def kids(jwks: dict[str, Any]) -> set[str]:
    """The ids of these keys, which are public."""
    assert not any({"d", "p", "q"} & key.keys() for key in jwks["keys"])
    return {key["kid"] for key in jwks["keys"]}


async def reloaded(server: ServerProcess, times: int) -> None:
    """Have the server read its files again; it has done so that many times then."""
    server.signal(signal.SIGHUP)
    while sum(line["event"] == "configuration_reloaded" for line in server.log_lines()) < times:
        await server.call("license_status")


async def read(front: Front) -> set[str]:
    """What an OP reads; the old command says the same."""
    answer = await front.client.get("/jwks")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jwk-set+json")
    told = await front.server.call("get_rp_jwks")
    assert told["data"] == answer.json()
    return kids(answer.json())


async def test_rotation(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """With an overlap logins go on. At once, an OP that was told by value needs an update; a bad file is not taken."""
    new_key_store(tmp_path / "keys.json")
    config = {"crypt_provider_key_store_path": str(tmp_path / "keys.json")}
    async with running_front(tmp_path, config) as front:
        server, before = front.server, await read(front)
        rp = await register(server, sandbox.issuer, client_token_endpoint_auth_method="private_key_jwt")
        await rp.log_in()
        both = rotated(tmp_path, "1")
        await reloaded(server, 1)
        signing = {key["kid"] for key in json.loads((tmp_path / "keys.json").read_text())["keys"] if "nbf" in key}
        assert await read(front) == both
        assert signing < both
        assert before & both
        await rp.log_in()
        new = rotated(tmp_path, "0")
        await reloaded(server, 2)
        assert await read(front) == new
        assert not new & both
        callback = await rp.authorize()
        redirect = {"code": callback["code"], "state": callback["state"]}
        assert (await rp.error("get_tokens_by_code", **redirect))["details"]["error"] == "invalid_client"
        await rp.ok("update_site")
        await rp.ok("get_tokens_by_code", **redirect)
        (tmp_path / "keys.json").write_text("{")
        server.signal(signal.SIGHUP)
        assert (await server.wait_for_log("configuration_not_reloaded"))["level"] == "error"
        assert await read(front) == new


async def test_without_a_key_store(tmp_path: Path) -> None:
    """There is nothing to publish, nothing to read again, and nothing to rotate."""
    async with running_front(tmp_path) as front:
        assert await read(front) == set()
        front.server.signal(signal.SIGHUP)
        await front.server.wait_for_log("configuration_reloaded")
    done = oxd_server("keys", "rotate", "--config", str(tmp_path / "oxd-conf.json"))
    assert done.returncode != 0
    assert "crypt_provider_key_store_path" in done.stderr


@pytest.mark.parametrize("overlap", ["-1", "4000", "soon", "nan"])
def test_overlaps_that_are_none(overlap: str) -> None:
    """Days are a number, and not too many."""
    assert "DAYS" in oxd_server("keys", "rotate", f"--overlap={overlap}").stderr
