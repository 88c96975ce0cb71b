"""What a service manager is told, over a socket as systemd opens one."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from oxd_server.process.service_manager import ServiceManager, service_manager_from


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Return a value for NOTIFY_SOCKET, and the socket behind it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@oxd-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0"))
        sock.settimeout(10)
        yield address, sock


async def test_the_service_manager_is_told(listening: tuple[str, socket.socket]) -> None:
    """Ready, reloading with the time of the monotonic clock in microseconds, and stopping: a datagram each."""
    address, sock = listening
    manager = ServiceManager(address)
    await manager.ready()
    assert sock.recv(1000) == b"READY=1"
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    await manager.reloading()
    state, _, told = sock.recv(1000).decode().partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert int(before * 1e6) <= int(told) <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    await manager.stopping()
    assert sock.recv(1000) == b"STOPPING=1"


async def test_without_one_nothing_is_said() -> None:
    """A process that was started from a shell has nobody to tell."""
    with capture_logs() as logs:
        await ServiceManager().ready()
    assert logs == []


async def test_one_that_cannot_be_told_stops_nothing(tmp_path: Path) -> None:
    """A socket that is not there is a warning, which names what was not said."""
    with capture_logs() as logs:
        await ServiceManager(str(tmp_path / "gone")).stopping()
    assert [(line["log_level"], line["state"]) for line in logs] == [("warning", "STOPPING")]


@pytest.mark.parametrize(("value", "address"), [("@name", "@name"), ("/run/x", "/run/x"), ("", None), (None, None)])
def test_children_do_not_find_it(value: str | None, address: str | None) -> None:
    """The variable is taken out of the environment, whatever it holds."""
    environment = {"OTHER": "1"} | ({} if value is None else {"NOTIFY_SOCKET": value})
    assert service_manager_from(environment) == ServiceManager(address)
    assert environment == {"OTHER": "1"}
