"""The walk with curl of the page on the HTTPS front, run as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import CERT, Front, running_front
from tests.integration.real_provider import log_in

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "https.md"
HEADING = "## A login with curl"
LIMIT_SECONDS = 60


def commands_of(page: Path) -> str:
    """Return the shell commands of the page."""
    section = page.read_text("utf-8").partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1, f"{HEADING} is to have one block of commands"
    return str(blocks[0])


@dataclass(frozen=True)
class Walk:
    """How the walk ended."""

    code: int
    shown: str


async def walk(folder: Path, front: Front, sandbox: RunningSandbox, pasted: Callable[[str], str] = str) -> Walk:
    """Do the walk, with a person who logs in at the shown address and pastes where they end up, or something else."""
    environment = {
        "PATH": os.environ["PATH"],
        "OXD": front.url,
        "OP": sandbox.issuer,
        "CURL_CA_BUNDLE": str(folder / CERT),
    }
    with trio.fail_after(LIMIT_SECONDS):
        shell = await trio.lowlevel.open_process(
            ["bash", "-euo", "pipefail", "-c", commands_of(PAGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder,
        )
        assert shell.stdin is not None
        assert shell.stdout is not None
        shown = b""
        while not (found := re.search(rb"^http://\S+/authorize\?\S+\n", shown, re.MULTILINE)):
            chunk = await shell.stdout.receive_some()
            assert chunk, shown
            shown += chunk
        callback = await log_in(found.group().decode().strip(), "alice", "wonderland")
        await shell.stdin.send_all(pasted(callback).encode() + b"\n")
        await shell.stdin.aclose()
        async for chunk in shell.stdout:
            shown += chunk
        await shell.stdout.aclose()
        return Walk(await shell.wait(), shown.decode())


async def test_the_commands_work_as_they_stand(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """The whole walk; then somebody pastes an address with another browser's state, and no code is exchanged."""
    async with running_front(tmp_path) as front:
        done = await walk(tmp_path, front, sandbox)
        assert done.code == 0, done.shown
        lines = done.shown.splitlines()
        assert "Alice Jensen" in lines[-3]
        assert lines[-2].startswith("http://")
        assert "id_token_hint=" in lines[-2]
        assert '"status":"ok"' in lines[-1]
        foreign = await walk(tmp_path, front, sandbox, lambda url: re.sub(r"state=[^&]*", "state=foreign", url))
        assert (foreign.code, foreign.shown.splitlines()[-1]) == (1, "This login did not begin here.")


async def test_a_site_of_dialect_4_is_registered_as_shown(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """The command for applications of oxd 4.x answers with the client's credentials, at the top level."""
    section = PAGE.read_text("utf-8").partition("## Applications and gateways of oxd 4.x\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    async with running_front(tmp_path) as front:
        command = block.replace("https://localhost:8443", front.url).replace("http://127.0.0.1:8100", sandbox.issuer)
        with trio.fail_after(LIMIT_SECONDS):
            done = await trio.run_process(
                ["bash", "-euo", "pipefail", "-c", command.replace("oxd-data/https-localhost.crt", str(CERT))],
                capture_stdout=True,
                cwd=tmp_path,
            )
    assert {"oxd_id", "client_id", "client_secret"} <= json.loads(done.stdout).keys()
