"""A short search with every fuzz target: the same inputs at every run, a few seconds in all."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.hardening.fuzz import PINNED
from scripts.hardening.fuzz_server import run_batch, running

pytestmark = pytest.mark.hardening

ROOT = Path(__file__).parents[2]
GUIDED_RUNS = 4000
SERVER_RUNS = 600


def fuzz(*arguments: str) -> str:
    """Run the script; return what it printed. A finding fails the test and is shown."""
    done = subprocess.run([ROOT / "scripts" / "fuzz", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Only a person turns this off: the fuzzer's package is not made for every machine.
@pytest.mark.skipif(os.environ.get("OXD_TEST_SKIP_FUZZ") == "1", reason="OXD_TEST_SKIP_FUZZ=1 is set")
def test_a_search_guided_by_coverage() -> None:
    """Some thousand inputs for whatever reads bytes from outside break no promise, and reach the code they are for."""
    table = fuzz("--runs", str(GUIDED_RUNS), "frames", "params", "http", "id_token", "rules")
    rows = re.findall(r"^(\w+) +(\d+) +(\d+) +\d+ +\d+ +(\d+)$", table, re.MULTILINE)
    assert [row[0] for row in rows] == ["frames", "params", "http", "id_token", "rules"], table
    for _, executions, edges, findings in rows:
        assert int(executions) >= GUIDED_RUNS
        assert int(edges) > 50, "too few edges: the code under test is not instrumented"
        assert int(findings) == 0


def test_a_search_in_a_running_server() -> None:
    """A server that is sent broken messages over TCP and TLS serves on after each, and leaves nothing open."""
    table = fuzz("--runs", str(SERVER_RUNS), "server")
    assert re.search(r"^server +\d\d+ +- +- +\d+ +0$", table, re.MULTILINE), table


def test_pinned_inputs_in_a_running_server(tmp_path: Path) -> None:
    """What once broke the HTTPS front or the frame reader does not bring a running server down."""
    with running(tmp_path) as server:
        for target, tls in (("http", True), ("frames", False)):
            for path in sorted((PINNED / target).iterdir()):
                run_batch(server, path.read_bytes()[2:], [], "half-close", tls=tls)
        assert server.failures() == []


def test_an_unknown_target_is_refused() -> None:
    """A target that does not exist is named, and nothing is searched."""
    done = subprocess.run(
        [ROOT / "scripts" / "fuzz", "--runs", "1", "frame"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no such target: frame" in done.stderr
