"""Commands by a Unix socket: beside the port, without it, with workers, handed over; and who sent them, in the log."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.integration.in_process import NOT_RELOADED, connect_to, running
from tests.integration.logins import data_of
from tests.integration.oxd_process import READY, server_of, write_config


async def ask(path: Path) -> None:
    connection = await connect_to(path)
    for _ in range(2):
        assert data_of(await connection.call("get_rp", list=True)) == {"node": []}
    await connection.aclose()


async def test_beside_the_port(tmp_path: Path) -> None:
    """Both take commands; the log names the process that sent one. Where the port is protected, the socket is not."""
    path = tmp_path / "oxd.sock"
    exposed = {"localhost_only": False, "bind_addresses": ["0.0.0.0"]}
    async with running(tmp_path, unix_socket_path="oxd.sock", unix_socket_mode="0600", **exposed) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await ask(path)
        assert (await server.call("get_rp", list=True))["data"]["error"] == "blank_protection_access_token"
        line = await server.wait_for_log("command")
        while not line.get("peer", "").startswith("unix"):
            line = next(each for each in server.log_lines() if each.get("peer", "").startswith("unix"))
        assert line["peer"] == f"unix pid={os.getpid()} uid={os.getuid()} gid={os.getgid()}"
        assert line["entrance"] == "socket"
        assert (await server.wait_for_log(READY))["unix_socket"] == str(path)


async def test_instead_of_the_port(tmp_path: Path) -> None:
    """Without TCP nothing else listens, and a restart finds its own socket in its way, and replaces it."""
    for _ in range(2):
        async with running(tmp_path, unix_socket_path="oxd.sock", tcp_enabled=False) as server:
            assert server.port == 0
            await ask(tmp_path / "oxd.sock")
            line = await server.wait_for_log(READY)
            assert "port" not in line
            await server.reload(NOT_RELOADED, unix_socket_path="")
            assert "nothing would listen" in server.log_text()


async def test_the_start_says_what_there_is(tmp_path: Path) -> None:
    """The line of the start names the configuration, the store, its sites, the addresses, and the dialect of HTTPS."""
    https = {"enabled": True, "port": 0, "bind_addresses": ["127.0.0.1"]}
    async with running(tmp_path, https=https) as server:
        line = await server.wait_for_log(READY)
        assert line["configuration"] == str(tmp_path / "oxd-conf.json")
        assert line["store"] == str(tmp_path / "data" / "oxd.db")
        assert (line["sites"], line["workers"], line["https_dialect"]) == (0, 1, "auto")
        assert (line["port"], line["https_port"]) == (server.port, server.https_port)
        assert line["https_addresses"] == ["127.0.0.1"]


@pytest.mark.parametrize("config", [{"workers": 2, "unix_socket_path": "oxd.sock"}, {"workers": 2}])
async def test_with_workers_and_handed_over(tmp_path: Path, config: dict[str, Any]) -> None:
    """Workers share one that the server opened, and one that it was handed; TCP is opened beside it."""
    path = tmp_path / ("oxd.sock" if "unix_socket_path" in config else "systemd.sock")
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(tmp_path / "systemd.sock"))
        handed.listen()
        given = None if "unix_socket_path" in config else {"oxd": handed}
        async with server_of(write_config(tmp_path, config), given) as server:
            for _ in range(4):
                await ask(path)
            assert data_of(await server.call("get_rp", list=True)) == {"node": []}
            server.signal(signal.SIGTERM)
            assert await server.wait() == 0
