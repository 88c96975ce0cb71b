"""Runs mixed commands at half load for a long time and looks whether anything grows.

The rate is half of what the server managed in the first seconds. Meanwhile the provider is restarted again and again
and changes its keys. A sample holds the server's memory, open files, tasks and caches (it tells them when it gets
SIGUSR1) and the latencies since the sample before. ``./scripts/soak`` starts this.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from scripts.hardening.kit import (
    Broken,
    Client,
    Failed,
    Provider,
    Server,
    protect_params,
    register_params,
    running,
    running_provider,
)
from scripts.hardening.picture import Panel, draw

CLIENTS = 16
COMMANDS_PER_CONNECTION = 40
SHARE_OF_CAPACITY = 0.5
DOWN_SECONDS = 1.0
RECOVERY_SECONDS = 5.0
FIGURES_SECONDS = 10.0
_CONTROL_BYTES = 500
_CONTROL_PAUSE = 0.05
OUTAGE_CODES = {
    "op_unreachable",
    "op_invalid_response",
    "no_connect_discovery_response",
    "no_uma_discovery_response",
    "server_busy",
}


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


@dataclass
class Traffic:
    """What the clients saw since the last sample, and in all."""

    latencies: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    outage_until: float = -math.inf
    logins: int = 0

    @property
    def in_outage(self) -> bool:
        """Whether the provider is down, or was a moment ago."""
        return trio.current_time() < self.outage_until

    def count(self, command: str, seconds: float, code: str | None) -> None:
        """Take note of an answer; ``code`` is None for a good one."""
        self.latencies.append(seconds)
        self.outcomes[code or "ok"] += 1
        if code is not None and not (self.in_outage and (code in OUTAGE_CODES or code.startswith("http_status_"))):
            self.unexpected[f"{command}: {code}"] += 1


class Application:
    """One client: its site, and the commands that it sends, one after the other."""

    def __init__(self, number: int, provider: Provider, traffic: Traffic) -> None:
        self._name = f"app{number}"
        self._provider = provider
        self._traffic = traffic
        self._random = random.Random(number)
        self._version = 0
        self._oxd_id = ""
        self._tokens: dict[str, Any] = {}

    async def set_up(self, port: int) -> None:
        """Register the site, protect a path, log a user in."""
        async with Client.connected(port) as client:
            data = await client.ok("register_site", **register_params(self._provider.issuer, self._name))
            self._oxd_id = data["oxd_id"]
            await client.ok("uma_rs_protect", oxd_id=self._oxd_id, **protect_params(1))
            await self._log_in(client)

    async def run(self, port: int, pause: Callable[[], float]) -> None:
        """Send commands for ever, ``pause()`` seconds between their starts on average; reconnect now and then."""
        while True:
            try:
                async with Client.connected(port) as client:
                    for _ in range(COMMANDS_PER_CONNECTION):
                        begun = trio.current_time()
                        await self._one(client)
                        wait = self._random.uniform(0.5, 1.5) * pause() - (trio.current_time() - begun)
                        await trio.sleep(max(wait, 0.0))
            except Broken:
                self._traffic.unexpected["the connection broke"] += 1
                await trio.sleep(0.1)

    async def _one(self, client: Client) -> None:
        steps = (
            (30, self._authorization_url),
            (15, self._log_in),
            (15, self._user_info),
            (10, self._refresh),
            (10, self._logout),
            (10, self._check_access),
            (4, self._read),
            (3, self._update),
            (1, self._protect),
            (1, self._come_and_go),
            (1, self._mistake),
        )
        (step,) = self._random.choices([step for _, step in steps], [weight for weight, _ in steps])
        await step(client)

    async def _call(self, client: Client, command: str, **params: Any) -> dict[str, Any] | None:
        begun = trio.current_time()
        answer = await client.call(command, **{"oxd_id": self._oxd_id, **params})
        fine = answer["status"] == "ok"
        self._traffic.count(command, trio.current_time() - begun, None if fine else answer["data"]["error"])
        return dict(answer["data"]) if fine else None

    async def _authorization_url(self, client: Client) -> None:
        await self._call(client, "get_authorization_url")

    async def _log_in(self, client: Client) -> None:
        answer = await self._call(client, "get_authorization_url")
        if answer is None:
            return
        callback = self._provider.consent(answer["authorization_url"])
        tokens = await self._call(client, "get_tokens_by_code", code=callback["code"], state=callback["state"])
        if tokens is not None:
            self._tokens = tokens
            self._traffic.logins += 1

    async def _user_info(self, client: Client) -> None:
        if self._tokens:
            await self._call(client, "get_user_info", access_token=self._tokens["access_token"])

    async def _refresh(self, client: Client) -> None:
        token = self._tokens.pop("refresh_token", None)  # whatever comes of it, it is not used again
        if token is not None:
            await self._call(client, "get_access_token_by_refresh_token", refresh_token=token)

    async def _logout(self, client: Client) -> None:
        await self._call(client, "get_logout_uri")

    async def _check_access(self, client: Client) -> None:
        await self._call(client, "uma_rs_check_access", path="/v1", http_method="GET")

    async def _read(self, client: Client) -> None:
        await self._call(client, "get_rp")

    async def _update(self, client: Client) -> None:
        await self._call(client, "update_site", client_name=f"{self._name} {self._random.random()}")

    async def _protect(self, client: Client) -> None:
        await self._call(client, "uma_rs_protect", **protect_params(1))

    async def _come_and_go(self, client: Client) -> None:
        site = await self._call(client, "register_site", **register_params(self._provider.issuer, "guest"))
        if site is not None:
            await self._call(client, "remove_site", oxd_id=site["oxd_id"])

    async def _mistake(self, client: Client) -> None:
        answer = await client.call("get_authorization_url", oxd_id="nobody")
        if answer["data"].get("error") != "invalid_oxd_id":
            self._traffic.unexpected[f"a mistake: {answer}"] += 1


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
