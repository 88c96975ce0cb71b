"""What it costs to be seen: the line that every command leaves in the log, and the figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from scripts.benchmarks.commands import OWN_CLIENT, SITE, Row, World
from scripts.benchmarks.processes import Measured, Plan, apply_load, call, frame, running_quiet_server, running_server
from scripts.benchmarks.scale import Scale

__all__ = ["CASE", "measure_seen"]

CASE = "being seen"
_CONNECTIONS = 8
_TURNS_PER_ROUND = 3


def measure_seen(world: World, settings: dict[str, Any], scale: Scale) -> Iterator[Row]:
    """Measure get_authorization_url over kept connections: with neither, with its line, and with both, in turn."""
    both = {**settings, "metrics": {"enabled": True, "port": 0}}
    folders = {name: world.folder / f"seen-{name}" for name in ("plain", "log", "figures")}
    with ExitStack() as stack:
        running = {
            "plain": stack.enter_context(running_quiet_server(folders["plain"], settings)),
            "log": stack.enter_context(running_server(folders["log"], settings)),
            "figures": stack.enter_context(running_server(folders["figures"], both)),
        }
        servers = {name: _prepared(server, world.issuer, scale) for name, server in running.items()}
        cpu: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(scale.rounds * _TURNS_PER_ROUND):
            for name, (server, plan) in servers.items():
                cpu[name].append(apply_load(server, plan).cpu_per_command)
    # A difference of two large numbers: the least disturbed turn of each, for other programs only ever add.
    best = {name: min(figures) for name, figures in cpu.items()}
    yield {
        "case": CASE,
        "plain_cpu_us": best["plain"] * 1e6,
        "log_cpu_us": best["log"] * 1e6,
        "figures_cpu_us": best["figures"] * 1e6,
        "log_ratio": best["log"] / best["plain"],
    }


def _prepared(server: Measured, issuer: str, scale: Scale) -> tuple[Measured, Plan]:
    """Return the server with a site, warmed up, and what to ask it."""
    oxd_id = call(server.port, "register_site", op_host=issuer, **SITE, **OWN_CLIENT)["oxd_id"]
    requests = [frame("get_authorization_url", {"oxd_id": oxd_id})]
    plan = Plan(requests=requests, count=scale.requests, connections=_CONNECTIONS, expect='"status":"ok"')
    apply_load(server, plan)
    return server, plan
