"""A Keycloak of its own for the tests: in memory, on a free port of this machine, with the realm of `realm.json`.

`./scripts/test --keycloak` unpacks it and says where it lies (OXD_TEST_KEYCLOAK_HOME).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME = "OXD_TEST_KEYCLOAK_HOME"
REALM = Path(__file__).with_name("realm.json")
START_SECONDS = 240
STOP_SECONDS = 30
POLL_SECONDS = 0.5


@contextmanager
def running_keycloak(log: Path) -> Iterator[str]:
    """Run Keycloak and yield the issuer of the realm; its output goes to `log`."""
    home = os.environ.get(HOME)
    assert home, f"{HOME} is not set: run ./scripts/test --keycloak"
    folder = Path(home)
    (folder / "data" / "import").mkdir(parents=True, exist_ok=True)
    shutil.copy(REALM, folder / "data" / "import" / "realm.json")
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", str(folder / "bin" / "kc.sh"), "start-dev", "--db=dev-mem", "--import-realm",
             "--http-host=127.0.0.1", f"--http-port={port}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m"},
        )  # fmt: skip
    issuer = f"http://127.0.0.1:{port}/realms/oxd"
    try:
        _wait_for(issuer, process, log)
        yield issuer
    finally:
        _stop(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_for(issuer: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{issuer}/.well-known/uma2-configuration", timeout=POLL_SECONDS * 10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_SECONDS)  # it takes a minute to start, and tells nobody when it is ready
    raise AssertionError(f"Keycloak did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
