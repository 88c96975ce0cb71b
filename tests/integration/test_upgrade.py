"""Upgrades without downtime: under load, no command fails, and what fails to start changes nothing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.logins import REDIRECT_URI, SCOPES, data_of, register
from tests.integration.oxd_process import OxdConnection, ServerProcess, running_server, server_of, write_config

SECONDS = 60
OWN = {"client_id": "own-client", "client_secret": "own-secret"}
SITE = {"op_host": "https://op.example.org", "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES, **OWN}


@dataclass
class Load:
    """Clients that ask all the time; every failure is kept."""

    port: int
    https_port: int = 0
    unix_path: Path | None = None
    done: trio.Event = field(default_factory=trio.Event)
    asked: int = 0
    failed: list[str] = field(default_factory=list)

    async def one_shot(self) -> None:
        """A new connection for every command, as most libraries do."""
        while not self.done.is_set():
            async with self._counting():
                connection = await self._connect()
                try:
                    oxd_id = data_of(await connection.call("register_site", **SITE))["oxd_id"]
                    again = await self._connect()
                    try:  # whichever process answers, it knows what the other one has acknowledged
                        assert data_of(await again.call("get_rp", oxd_id=oxd_id))["node"]["oxd_id"] == oxd_id
                    finally:
                        await again.aclose()
                finally:
                    await connection.aclose()

    async def kept_open(self) -> None:
        """One connection for all commands, as others do."""
        connection = await self._connect()
        oxd_id = data_of(await connection.call("register_site", **SITE))["oxd_id"]
        while not self.done.is_set():
            async with self._counting():
                data_of(await connection.call("get_rp", oxd_id=oxd_id))
            await trio.sleep(0.01)
        await connection.aclose()

    async def https(self) -> None:
        """A client that keeps its connection as long as the server lets it."""
        async with httpx2.AsyncClient(verify=False) as http:
            while not self.done.is_set():
                async with self._counting():
                    answer = await http.get(f"https://127.0.0.1:{self.https_port}/health-check")
                    assert answer.text == "running"

    async def _connect(self) -> OxdConnection:
        if self.unix_path is not None:
            return OxdConnection(await trio.open_unix_socket(str(self.unix_path)))
        return OxdConnection(await trio.open_tcp_stream("127.0.0.1", self.port))

    @asynccontextmanager
    async def _counting(self) -> AsyncIterator[None]:
        try:
            yield
            self.asked += 1
        except (OSError, AssertionError, trio.BrokenResourceError, httpx2.HTTPError) as error:
            self.failed.append(repr(error))

    async def goes_on(self, commands: int = 60) -> None:
        """Return when so many more commands have been answered, or one has failed."""
        until = self.asked + commands
        with trio.fail_after(SECONDS):
            while self.asked < until and not self.failed:
                await trio.sleep(0.005)


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def end(pid: int) -> None:
    """Stop a successor, which is no child of the test, and wait for its end."""
    os.kill(pid, signal.SIGTERM)
    with trio.fail_after(SECONDS):
        while is_running(pid):
            await trio.sleep(0.01)


async def upgraded(server: ServerProcess) -> int:
    """Ask for an upgrade and return the id of the process that serves now."""
    server.signal(signal.SIGUSR2)
    pid: int = (await server.wait_for_log("upgraded", seconds=SECONDS))["pid"]
    return pid


@pytest.mark.parametrize("config", [{}, {"workers": 2}])
async def test_no_command_fails_in_an_upgrade(tmp_path: Path, config: dict[str, Any]) -> None:
    """New connections, kept ones, HTTPS and the Unix socket: all commands are answered, and the old process ends."""
    https = {"enabled": True, "port": 0, "bind_addresses": ["127.0.0.1"]}
    config = {**config, "https": https, "unix_socket_path": "oxd.sock"}
    async with running_server(tmp_path, config) as server:
        https_port = (await server.wait_for_log("Start listening"))["https_port"]
        load = Load(server.port, https_port)
        local = Load(0, unix_path=tmp_path / "oxd.sock")
        async with trio.open_nursery() as nursery:
            for client in (load.one_shot, load.one_shot, load.kept_open, load.https, local.one_shot, local.kept_open):
                nursery.start_soon(client)
            await load.goes_on()
            pid = await upgraded(server)
            await load.goes_on()
            await local.goes_on()
            load.done.set()
            local.done.set()
        assert (load.failed, local.failed) == ([], [])
        assert await server.wait() == 0
        assert is_running(pid)
        data_of(await server.call("register_site", **SITE))  # the same port, another process
        await end(pid)


async def test_a_login_goes_on_over_an_upgrade(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A state that the old process issued is good in the new one, once; and the new one can be replaced in its turn."""
    async with running_server(tmp_path) as server:
        rp = await register(server, sandbox.issuer)
        callback = await rp.authorize()
        first = await upgraded(server)
        assert await server.wait() == 0
        params = {"code": callback["code"], "state": callback["state"]}
        await rp.ok("get_tokens_by_code", **params)
        assert (await rp.error("get_tokens_by_code", **params))["details"]["check"] == "state_used"
        os.kill(first, signal.SIGUSR2)
        with trio.fail_after(SECONDS):
            while is_running(first):
                await trio.sleep(0.01)
        second = [line["pid"] for line in server.log_lines() if line["event"] == "upgraded"][-1]
        assert second != first
        assert (await rp.stored())["oxd_id"] == rp.oxd_id
        await end(second)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_successor_that_fails_changes_nothing(tmp_path: Path, workers: int) -> None:
    """With a configuration that cannot be used, or keys that only workers read, the old process goes on under load."""
    async with running_server(tmp_path, {"workers": workers}) as server:
        load = Load(server.port)
        async with trio.open_nursery() as nursery:
            for client in (load.one_shot, load.kept_open):
                nursery.start_soon(client)
            with trio.fail_after(SECONDS):  # until no worker is starting any more, and reads what comes now
                while len({line.get("worker") for line in server.log_lines() if line["event"] == "command"}) < workers:
                    await trio.sleep(0.05)
            write_config(tmp_path, {"workers": workers, "crypt_provider_key_store_path": "none.json"})
            server.signal(signal.SIGUSR2)
            line = await server.wait_for_log("upgrade_failed", seconds=SECONDS)
            assert line["exit_code"] == 1
            assert not is_running(line["pid"])
            assert "none.json" in server.log_text()
            await load.goes_on()
            load.done.set()
        assert load.failed == []


async def test_a_store_in_memory_is_not_left(tmp_path: Path) -> None:
    """There a successor would have none of the sites: it is not even started."""
    async with running_server(tmp_path, {"storage": "memory"}) as server:
        server.signal(signal.SIGUSR2)
        assert "memory" in (await server.wait_for_log("upgrade_failed"))["reason"]
        data_of(await server.call("register_site", **SITE))


async def test_a_connection_that_stays_is_closed_in_the_end(tmp_path: Path) -> None:
    """After handover_timeout_in_seconds the old process ends, whoever is connected; SIGTERM ends it at once."""
    for seconds, asked_to_stop in ((0.1, False), (300, True)):
        async with running_server(tmp_path, {"handover_timeout_in_seconds": seconds}) as server:
            connection = await server.connect()
            data_of(await connection.call("get_rp", list=True))
            pid = await upgraded(server)
            if asked_to_stop:
                data_of(await connection.call("get_rp", list=True))
                server.signal(signal.SIGTERM)
            await connection.receive_eof()
            assert await server.wait() == 0
            await connection.aclose()
            await end(pid)


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_command_fails_in_a_restart_with_socket_activation(tmp_path: Path, workers: int) -> None:
    """systemd keeps the socket: who connects between two servers waits for the next one, and nobody is lost."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1024)
        path = write_config(tmp_path, {"workers": workers})
        load = Load(sock.getsockname()[1])
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(load.one_shot)
            async with server_of(path, {"oxd": sock}):
                await load.goes_on()
            async with server_of(path, {"oxd": sock}):
                await load.goes_on()
                load.done.set()
                nursery.cancel_scope.deadline = trio.current_time() + SECONDS
                with trio.fail_after(SECONDS):
                    while len(nursery.child_tasks):
                        await trio.sleep(0.01)
        assert load.failed == []
