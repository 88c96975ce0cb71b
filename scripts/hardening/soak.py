"""Runs mixed commands at half load for a long time and looks whether anything grows.

The rate is half of what the server managed in the first seconds. Meanwhile the provider is restarted again and again
and changes its keys. A sample holds the server's memory, open files, tasks and caches (it tells them when it gets
SIGUSR1) and the latencies since the sample before. ``./scripts/soak`` starts this.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from scripts.hardening.kit import Failed, Provider, Server, running, running_provider
from scripts.hardening.picture import Panel, draw
from scripts.hardening.soak_traffic import Application, Traffic

CLIENTS = 16
SHARE_OF_CAPACITY = 0.5
DOWN_SECONDS = 1.0
RECOVERY_SECONDS = 5.0
FIGURES_SECONDS = 10.0
_CONTROL_BYTES = 500
_CONTROL_PAUSE = 0.05


@dataclass(frozen=True)
class Plan:
    """How long a run takes and what happens in it, in seconds."""

    seconds: float
    sample_every: float
    restart_every: float
    rotate_every: float
    calibration: float = 5.0


@dataclass(frozen=True)
class Sample:
    """What was seen at one time."""

    minute: float
    resident_mib: float
    open_files: int
    tasks: int
    connections: int
    in_flight: int
    cached: int
    store_kib: float
    commands_per_second: float
    median_ms: float
    p95_ms: float
    control_ms: float  # of a process that only sends back what it gets, for the same number of bytes and clients
    cpu_ms: float  # of the server, for one command
    answers: int
    failures: int


class Sampler:
    """Looks at the server from time to time."""

    def __init__(self, server: Server, traffic: Traffic) -> None:
        self.samples: list[Sample] = []
        self._server = server
        self._traffic = traffic
        self._begun = self._last = trio.current_time()
        self._cpu = server.cpu_seconds()
        self._read_to = 0

    async def sample(self) -> Sample:
        """Take one sample."""
        figures = await self._figures()
        now = trio.current_time()
        latencies, self._traffic.latencies = sorted(self._traffic.latencies) or [0.0], []
        control, self._traffic.control = self._traffic.control or [0.0], []
        outcomes, self._traffic.outcomes = self._traffic.outcomes, Counter()
        cpu = self._server.cpu_seconds()
        files = [Path(f"{self._server.store}{end}") for end in ("", "-wal")]
        sample = Sample(
            minute=(now - self._begun) / 60,
            resident_mib=figures["resident_kib"] / 1024,
            open_files=figures["open_files"],
            tasks=figures["tasks"],
            connections=figures["connections"],
            in_flight=figures["commands_in_flight"],
            cached=figures["providers_known"] + figures["key_sets_known"] + figures["sites_locked"],
            store_kib=sum(file.stat().st_size for file in files if file.exists()) / 1024,
            commands_per_second=len(latencies) / (now - self._last),
            median_ms=statistics.median(latencies) * 1000,
            p95_ms=latencies[int(len(latencies) * 0.95)] * 1000,
            control_ms=statistics.median(control) * 1000,
            cpu_ms=(cpu - self._cpu) / len(latencies) * 1000,
            answers=outcomes.total(),
            failures=outcomes.total() - outcomes["ok"],
        )
        self._last, self._cpu = now, cpu
        self.samples.append(sample)
        return sample

    async def _figures(self) -> dict[str, Any]:
        """Ask the server for its figures and wait for the line."""
        assert self._server.process is not None
        self._server.process.send_signal(signal.SIGUSR1)
        with trio.move_on_after(FIGURES_SECONDS):
            while True:
                with self._server.log.open("rb") as log:
                    log.seek(self._read_to)
                    text = log.read()
                whole = text[: text.rfind(b"\n") + 1]
                self._read_to += len(whole)
                lines = [json.loads(line) for line in whole.splitlines() if b'"figures"' in line]
                if lines:
                    return dict(lines[-1])
                await trio.sleep(0.02)
        raise Failed(f"the server tells no figures:\n{self._server.log_tail()}")


@dataclass
class Outcome:
    """What a run comes to."""

    samples: list[Sample]
    traffic: Traffic
    restarts: list[float]
    rotations: list[float]
    rate: float
    exit_code: int


async def soak_run(folder: Path, plan: Plan, *, show: bool = True) -> Outcome:
    """Run the plan on a server in ``folder``. Raises ``Failed``."""
    traffic = Traffic()
    # Short-lived states, so that the table of used ones reaches its size within the first minutes.
    server = Server(folder, {"state_expiration_in_minutes": 1, "log_level": "info"})
    async with trio.open_nursery() as nursery, running_provider(nursery) as provider, running(server):
        applications = [Application(number, provider, traffic) for number in range(CLIENTS)]
        for application in applications:
            await application.set_up(server.port)
        rate = SHARE_OF_CAPACITY * await _capacity(applications, server.port, traffic, plan.calibration)
        if show:
            print(f"half load: {rate:.0f} commands a second from {CLIENTS} clients\n{_HEAD}", flush=True)
        sampler = Sampler(server, traffic)
        restarts: list[float] = []
        rotations: list[float] = []
        async with trio.open_nursery() as at_work:
            for application in applications:
                at_work.start_soon(application.run, server.port, lambda: CLIENTS / rate)
            await at_work.start(_control, traffic)
            at_work.start_soon(_restart_again_and_again, provider, traffic, plan.restart_every, restarts)
            at_work.start_soon(_rotate_again_and_again, provider, plan.rotate_every, rotations)
            await _watch(sampler, plan, show=show)
            at_work.cancel_scope.cancel()
        exit_code = await server.stop()
    return Outcome(sampler.samples, traffic, restarts, rotations, rate, exit_code)


async def _capacity(applications: Sequence[Application], port: int, traffic: Traffic, seconds: float) -> float:
    """Return how many commands a second the server manages without any pause."""
    traffic.latencies.clear()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for application in applications:
                nursery.start_soon(application.run, port, lambda: 0.0)
    count = len(traffic.latencies)
    traffic.latencies.clear()
    traffic.outcomes.clear()
    if not count:
        raise Failed("the server answered nothing")
    return count / seconds


async def _control(traffic: Traffic, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Time what the machine and this process add to every round trip."""
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "scripts.hardening.echo"]
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
        port = int(await process.stdout.receive_some(100))
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            task_status.started()
            while True:
                begun = trio.current_time()
                await stream.send_all(bytes(_CONTROL_BYTES))
                received = 0
                while received < _CONTROL_BYTES:
                    received += len(await stream.receive_some(_CONTROL_BYTES))
                traffic.control.append(trio.current_time() - begun)
                await trio.sleep(_CONTROL_PAUSE)


async def _restart_again_and_again(provider: Provider, traffic: Traffic, every: float, times: list[float]) -> None:
    begun = trio.current_time()
    while True:
        await trio.sleep(every)
        times.append((trio.current_time() - begun) / 60)
        traffic.outage_until = math.inf
        provider.down()
        await trio.sleep(DOWN_SECONDS)
        await provider.up()
        traffic.outage_until = trio.current_time() + RECOVERY_SECONDS


async def _rotate_again_and_again(provider: Provider, every: float, times: list[float]) -> None:
    begun = trio.current_time()
    while True:
        await trio.sleep(every)
        times.append((trio.current_time() - begun) / 60)
        await provider.rotate_keys()


async def _watch(sampler: Sampler, plan: Plan, *, show: bool) -> None:
    end = trio.current_time() + plan.seconds
    while trio.current_time() < end:
        await trio.sleep(plan.sample_every)
        sample = await sampler.sample()
        if show:
            print(_line(sample), flush=True)


_HEAD = (
    "  minute     MiB  files  tasks  conns  cached  store KiB     cmd/s  median ms     p95 ms  control ms  CPU ms"
    "  failures"
)


def _line(one: Sample) -> str:
    return (
        f"{one.minute:8.1f}{one.resident_mib:8.1f}{one.open_files:7d}{one.tasks:7d}{one.connections:7d}{one.cached:8d}"
        f"{one.store_kib:11.0f}{one.commands_per_second:10.0f}{one.median_ms:11.2f}{one.p95_ms:11.2f}"
        f"{one.control_ms:12.2f}{one.cpu_ms:8.2f}{one.failures:10d}"
    )


@dataclass(frozen=True)
class Growth:
    """One quantity after the first minutes and at the end (medians), and how much is tolerated."""

    name: str
    early: float
    late: float
    allowed: float

    @property
    def is_fine(self) -> bool:
        """Whether it has not grown beyond what is tolerated."""
        return self.late <= self.allowed


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """Compare the second fifth of the run with its last fifth."""
    fifth = max(len(samples) // 5, 1)
    early, late = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]

    def growth(name: str, of: Callable[[Sample], float], factor: float, more: float) -> Growth:
        before, after = statistics.median(map(of, early)), statistics.median(map(of, late))
        return Growth(name, before, after, before * factor + more)

    return [
        growth("resident memory, MiB", lambda one: one.resident_mib, 1.05, 4),
        growth("open files", lambda one: one.open_files, 1.0, 12),
        growth("tasks", lambda one: one.tasks, 1.0, 16),
        growth("cached at providers", lambda one: one.cached, 1.0, 8),
        growth("store, KiB", lambda one: one.store_kib, 1.2, 1024),
        # Where other programs share the machine, latency tells of them: so it is compared with that of the control, and
        # what a command costs the server itself is looked at as well.
        growth("latency / control's", lambda one: one.median_ms / max(one.control_ms, 0.01), 3.0, 5),
        growth("CPU per command, ms", lambda one: one.cpu_ms, 1.3, 0.2),
    ]


def report(outcome: Outcome) -> bool:
    """Print the figures; return whether all is well."""
    answers = sum(sample.answers for sample in outcome.samples)
    failures = sum(sample.failures for sample in outcome.samples)
    print(f"\ncommands answered:      {answers}, {outcome.traffic.logins} logins among them")
    print(f"provider restarts:      {len(outcome.restarts)}, key rotations: {len(outcome.rotations)}")
    print(
        f"error answers:          {failures}, all but {outcome.traffic.unexpected.total()} while the provider was away"
    )
    for what, count in outcome.traffic.unexpected.most_common(10):
        print(f"    {count} x {what}")
    print(f"{'':26}{'second fifth':>14}{'last fifth':>14}{'allowed':>12}")
    compared = growths(outcome.samples)
    for one in compared:
        print(f"  {one.name:24}{one.early:14.2f}{one.late:14.2f}{one.allowed:12.2f}{'' if one.is_fine else '  GROWN'}")
    print(f"exit code of the server: {outcome.exit_code}")
    fine = outcome.exit_code == 0 and not outcome.traffic.unexpected
    return fine and all(one.is_fine for one in compared)


def picture(outcome: Outcome, path: Path) -> None:
    """Draw the curves."""
    samples = outcome.samples
    panels = [
        Panel("Resident memory", "MiB", [("server", [one.resident_mib for one in samples])]),
        Panel("Open files", "", [("server", [one.open_files for one in samples])]),
        Panel("Tasks", "", [("server", [one.tasks for one in samples])]),
        Panel(
            "Latency",
            "ms",
            [("median", [one.median_ms for one in samples]), ("control, median", [one.control_ms for one in samples])],
        ),
        Panel("CPU of the server for one command", "ms", [("server", [one.cpu_ms for one in samples])]),
        Panel("Commands", "/s", [("answered", [one.commands_per_second for one in samples])]),
    ]
    title = (
        f"oxd-server at half load, {len(outcome.restarts)} provider restarts, {len(outcome.rotations)} key rotations"
    )
    draw(path, title, [one.minute for one in samples], outcome.restarts, panels)


def plan_for(minutes: float) -> Plan:
    """Return the plan of a run of this length."""
    seconds = minutes * 60
    return Plan(seconds, max(seconds / 180, 1.0), max(min(60.0, seconds / 4), 5.0), max(min(90.0, seconds / 3), 5.0))


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: %(default)g)")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the curves into this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oxd-soak-") as name:
        outcome = trio.run(partial(soak_run, Path(name), plan_for(options.minutes)))
    if options.picture is not None:
        picture(outcome, options.picture)
        print(f"picture: {options.picture}")
    if not report(outcome):
        print("FAILED", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
