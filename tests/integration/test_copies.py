"""Many processes at once that write each frame two or three times: no call fails, and no copy runs."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.conftest import StartServer
from tests.integration.logins import data_of, register
from tests.integration.oxd_process import ServerProcess

PERL, PHP = (Path(__file__).with_name(name) for name in ("copies.pl", "copies.php"))
PROCESSES = 16
CALLS = 16  # of each process
REGISTRATIONS = 2
SECONDS = 300

pytestmark = pytest.mark.hardening


@dataclass(frozen=True)
class Library:
    """An old client library: its language, a program that calls as it does, and how often it writes a frame."""

    interpreter: str
    program: Path
    copies: int


LIBRARIES = [
    pytest.param(Library("php", PHP, 2), id="PHP", marks=pytest.mark.php),
    pytest.param(Library("perl", PERL, 3), id="Perl"),
]


async def one_process(server: ServerProcess, calls: int, library: Library, body: str, failures: list[str]) -> None:
    """Run one application and collect what failed."""
    command = [library.interpreter, str(library.program), str(server.port), str(calls), str(library.copies), body]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT)
    failures += done.stdout.decode().splitlines()


async def call_from_all(
    server: ServerProcess, calls: int, library: Library, command: str, **params: object
) -> list[str]:
    """Have every process make so many calls at the same time; return the failures."""
    failures: list[str] = []
    body = json.dumps({"command": command, "params": params})
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(PROCESSES):
                nursery.start_soon(one_process, server, calls, library, body, failures)
    return failures


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("workers", [1, 2])
async def test_no_call_fails_and_no_copy_runs(
    start_server: StartServer, sandbox: RunningSandbox, workers: int, library: Library
) -> None:
    """16 processes call at the same time, and register sites: every call is answered once, every site is one client."""
    async with start_server({"workers": workers}) as server:
        site = await register(server, sandbox.issuer)
        assert await call_from_all(server, CALLS, library, "get_authorization_url", oxd_id=site.oxd_id) == []
        before = len(sandbox.state.clients)
        params = {
            "op_host": sandbox.issuer,
            "authorization_redirect_uri": "https://app.example/cb",
            "scope": ["openid"],
        }
        assert await call_from_all(server, REGISTRATIONS, library, "register_site", **params) == []
        data_of(await server.call("get_rp", list=True))
        assert len(sandbox.state.clients) == before + PROCESSES * REGISTRATIONS
