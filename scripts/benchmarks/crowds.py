"""The cases about many: connections that do nothing, and workers that share the work."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from scripts.benchmarks.commands import OWN_CLIENT, SITE, Row, World
from scripts.benchmarks.processes import Measured, Outcome, Plan, apply_load, call, frame, running_quiet_server
from scripts.benchmarks.scale import Scale

__all__ = ["measure_idle", "measure_workers"]

_ACTIVE = 32
_SHARED = 128
"""Connections that workers share: whoever is awake takes the next one, and with few of them shares differ by chance."""

_SPARE_FILES = 200


def measure_idle(world: World, scale: Scale) -> Row:
    """Measure what connections cost that carry nothing any more: memory, and the time of those that carry commands."""
    count = scale.idle_connections
    _allow_open_files(count + _SPARE_FILES)
    plan = _plan(world.oxd_id, scale, _ACTIVE)
    with _idle_connections(world, 50):  # what the first ones cost is not theirs
        pass
    alone, beside = [apply_load(world.server, plan)], []  # type: tuple[list[Outcome], list[Outcome]]
    memory = [world.server.memory_kib()]
    for _ in range(scale.rounds):
        with _idle_connections(world, count):
            memory.append(world.server.memory_kib())
            beside.append(apply_load(world.server, plan))
        alone.append(apply_load(world.server, plan))
    return {
        "case": "idle connections",
        "connections": count,
        "kib_each": (memory[1] - memory[0]) / count,
        "megabytes_with_them": memory[1] * 1024 / 1e6,
        "cost_ratio": _best(beside) / _best(alone),
    }


def measure_workers(folder: Path, issuer: str, settings: dict[str, Any], scale: Scale) -> Iterator[Row]:
    """Measure one worker and as many as there are processors, two at least, in turn.

    The load generator and whatever else runs take their share of the same processors. So the figures are of processor
    time: what a command costs in all processes, and how many a second the busiest could answer on a processor of its
    own. The latter also falls when the work is shared unevenly.
    """
    many = max(os.cpu_count() or 1, 2)
    with ExitStack() as running:
        servers = {workers: _open_server(running, folder, workers, issuer, settings) for workers in (1, many)}
        outcomes: dict[int, list[Outcome]] = {workers: [] for workers in servers}
        for _ in range(scale.rounds + 1):  # the first turn is to warm up
            for workers, (server, oxd_id) in servers.items():
                outcomes[workers].append(apply_load(server, _plan(oxd_id, scale, _SHARED)))
    one, shared = outcomes[1][1:], outcomes[many][1:]
    yield {
        "case": "workers",
        "workers": many,
        "cost_ratio": _best(shared) / _best(one),
        "capacity_ratio": max(o.capacity for o in shared) / max(o.capacity for o in one),
    }


def _open_server(
    running: ExitStack, folder: Path, workers: int, issuer: str, settings: dict[str, Any]
) -> tuple[Measured, str]:
    server = running.enter_context(running_quiet_server(folder / f"{workers}", {**settings, "workers": workers}))
    oxd_id = call(server.port, "register_site", op_host=issuer, **SITE, **OWN_CLIENT)["oxd_id"]
    for _ in range(4 * workers):  # each has its own cache
        call(server.port, "get_authorization_url", oxd_id=oxd_id)
    return server, oxd_id


def _plan(oxd_id: str, scale: Scale, connections: int) -> Plan:
    requests = [frame("get_authorization_url", {"oxd_id": oxd_id})]
    return Plan(requests=requests, count=scale.requests, connections=connections)


def _best(outcomes: list[Outcome]) -> float:
    # Other programs on the machine only ever add to what a run costs.
    return min(outcome.cpu_per_command for outcome in outcomes)


@contextmanager
def _idle_connections(world: World, count: int) -> Iterator[None]:
    """Open so many connections, of which each has carried one command."""
    request = frame("get_rp", {"oxd_id": world.oxd_id}).encode()
    with ExitStack() as opened:
        for _ in range(count):
            sock = opened.enter_context(socket.create_connection(("127.0.0.1", world.server.port)))
            sock.sendall(request)
            sock.recv(65_536)
        yield


def _allow_open_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(count, soft), hard), hard))
