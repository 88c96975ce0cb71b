"""What commands cost Redis, and what a node with its sites there takes: the figures behind docs/explanation/scale.md.

``python -m scripts.benchmarks.redis_cost [--sites N]`` starts a Redis, two servers on it and the sandbox's provider,
all on loopback. It counts what Redis is asked per command, and measures how much two nodes do and what memory they
take.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import trio

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import RedisSettings, Site, SiteSession, open_store
from tests.integration.logins import Rp, register
from tests.integration.oxd_process import running_server
from tests.integration.sandbox_provider import running_sandbox
from tests.redis_server import redis_server

CALLS = 200
SITES = 10_000
READ = 10_000
"""So many of the sites are read one by one: as many as a node keeps in memory."""
UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"
CONNECTIONS = 16
SECONDS = 3.0


async def stats(port: int) -> tuple[dict[str, int], float, int]:
    """Return how often each command was run, the seconds of processor and the bytes that Redis has used."""
    done = await trio.run_process(["redis-cli", "-p", str(port), "INFO", "everything"], capture_stdout=True)
    lines = dict(line.split(":", 1) for line in done.stdout.decode().splitlines() if ":" in line)
    calls = {
        name.removeprefix("cmdstat_"): int(value.split(",")[0].removeprefix("calls="))
        for name, value in lines.items()
        if name.startswith("cmdstat_")
    }
    cpu = float(lines["used_cpu_user"]) + float(lines["used_cpu_sys"])
    return calls, cpu, int(lines["used_memory"])


def resident(pid: int) -> float:
    """Return a process's memory in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processor(pid: int) -> float:
    """Return the seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cost(port: int, pid: int, name: str, call: Callable[[int], Awaitable[Any]], calls: int = CALLS) -> None:
    """Print what one call of a command takes of the node, and what it has Redis do."""
    before, cpu_before, _ = await stats(port)
    node_before = processor(pid)
    began = trio.current_time()
    for number in range(calls):
        await call(number)
    seconds = trio.current_time() - began
    after, cpu_after, _ = await stats(port)
    asked = {key: (after.get(key, 0) - before.get(key, 0)) / calls for key in after}
    shown = ", ".join(f"{key} {value:.1f}" for key, value in sorted(asked.items()) if value >= 0.1 and key != "info")
    cpu = 1e6 * (cpu_after - cpu_before) / calls
    node = 1e6 * (processor(pid) - node_before) / calls
    print(f"{name:24} {1e3 * seconds / calls:6.2f} ms; node {node:5.0f} us, Redis {cpu:5.0f} us; {shown}", flush=True)


async def throughput(port: int, name: str, rps: list[Rp], command: str, **params: Any) -> None:
    """Print how many answers a second some connections to all nodes get together."""
    connections = [await rps[number % len(rps)].server.connect() for number in range(CONNECTIONS)]

    async def client(number: int, turn: int) -> None:
        rp = rps[(number + turn * CONNECTIONS) % len(rps)]
        answer = await connections[number].call(command, oxd_id=rp.oxd_id, **params)
        assert answer["status"] == "ok", answer

    await throughput_of(port, name, client)


async def throughput_of(
    port: int, name: str, act: Callable[[int, int], Awaitable[Any]], seconds: float = SECONDS
) -> None:
    """Print how often a second ``act``, told the number of its connection and its turn, is done by all together."""
    answered = 0

    async def client(number: int) -> None:
        nonlocal answered
        for turn in count():
            await act(number, turn)
            answered += 1

    _, cpu, _ = await stats(port)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for number in range(CONNECTIONS):
                nursery.start_soon(client, number)
    _, cpu_after, _ = await stats(port)
    rate, used = answered / seconds, 100 * (cpu_after - cpu) / seconds
    print(f"{name:28} {rate:7.1f} a second; Redis: {used:.0f} % of a processor", flush=True)


async def fill(port: int, sites: int) -> None:
    """Add so many sites, and print what each takes in Redis."""
    _, _, before = await stats(port)
    async with open_store(RedisSettings(servers=(("127.0.0.1", port),), timeout=30.0)) as store:
        site = Site(
            oxd_id="",
            op_host="https://op.example.org",
            client=ClientMetadata(client_name="A shop", redirect_uris=("https://rp.example.com/cb",)),
            client_secret="s" * 40,
            client_registration_access_token="t" * 40,
        )
        for start in range(0, sites, 500):
            pairs = [
                (msgspec.structs.replace(site, oxd_id=f"site-{n:08}", client_id=f"client-{n:08}"), SiteSession())
                for n in range(start, start + 500)
            ]
            await store.add_all(pairs)
    _, _, after = await stats(port)
    print(f"{sites} sites in Redis: {(after - before) / sites:.0f} bytes each", flush=True)


async def many_sites(port: int, issuer: str, folder: Path, config: dict[str, Any], sites: int) -> None:
    """Print what two nodes with two workers each do among so many sites, and what memory each process takes."""
    for node in ("c", "d"):
        (folder / node).mkdir()
    config = {**config, "workers": 2}
    async with running_server(folder / "c", config) as c, running_server(folder / "d", config) as d:
        nodes = [c, d]
        chosen = random.Random(0).sample(range(sites), READ)
        rps = [Rp(nodes[number % 2], f"site-{number:08}") for number in chosen]
        await throughput(port, "2 x 2 workers: get_rp", rps, "get_rp")
        grants = ["authorization_code", "client_credentials", UMA_TICKET]
        scope = ["openid", "uma_protection"]
        own = [
            await register(nodes[number % 2], issuer, grant_types=grants, scope=scope) for number in range(CONNECTIONS)
        ]
        await throughput(port, "2 x 2: get_authorization_url", own, "get_authorization_url")
        await throughput_of(port, "2 x 2: logins", lambda number, _: own[number].log_in(), 20.0)
        resources = [{"path": "/photo", "conditions": [{"httpMethods": ["GET"], "scopes": ["view"]}]}]
        for rp in own:
            await rp.ok("uma_rs_protect", resources=resources)
        await throughput(
            port, "2 x 2: uma_rs_check_access", own, "uma_rs_check_access", path="/photo", http_method="GET"
        )
        workers = [resident(pid) for node in nodes for pid in children(node.pid)]
        print("2 x 2: MiB of each worker: " + ", ".join(f"{size:.0f}" for size in workers), flush=True)


async def main(sites: int) -> None:
    """Measure all of it among so many sites."""
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as (port, _):
        folder = Path(name)
        config = {"storage": "redis", "storage_configuration": {"servers": f"127.0.0.1:{port}"}}
        for node in ("a", "b"):
            (folder / node).mkdir()
        async with (
            running_sandbox() as sandbox,
            running_server(folder / "a", config) as a,
            running_server(folder / "b", config) as b,
        ):
            rp = await register(a, sandbox.issuer)
            other = Rp(b, rp.oxd_id)
            await rp.stored()
            await other.stored()
            print(f"a node without sites: {resident(a.pid):.0f} MiB", flush=True)
            await cost(port, a.pid, "get_rp, known here", lambda _: rp.stored())
            await cost(port, a.pid, "get_authorization_url", lambda _: rp.ok("get_authorization_url"))
            await cost(port, a.pid, "a login (2 commands)", lambda _: rp.log_in(), 20)
            await cost(port, a.pid, "update_site", lambda n: rp.ok("update_site", contacts=[f"{n}@example.org"]), 20)
            await throughput(port, "get_rp, one node", [rp], "get_rp")
            await throughput(port, "get_rp, two nodes", [rp, other], "get_rp")
            await throughput(port, "get_authorization_url, two", [rp, other], "get_authorization_url")
            await fill(port, sites)
            await cost(port, a.pid, "get_rp, not known here", lambda n: a.call("get_rp", oxd_id=f"site-{n:08}"))
            for number in range(READ):
                await a.call("get_rp", oxd_id=f"site-{number:08}")
            print(f"a node that has read {READ} sites: {resident(a.pid):.0f} MiB", flush=True)
            await many_sites(port, sandbox.issuer, folder, config, sites)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=SITES, help="how many sites lie in Redis")
    trio.run(main, parser.parse_args().sites)
