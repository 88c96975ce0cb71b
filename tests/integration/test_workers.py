"""Several worker processes behind one socket and one store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from oxd_server.sync.locks import ProcessLocks
from tests.integration.conftest import StartServer
from tests.integration.logins import REDIRECT_URI, data_of, register
from tests.integration.oxd_process import ServerProcess, running_server

WORKERS = 4
SECONDS = 20


def pids(server: ServerProcess) -> dict[int, int]:
    """Return the process ids of the workers that run now, by worker."""
    started = [line for line in server.log_lines() if line.get("event") == "worker_started"]
    return {line["worker"]: line["pid"] for line in started}


async def wait_for_workers(server: ServerProcess, count: int) -> dict[int, int]:
    """Wait until so many workers have been started in all, and return those that run now."""
    with trio.fail_after(SECONDS):
        while sum(line.get("event") == "worker_started" for line in server.log_lines()) < count:
            await trio.sleep(0.01)
    return pids(server)


@asynccontextmanager
async def four_workers(start_server: StartServer) -> AsyncIterator[ServerProcess]:
    async with start_server({"workers": WORKERS}) as server:
        await wait_for_workers(server, WORKERS)
        data_of(await server.call("get_rp", list=True))
        yield server


@contextmanager
def only(worker: int, server: ServerProcess):  # type: ignore[no-untyped-def]
    """Stop all workers but one for a while, so that this one must take every new connection."""
    others = [pid for number, pid in pids(server).items() if number != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


async def all_started(server: ServerProcess) -> None:
    """Return when each worker has answered a command: none is starting any more."""
    for worker in range(WORKERS):
        with only(worker, server):
            data_of(await server.call("get_rp", list=True))


async def test_what_one_worker_does_the_others_know(start_server: StartServer, sandbox: RunningSandbox) -> None:
    """A state issued by one worker is redeemed by another; a change is seen by all at the very next command."""
    async with four_workers(start_server) as server:
        await all_started(server)
        with only(0, server):
            rp = await register(server, sandbox.issuer)
        for worker in range(WORKERS):  # so that each of them has the site in its cache
            with only(worker, server):
                await rp.stored()
        for worker in range(WORKERS):
            with only(worker, server):
                await rp.ok("update_site", client_name=f"by worker {worker}")
            for other in range(WORKERS):
                with only(other, server):
                    assert (await rp.stored())["client_name"] == f"by worker {worker}"
        with only(1, server):
            callback = await rp.authorize()
        params = {"code": callback["code"], "state": callback["state"]}
        with only(2, server):
            tokens = await rp.ok("get_tokens_by_code", **params)
        with only(3, server):
            assert (await rp.error("get_tokens_by_code", **params))["error"] == "bad_request"
            assert tokens["id_token"] in (await rp.ok("get_logout_uri"))["uri"]
            await rp.ok("remove_site")
        with only(0, server):
            assert (await rp.error("get_rp"))["error"] == "invalid_oxd_id"


async def test_updates_by_several_workers_do_not_undo_each_other(
    start_server: StartServer, sandbox: RunningSandbox
) -> None:
    """Concurrent updates through many connections, and so through several workers, are all there in the end."""
    changes: list[dict[str, Any]] = [
        {"client_name": "New"},
        {"contacts": ["a@example.org"]},
        {"scope": ["openid"]},
        {"acr_values": ["duo"]},
        {"ui_locales": ["de"]},
        {"post_logout_redirect_uri": "http://127.0.0.1:9/other"},
    ]
    async with four_workers(start_server) as server:
        rp = await register(server, sandbox.issuer)
        async with trio.open_nursery() as nursery:
            for change in changes:
                nursery.start_soon(lambda change: rp.ok("update_site", **change), change)
        stored = await rp.stored()
    for change in changes[:-1]:
        for name, value in change.items():
            assert stored[name] == value
    assert stored["logout_redirect_uri"] == changes[-1]["post_logout_redirect_uri"]


async def test_a_killed_worker_is_replaced_under_load(start_server: StartServer, sandbox: RunningSandbox) -> None:
    """While clients register and look up, one worker is killed: what was acknowledged is there, others go on."""
    acknowledged: list[str] = []
    broken = 0

    async def client(server: ServerProcess) -> None:
        nonlocal broken
        for _ in range(12):
            try:
                rp = await register(server, sandbox.issuer)
            except (AssertionError, trio.BrokenResourceError, OSError):
                broken += 1  # its connection was that worker's
                continue
            acknowledged.append(rp.oxd_id)

    async with four_workers(start_server) as server:
        victim = pids(server)[2]
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(client, server)
            with trio.fail_after(SECONDS):
                while len(acknowledged) < 20:
                    await trio.sleep(0.005)
            os.kill(victim, signal.SIGKILL)
        line = await server.wait_for_log("worker_ended")
        assert (line["worker"], line["exit_code"]) == (2, -signal.SIGKILL)
        assert (await wait_for_workers(server, WORKERS + 1))[2] != victim
        assert broken <= 8
        for oxd_id in acknowledged:
            assert data_of(await server.call("get_rp", oxd_id=oxd_id))["node"]["oxd_id"] == oxd_id


async def test_reload_reaches_all_workers(start_server: StartServer, sandbox: RunningSandbox, tmp_path: Path) -> None:
    """SIGHUP to the server makes every worker read the default site configuration again."""
    async with four_workers(start_server) as server:
        await all_started(server)
        defaults = {"op_host": sandbox.issuer, "scope": ["openid"]}
        (tmp_path / "oxd-default-site-config.json").write_text(json.dumps(defaults))
        server.signal(signal.SIGHUP)
        with trio.fail_after(SECONDS):
            while server.log_text().count("configuration_reloaded") < WORKERS:
                await trio.sleep(0.01)
        for worker in range(WORKERS):
            with only(worker, server):
                data_of(await server.call("register_site", authorization_redirect_uri=REDIRECT_URI))
        # What is wrong changes no worker.
        (tmp_path / "oxd-default-site-config.json").write_text("{}")
        (tmp_path / "oxd-conf.json").write_text('{"trust_store_path": "none.pem"}')
        server.signal(signal.SIGHUP)
        line = await server.wait_for_log("configuration_not_reloaded")
        assert "none.pem" in line["reasons"][0]
        with trio.fail_after(SECONDS):
            while server.log_text().count("configuration_not_reloaded") < WORKERS:
                await trio.sleep(0.01)
        data_of(await server.call("register_site", authorization_redirect_uri=REDIRECT_URI))


async def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """When the supervisor is killed, every worker stops by itself: none goes on without anybody to stop it."""
    with pytest.raises(trio.EndOfChannel):
        async with running_server(tmp_path, {"workers": WORKERS}) as server:
            workers = await wait_for_workers(server, WORKERS)
            await all_started(server)
            await server.kill()
            with trio.fail_after(SECONDS):
                for pid in workers.values():
                    while is_running(pid):
                        await trio.sleep(0.01)
            raise trio.EndOfChannel


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be collected."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


HOLD_FOR_EVER = """
import sys, trio
from pathlib import Path
from oxd_server.sync.locks import ProcessLocks

async def main():
    async with ProcessLocks(Path(sys.argv[1])).hold("key"):
        print("held", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_locks_hold_between_processes(tmp_path: Path) -> None:
    """A key that another process holds is waited for, another key is not; a killed holder holds nothing any more."""
    locks = ProcessLocks(tmp_path / "lock")
    command = [sys.executable, "-c", HOLD_FOR_EVER, str(tmp_path / "lock")]
    holder = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert (await holder.stdout.receive_some(10)).startswith(b"held")
    async with locks.hold("another"):
        pass
    with trio.move_on_after(0.05) as waiting:
        async with locks.hold("key"):
            raise AssertionError("the other process holds it")
    assert waiting.cancelled_caught
    holder.kill()
    await holder.wait()
    await holder.stdout.aclose()
    with trio.fail_after(SECONDS):
        async with locks.hold("key"):
            assert len(locks) == 1
    locks.close()
