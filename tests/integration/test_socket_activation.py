"""A real server that is handed its sockets, as systemd does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.logins import data_of
from tests.integration.oxd_process import running_server, write_config


def listening() -> socket.socket:
    """Return a socket on a free port of loopback."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def told(manager: socket.socket) -> str:
    """Return what the service manager is told next, without the times."""
    return manager.recv(1000).decode().partition("\n")[0]


@pytest.mark.parametrize("config", [{}, {"workers": 2}])
async def test_commands_come_in_through_the_socket_that_was_handed_over(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server, and the workers of one, serve on it; the port of the configuration is not opened.

    Whoever handed it over is told of the start, a reload and the end, once each, however many workers there are.
    """
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with listening() as sock, listening() as taken, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        config = {**config, "port": taken.getsockname()[1]}
        async with running_server(tmp_path, config, handed={"oxd": sock}) as server:
            assert told(manager) == "READY=1"
            assert server.port == sock.getsockname()[1]
            assert data_of(await server.call("get_rp", list=True)) == {"node": []}
            server.signal(signal.SIGHUP)
            assert [told(manager), told(manager)] == ["RELOADING=1", "READY=1"]
        assert told(manager) == "STOPPING=1"
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            told(manager)


async def test_https_too(tmp_path: Path) -> None:
    """A socket named https is the front's; the one for commands is opened as configured."""
    with listening() as sock:
        config = {"https": {"enabled": True, "port": 0}}
        async with running_server(tmp_path, config, handed={"https": sock}) as server:
            address = f"https://127.0.0.1:{sock.getsockname()[1]}/health-check"
            async with httpx2.AsyncClient(verify=False) as http:
                assert (await http.get(address)).text == "running"
            assert data_of(await server.call("get_rp", list=True)) == {"node": []}


@pytest.mark.parametrize(
    ("names", "reason"),
    [("https", "https.enabled is false"), ("oxd-server.socket", "LISTEN_FDNAMES"), ("oxd", "non-socket")],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, names: str, reason: str) -> None:
    """A name without a use, or a file that is no socket, ends the start with one line."""
    config = write_config(tmp_path, {})
    start = f'LISTEN_FDS=1 LISTEN_FDNAMES={names} LISTEN_PID=$$ exec "$@" 3</dev/null'
    command = [sys.executable, "-m", "oxd_server", "serve", "--config", str(config)]
    done = subprocess.run(
        ["bash", "-c", start, "bash", *command], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
