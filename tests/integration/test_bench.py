"""`./scripts/bench` measures everything that it is there to measure. How fast anything is, is not asserted."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.hardening

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
MAX_SECONDS = 300
COMMANDS = {"get_authorization_url", "get_rp", "a rejected command"}
HTTPS_COMMANDS = {"get_authorization_url", "get_rp (asks the OP)", "a rejected command"}
GATEWAY_COMMANDS = {"get-client-token", "introspect-access-token", "uma-rs-check-access"}
OP_COMMANDS = {"get_tokens_by_code", "register_site", "uma_rs_check_access"}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a tiny run has written to."""
    folder = tmp_path_factory.mktemp("bench")
    counts = ["--requests", "40", "--rounds", "1", "--sites", "1000", "--config", "max_commands_in_flight=400"]
    done = _bench(*counts, "--output", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BENCH), "--quick", *arguments], check=False, timeout=MAX_SECONDS, capture_output=True, text=True
    )


def test_every_case_is_measured(output: Path) -> None:
    """Every command in every way, beside the control where it needs no OP; sizes, writers and idle connections."""
    rows = json.loads((output / "bench.json").read_text())["rows"]
    compared = {
        (row["case"], row["over"], row["connections"], row["one_connection_per_command"])
        for row in rows
        if "cpu_ratio" in row
    }
    ways = [(1, False), (8, False), (32, False), (8, True)]
    cases = {("socket", command) for command in COMMANDS} | {("HTTPS", command) for command in HTTPS_COMMANDS}
    resumed = {(command, "HTTPS, resumed", 8, True) for command in HTTPS_COMMANDS if "asks the OP" not in command}
    assert compared == {(command, over, *way) for over, command in cases for way in ways} | resumed
    asked = {(row["case"], row["over"]) for row in rows if "throughput" in row and "cpu_ratio" not in row}
    assert asked == {(command, over) for command in OP_COMMANDS for over in ("socket", "HTTPS")} | {
        (command, "HTTPS, dialect 4") for command in GATEWAY_COMMANDS
    } | {("uma_rs_check_access", "socket, TLS to the OP")}
    assert [row["sites"] for row in rows if row["case"] == "stored sites"] == [10, 1000]
    assert len([row for row in rows if row["case"] == "writers"]) == 2
    assert len([row for row in rows if row["case"] == "idle connections"]) == 1
    assert [row["workers"] >= 2 for row in rows if row["case"] == "workers"] == [True]
    assert [row["log_ratio"] > 0 for row in rows if row["case"] == "being seen"] == [True]


def test_every_figure_is_one(output: Path) -> None:
    """What was measured is a positive number of seconds, microseconds or bytes."""
    rows = json.loads((output / "bench.json").read_text())["rows"]
    keys = ("throughput", "p50_ms", "p99_ms", "cpu_us", "memory_mib", "control_cpu_us", "start_seconds", "memory_kib")
    figures = [row[key] for row in rows for key in keys if key in row]
    assert figures
    assert all(figure > 0 for figure in figures)


def test_table_and_picture_are_written(output: Path) -> None:
    """The tables name every target, and the picture is a whole SVG document."""
    written = json.loads((output / "bench.json").read_text())
    text = (output / "bench.md").read_text()
    assert len(written["targets"]) == 29
    assert all(target["target"] in text for target in written["targets"])
    assert ElementTree.parse(output / "bench.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_picture_of_the_microseconds(tmp_path: Path) -> None:
    """It names every part of the program that a command spends time in."""
    picture = tmp_path / "microseconds.svg"
    done = _bench("--requests", "200", "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    drawn = "".join(ElementTree.parse(picture).getroot().itertext())
    assert "get_authorization_url: " in drawn
    assert "system calls: " in drawn
    assert picture.name in done.stdout


def test_wrong_answers_are_an_error(tmp_path: Path) -> None:
    """A server that answers what was not expected is not measured: one line says so, and the exit code is 1."""
    done = _bench("--requests", "40", "--config", "max_commands_in_flight=0", "--output", str(tmp_path))
    assert done.returncode == 1
    assert "max_commands_in_flight" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())
