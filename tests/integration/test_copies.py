"""Many processes at once that write each frame two or three times: no call fails, and no copy runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.conftest import StartServer
from tests.integration.logins import data_of, register
from tests.integration.oxd_process import ServerProcess

CLIENT = Path(__file__).with_name("copies.pl")
PROCESSES = 16
CALLS = 63  # of each process: 1,008 in all
REGISTRATIONS = 4
SECONDS = 300

pytestmark = pytest.mark.hardening


async def one_process(server: ServerProcess, calls: int, copies: int, body: str, failures: list[str]) -> None:
    """Run one application and collect what failed."""
    command = ["perl", str(CLIENT), str(server.port), str(calls), str(copies), body]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT)
    failures += done.stdout.decode().splitlines()


async def call_from_all(server: ServerProcess, calls: int, copies: int, command: str, **params: object) -> list[str]:
    """Have every process make so many calls at the same time; return the failures."""
    failures: list[str] = []
    body = json.dumps({"command": command, "params": params})
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(PROCESSES):
                nursery.start_soon(one_process, server, calls, copies, body, failures)
    return failures


@pytest.mark.parametrize("copies", [2, 3], ids=["PHP", "Perl"])
@pytest.mark.parametrize("workers", [1, 2])
async def test_no_call_fails_and_no_copy_runs(
    start_server: StartServer, sandbox: RunningSandbox, workers: int, copies: int
) -> None:
    """16 processes make 1,008 calls, and register 64 sites: every call is answered once, every site is one client."""
    async with start_server({"workers": workers}) as server:
        site = await register(server, sandbox.issuer)
        assert await call_from_all(server, CALLS, copies, "get_authorization_url", oxd_id=site.oxd_id) == []
        before = len(sandbox.state.clients)
        params = {
            "op_host": sandbox.issuer,
            "authorization_redirect_uri": "https://app.example/cb",
            "scope": ["openid"],
        }
        assert await call_from_all(server, REGISTRATIONS, copies, "register_site", **params) == []
        data_of(await server.call("get_rp", list=True))
        assert len(sandbox.state.clients) == before + PROCESSES * REGISTRATIONS
