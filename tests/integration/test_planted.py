"""What others may have put in the server's way: modules, links, folders, environment variables, files to import."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from oxd_server.cli import main
from tests.integration.oxd_process import write_config

OXD_SERVER = Path(sys.executable).with_name("oxd-server")
PLANTED = "import os, pathlib\npathlib.Path(os.environ['PLANTED']).touch()\nraise SystemExit(9)\n"
SECONDS = 60


async def run(
    command: list[str | Path], environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[int, list[str]]:
    """Run a command to its end; return its exit code and the lines of stderr."""
    with trio.fail_after(SECONDS):
        done = await trio.run_process(
            list(map(str, command)), env={**os.environ, **(environment or {})}, cwd=cwd, capture_stdout=True,
            capture_stderr=True, check=False,
        )  # fmt: skip
    return done.returncode, done.stderr.decode().splitlines()


def the_line(outcome: tuple[int, list[str]]) -> str:
    """Return the one line in which a command failed."""
    code, lines = outcome
    assert code == 1, lines
    assert "Traceback" not in "\n".join(lines)
    assert lines[-1].startswith("oxd-server: "), lines
    return lines[-1]


async def serve_until_started(
    command: list[str | Path], workers: int, environment: Mapping[str, str], cwd: Path
) -> str:
    """Run a server until it and its workers are up, then stop it; return its log."""
    log = ""
    process = await trio.lowlevel.open_process(
        list(map(str, command)), env={**os.environ, **environment}, cwd=cwd, stderr=-1
    )
    assert process.stderr is not None
    with trio.fail_after(SECONDS):
        async for data in process.stderr:
            log += data.decode()
            if "Start listening" in log and log.count("worker_started") >= (workers if workers > 1 else 0):
                break
        process.terminate()
        async for data in process.stderr:
            log += data.decode()
        await process.wait()
    return log


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("command", [[OXD_SERVER], [sys.executable, "-m", "oxd_server"]], ids=["script", "module"])
async def test_what_lies_in_the_current_folder_is_not_imported(
    tmp_path: Path, command: list[str | Path], workers: int
) -> None:
    """A module of a library's name, planted where the server is started, runs neither in it nor in a worker."""
    path = write_config(tmp_path, {"workers": workers, "port": 0})
    for name in ("structlog", "trio", "json", "msgspec"):
        (tmp_path / f"{name}.py").write_text(PLANTED)
    proof = tmp_path / "planted"
    log = await serve_until_started([*command, "serve", "--config", path], workers, {"PLANTED": str(proof)}, tmp_path)
    assert "Start listening" in log
    assert "worker_ended" not in log
    assert not proof.exists()


async def test_a_store_that_others_could_replace_is_refused(tmp_path: Path) -> None:
    """A symbolic link, and a folder that everybody may write to, stop the start in one line; nothing is touched."""
    path = write_config(tmp_path)
    store = tmp_path / "data" / "oxd.db"
    store.parent.mkdir(mode=0o700, exist_ok=True)
    target = tmp_path / "somebody-elses"
    target.write_text("precious")
    for name in ("oxd.db", "oxd.db-wal"):
        link = store.with_name(name)
        link.symlink_to(target)
        line = the_line(await run([OXD_SERVER, "serve", "--config", path]))
        assert "symbolic link" in line
        assert name in line
        link.unlink()
        store.unlink(missing_ok=True)
    assert target.read_text() == "precious"
    store.parent.chmod(0o777)
    assert "everybody may write" in the_line(await run([OXD_SERVER, "serve", "--config", path]))
    assert not store.exists()


@pytest.mark.parametrize(
    ("count", "names"), [("x", ""), ("-1", ""), ("9" * 30, ""), ("500", ""), ("1", "a:b"), ("1", "nobody"), ("1", "")]
)
async def test_garbage_in_the_environment_is_refused_in_one_line(tmp_path: Path, count: str, names: str) -> None:
    """Descriptors that nobody handed over, or that are no sockets, stop the start in one line."""
    path = write_config(tmp_path)
    environment = {"LISTEN_FDS": count, "LISTEN_FDNAMES": names}
    line = the_line(await run([OXD_SERVER, "serve", "--config", path], environment))
    assert "LISTEN_FD" in line or "no TCP socket" in line


HOSTILE: dict[str, str | bytes] = {
    "lone surrogate": '{"oxd_id":"\\ud800","op_host":"x"}',
    "lone surrogate in a name": '{"oxd_id":"s1","client_name":"\\udfff"}',
    "huge number": '{"oxd_id":"a","client_id_issued_at":' + "9" * 30 + "}",
    "infinite number": '{"oxd_id":"a","client_id_issued_at":1e999}',
    "no number": '{"oxd_id":"a","client_id_issued_at":NaN}',
    "very long number": '{"oxd_id":"a","client_id_issued_at":' + "9" * 5000 + "}",
    "huge negative number": '{"oxd_id":"a","client_secret_expires_at":-99999999999999999999}',
    "huge fraction": '{"oxd_id":"a","client_secret_expires_at":1.5e300}',
    "very deep": "[" * 100_000,
    "deep value": '{"oxd_id":"a","client_name":' + "[" * 900 + "]" * 900 + "}",
    "deep object": '{"oxd_id":"a","client_name":' + '{"a":' * 900 + "1" + "}" * 900 + "}",
    "list for an oxd_id": '{"oxd_id":["a",{"b":1}]}',
    "number for an oxd_id": '{"oxd_id":7}',
    "object for an oxd_id": '{"oxd_id":{"a":1}}',
    "null byte": '{"oxd_id":"a\\u0000b"}',
    "terminal escape": '{"oxd_id":"\\u202e\\u001b[31m"}',
    "long oxd_id": '{"oxd_id":"' + "i" * 1_000_000 + '"}',
    "objects for scopes": '{"oxd_id":"r","uma_protected_resources":[{"path":null,"scopes":{"a":1}}]}',
    "text for resources": '{"oxd_id":"r","uma_protected_resources":"x"}',
    "objects in a list": '{"oxd_id":"r","redirect_uris":[{"a":1}]}',
    "no text": b"\xff\xfe",
    "nothing": b"",
    "one good, one bad": '[{"oxd_id":"good"},{"oxd_id":["bad"]}]',
    "no site": "[1]",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a file holds: one line that says what is wrong, no traceback, and nothing is imported."""
    path, file = write_config(tmp_path), tmp_path / "hostile.json"
    content = HOSTILE[kind]
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    code = main(["sites", "import", str(file), "--config", str(path)])
    line = the_line((code, capsys.readouterr().err.splitlines()))
    assert "hostile.json" in line
    assert len(line) < 300
    assert not (tmp_path / "data" / "oxd.db").exists()


async def test_a_terminal_that_cannot_show_a_name_stops_nothing(tmp_path: Path) -> None:
    """What the terminal's encoding lacks is written out; what a terminal would obey is never sent to it."""
    path, file = write_config(tmp_path), tmp_path / "site.json"
    site: dict[str, Any] = {"oxd_id": "site-1", "client_name": "Zoë \x1b[31m\u202e\x9b"}
    file.write_text(json.dumps(site))
    assert (await run([OXD_SERVER, "sites", "import", file, "--config", path]))[0] == 0
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for command in (["list"], ["show", "site-1"], ["export"]):
        with trio.fail_after(SECONDS):
            done = await trio.run_process(
                [str(OXD_SERVER), "sites", *command, "--config", str(path)], capture_stdout=True, env=environment
            )
        shown = done.stdout.decode("ascii")
        assert "site-1" in shown
        assert "31m" in shown
        assert all(line.isprintable() for line in shown.split("\n"))
