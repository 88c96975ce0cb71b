"""A real HTTP proxy, in a process of its own. It takes names that end in `.test` for this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.http.proxy import HttpProxyBasePlugin

START_SECONDS = 30
STOP_SECONDS = 10


class TestNames(HttpProxyBasePlugin):
    """What the proxy asks for the address of a host. It runs in the proxy's process."""

    def resolve_dns(self, host: str, port: int) -> tuple[str | None, tuple[str, int] | None]:
        """Return 127.0.0.1 for a name of the tests, else leave it to the system."""
        del port
        return ("127.0.0.1" if host.endswith(".test") else None), None


@contextmanager
def http_proxy(folder: Path, *options: str) -> Iterator[int]:
    """Run a proxy with these options of proxy.py; yield its port on 127.0.0.1."""
    port_file = folder / "port"
    command = [
        sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port_file),
        "--num-workers", "1", "--num-acceptors", "1", "--plugins", f"{__name__}.{TestNames.__name__}",
        "--timeout", "60", "--log-file", str(folder / "proxy.log"), *options,
    ]  # fmt: skip
    root = str(Path(__file__).parent.parent)
    process = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": root})
    try:
        yield _port(port_file, process)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and (text := file.read_text()).endswith("\n"):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"the proxy did not start: {process.args!r}")
