"""Schemathesis, which makes requests from the OpenAPI description, pointed at the running front."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import CERT, running_front

pytestmark = pytest.mark.hardening

CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"
OPEN = {"protect_commands_with_access_token": False}
LIMIT_SECONDS = 240


RUNS = {
    "3": ("/openapi.json", f"{CHECKS},not_a_server_error", "examples,coverage,fuzzing", "8"),
    "4": ("/openapi-4.json", CHECKS, "examples,fuzzing", "3"),  # where an OP's failure is a 500 by its table
}
"""By dialect: the description, the checks, the phases and how many examples there are of each operation."""
NOT_MADE_UP = """
[[operations]]
include-path = "/backchannel-logout/{oxd_id}"
warnings = false
"""
"""What it takes is signed by an OP: no description makes it, so nearly all requests are refused. All checks stay."""


@pytest.mark.parametrize("dialect", RUNS)
async def test_schemathesis_finds_nothing(tmp_path: Path, sandbox: RunningSandbox, dialect: str) -> None:
    """Requests good and bad, made from the description, get no server error and no answer that it does not have."""
    config = {**OPEN, "allowed_op_hosts": [urlsplit(sandbox.issuer).netloc]}
    default_site = {"op_host": sandbox.issuer, "scope": ["openid"]}
    async with running_front(tmp_path, config, default_site, dialect=dialect) as front:
        document, checks, phases, examples = RUNS[dialect]
        (tmp_path / "schemathesis.toml").write_text(NOT_MADE_UP)
        arguments = [
            str(Path(sys.executable).parent / "schemathesis"),
            *("run", f"{front.url}{document}", "--checks", checks, "--tls-verify", str(tmp_path / CERT)),
            *("-H", "Authorization: Bearer token", "--no-color"),
            *("--phases", phases, "--max-examples", examples, "--generation-deterministic"),
        ]
        with trio.fail_after(LIMIT_SECONDS):
            run = await trio.run_process(
                arguments, capture_stdout=True, stderr=subprocess.STDOUT, check=False, cwd=tmp_path
            )
        report = run.stdout.decode()
        assert run.returncode == 0, report[-10_000:]
        assert "Failures:" not in report, report[-10_000:]
        assert "No issues found" in report or dialect == "4", report[-10_000:]  # most there is refused: a warning
        events = [line["event"] for line in front.server.log_lines()]
        assert not {"command_failed", "request_failed"} & set(events)
