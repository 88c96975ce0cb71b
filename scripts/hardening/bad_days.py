"""The OP's bad days: every fault of the proxy against every command, and what other sites notice of it.

Three passes: with the OP's metadata at hand (the fault meets the command's own request), without it (the fault meets
the discovery), and with the metadata but without the OP's keys. Beside them an OP whose name does not resolve, and a
crowd at an OP that hangs. ``./scripts/bad_days`` starts this.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import structlog
import trio

from oxd_protocol.client.with_trio import OxdClient
from oxd_server.sandbox.server import RunningSandbox, SandboxSettings, run_sandbox
from scripts.demo_kit import Programs, StepFailed, free_port, say
from scripts.hardening.bad_day_commands import (
    COMMANDS,
    UNREACHABLE,
    BadAnswer,
    Life,
    Row,
    expected_answer,
    new_life,
)
from scripts.hardening.fault_proxy import Fault, FaultProxy, fault_proxy

CONNECT, READ, TOTAL = 0.5, 0.5, 1.0
CONFIG: Mapping[str, object] = {
    "op_connect_timeout_in_seconds": CONNECT,
    "op_read_timeout_in_seconds": READ,
    "op_total_timeout_in_seconds": TOTAL,
    "op_max_response_bytes": 100_000,
    "deregister_client_on_remove": True,
    "log_format": "json",
}
SLACK, CROWD_SLACK = 1.0, 5.0
"""Seconds that an answer may come after the last time-out, on a busy machine."""
QUICK = (Fault.RESET, Fault.HANG_AFTER, Fault.TRUNCATE, Fault.STATUS_503)
KEYS_AT = "/jwks"
WITH_KEYS = ("get_tokens_by_code", "validate", "id_token_status")
UNRESOLVED = "https://no-such-op.invalid"
CROWD, SMALL_CROWD, CROWD_AT_THE_OP, OTHERS = 250, 40, 30, 10
ALONE_SECONDS = 1.0
ALONE, WELL, BETWEEN = "alone", "the same commands, OP well", "between"
PAUSE = 0.02
MOST_SHOWN = 20
_SHORT = {
    "ok": "ok",
    "op_unreachable": "U",
    "op_invalid_response": "I",
    "no_connect_discovery_response": "D",
    "no_uma_discovery_response": "V",
}
_LEGEND = ", ".join(f"{short} {code}" for code, short in _SHORT.items() if code != "ok") + ", a number http_status_<N>"
_TABLES = ("site", "site_session", "secret", "spent")

Rows = dict[str, set[tuple[Any, ...]]]


@dataclass
class Healthy:
    """Another site at an OP that is well: how long its commands took, in seconds, phase by phase."""

    life: Life
    times: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    phase: str = ALONE

    async def go_on(self) -> None:
        """Run two commands in turn for as long as this lives."""
        while True:
            for command in ("get_user_info", "introspect_access_token"):
                await self.run(command, self.phase)
                await trio.sleep(PAUSE)

    async def run(self, command: str, phase: str) -> None:
        """Run one command and note its time."""
        params = {"oxd_id": self.life.held["site"], "access_token": self.life.held["access_token"]}
        started = trio.current_time()
        answer = await self.life.oxd.call(command, params)
        self.times.setdefault(phase, []).append(trio.current_time() - started)
        if answer["status"] != "ok":
            self.failures.append(f"another site's {command} failed ({phase}): {answer['data']}")


@dataclass
class Day:
    """What is needed for a pass, and the problems that were found."""

    folder: Path
    oxd: OxdClient
    proxy: FaultProxy
    life: Life
    faults: Sequence[Fault]
    healthy: Healthy
    problems: list[str] = field(default_factory=list)
    commands: int = 0

    def rows(self) -> Rows:
        """Everything that is in the server's store."""
        path = self.folder / "oxd-data" / "oxd.sqlite"
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            return {table: set(connection.execute(f"SELECT * FROM {table}")) for table in _TABLES}
        finally:
            connection.close()

    async def run(self, row: Row, expected: str, what: str, answers: dict[str, str], *, crowd: bool = False) -> None:
        """Run one command and note its answer and its time; both are checked.

        In a ``crowd`` it may be turned away, and takes its turn on this machine's processors.
        """
        self.commands += 1
        started = trio.current_time()
        answer = await self.oxd.call(row.command or row.name, row.params(self.life))
        seconds = trio.current_time() - started
        code = "ok" if answer["status"] == "ok" else str(answer["data"]["error"])
        answers[row.name] = f"{_SHORT.get(code, code.removeprefix('http_status_'))} {seconds:.1f}"
        if code != expected and not (crowd and code == "server_busy"):
            self.problems.append(f"{what}: {row.name}: {code} instead of {expected}: {answer['data']}")
        if seconds > row.requests * TOTAL + (CROWD_SLACK if crowd else SLACK):
            self.problems.append(f"{what}: {row.name}: answered after {seconds:.1f} s")
        if row.command and code == "ok" and answer["data"]["access"] != "denied":
            self.problems.append(f"{what}: {row.name}: access without an RPT")

    async def run_all(self, rows: Sequence[Row], fault: Fault | None, what: str, *, cold: bool) -> dict[str, str]:
        """Run these commands all at once; return their answers."""
        answers: dict[str, str] = {}
        async with trio.open_nursery() as nursery:
            for row in rows:
                nursery.start_soon(self.run, row, expected_answer(row, fault, cold=cold), what, answers)
        return answers

    def check_unchanged(self, before: Rows, what: str, *, but: Sequence[str] = (), about: str | None = None) -> None:
        """Note what has changed in the store, tables ``but`` and rows ``about`` a site aside."""
        for table, rows in self.rows().items():
            changed = [row for row in rows ^ before[table] if about is None or about not in row]
            if changed and table not in but:
                self.problems.append(f"{what}: {len(changed)} rows of the table {table} have changed")


# --- the passes ------------------------------------------------------------------------------


async def at_the_endpoints(day: Day) -> None:
    """The OP's metadata and keys are at hand; the fault meets the command's own request. Then all is well again."""
    table: dict[str, dict[str, str]] = {}
    for fault in day.faults:
        what, before = f"OP {fault.value}", day.rows()
        await day.proxy.set(fault)
        day.healthy.phase = what
        answers = table[fault.name] = await day.run_all(COMMANDS, fault, what, cold=False)
        day.healthy.phase = BETWEEN
        removed = day.life.held["removable"] if answers["remove_site"].startswith("ok") else None
        day.check_unchanged(before, what, about=removed)
        await day.proxy.set(None)
        await day.life.renew()
        day.healthy.phase = WELL
        await day.run_all(COMMANDS, None, f"after: {what}", cold=False)
        day.healthy.phase = BETWEEN
        await day.life.renew()
    show("The OP's metadata is at hand", COMMANDS, table)


async def at_the_discovery(day: Day) -> None:
    """A new server that has never had the OP's metadata: the fault meets the discovery."""
    rows = [row for row in COMMANDS if row.discovers]
    table: dict[str, dict[str, str]] = {}
    before = day.rows()
    for fault in day.faults:
        await day.proxy.set(fault)
        table[fault.name] = await day.run_all(rows, fault, f"no metadata, OP {fault.value}", cold=True)
    day.check_unchanged(before, "no metadata")
    await day.proxy.set(None)
    await day.run_all(rows, None, "after: no metadata", cold=True)
    await day.life.renew()
    show("The OP's metadata is not at hand", rows, table)


async def at_the_keys(day: Day) -> None:
    """A new server that has the OP's metadata, but never had its keys."""
    rows = [row for row in COMMANDS if row.name in WITH_KEYS]
    by_fault = next(row for row in COMMANDS if row.name == "get_user_info")
    table: dict[str, dict[str, str]] = {}
    before = day.rows()
    day.proxy.only = KEYS_AT
    for fault in day.faults:
        await day.proxy.set(fault)
        await day.life.code("")
        what, answers = f"no keys, OP {fault.value}", table.setdefault(fault.name, {})
        for row in rows:
            # A GET of a key set is redirected a few steps: to where nobody answers.
            expected = UNREACHABLE if fault is Fault.REDIRECT else expected_answer(by_fault, fault, cold=False)
            await day.run(row, expected, what, answers)
    day.check_unchanged(before, "no keys", but=["spent"])  # the OP has given tokens for those codes: they are gone
    day.proxy.only = None
    await day.proxy.set(None)
    await day.life.code("")
    await day.run_all(rows, None, "after: no keys", cold=False)
    show("The OP's keys are not at hand", rows, table)


async def without_a_name(day: Day) -> None:
    """An OP whose host name does not resolve."""
    own = {"client_id": "brought", "client_secret": "along"}
    site = await day.life.ok(
        "register_site",
        op_host=UNRESOLVED,
        authorization_redirect_uri="https://app.example.com/",
        scope=["openid"],
        **own,
    )
    names = ("get_authorization_url", "get_user_info", "get_access_token_by_refresh_token", "introspect_access_token",
             "get_logout_uri", "id_token_status", "uma_rs_protect", "introspect_rpt", "uma_rp_get_rpt",
             "uma_rp_get_claims_gathering_url", "register_site", "setup_client", "get_client_token")  # fmt: skip
    held = day.life.held
    lost = Life(day.oxd, UNRESOLVED, held | dict.fromkeys(("site", "resources", "protected"), site["oxd_id"]))
    rows = [row for row in COMMANDS if row.name in names]
    answers: dict[str, str] = {}
    before, life = day.rows(), day.life
    day.life = lost
    for row in rows:
        await day.run(row, expected_answer(row, Fault.REFUSE, cold=True), "host name does not resolve", answers)
    day.life = life
    day.check_unchanged(before, "host name does not resolve")
    show("The OP's host name does not resolve", rows, {"DNS": answers})


async def a_crowd(day: Day, size: int) -> None:
    """So many commands at once at an OP that hangs: nobody else has to wait, not even for a new connection."""
    what = f"{size} commands at an OP that hangs"
    row = next(row for row in COMMANDS if row.name == "get_user_info")
    expected = expected_answer(row, Fault.HANG_AFTER, cold=False)
    await day.proxy.set(Fault.HANG_AFTER)
    day.healthy.phase = what
    async with trio.open_nursery() as nursery:
        for _ in range(size):
            nursery.start_soon(partial(day.run, row, expected, what, {}, crowd=True))
        await day.proxy.until_hanging(CROWD_AT_THE_OP)
        for _ in range(OTHERS):
            nursery.start_soon(day.healthy.run, "get_user_info", f"{OTHERS} at once beside them")
    day.healthy.phase = BETWEEN
    await day.proxy.set(None)
    await day.run(row, "ok", f"after: {what}", {})


# --- around them -----------------------------------------------------------------------------


def show(title: str, rows: Sequence[Row], table: Mapping[str, Mapping[str, str]]) -> None:
    """Print one table: a line for a command, a column for a fault, in it the answer and the seconds."""
    width = max(len(row.name) for row in COMMANDS)
    say(f"\n{title}:\n{'':{width}} " + " ".join(f"{name.lower():>11}" for name in table))
    for row in rows:
        say(f"{row.name:{width}} " + " ".join(f"{answers.get(row.name, '-'):>11}" for answers in table.values()))


def show_healthy(day: Day, *, judged: bool) -> None:
    """Print how fast the other site's commands were; if that is ``judged``, waiting for the sick OP is a problem."""
    alone = median(day.healthy.times[ALONE])
    say("\nAnother site at a healthy OP meanwhile (milliseconds; x: times the median of alone):")
    for phase, times in day.healthy.times.items():
        if phase == BETWEEN:
            continue
        middle, longest = median(times), max(times)
        figures = f"median {middle * 1000:6.1f}  x{middle / alone:5.1f}  longest {longest * 1000:6.1f}  of {len(times)}"
        say(f"  {phase:38} {figures}")
        if judged and middle >= READ:
            day.problems.append(f"{phase}: another site's commands had to wait ({middle:.2f} s)")
    day.problems += day.healthy.failures[:5]


async def main_async(folder: Path, faults: Sequence[Fault], *, quick: bool) -> list[str]:
    """Run all the passes; return the problems. A new server on the same store has nothing at hand.

    ``quick`` is for machines that are busy with other things: a smaller crowd, and speed is shown but not judged.
    """
    port = free_port()
    oxd = OxdClient("127.0.0.1", port, timeout=60)
    async with _sandbox(port) as sick_op, _sandbox(port) as healthy_op, _proxy(sick_op) as proxy:
        async with _server(folder, port):
            healthy = Healthy(await new_life(oxd, healthy_op.issuer))
            day = Day(folder, oxd, proxy, await new_life(oxd, proxy.url), faults, healthy)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(healthy.go_on)
                await trio.sleep(ALONE_SECONDS)
                day.healthy.phase = BETWEEN
                await at_the_endpoints(day)
                await a_crowd(day, SMALL_CROWD if quick else CROWD)
                nursery.cancel_scope.cancel()
            await without_a_name(day)
            await day.life.renew()
        followed = proxy.elsewhere  # later, redirects of discovery and key sets are followed
        async with _server(folder, port):
            await at_the_discovery(day)
        async with _server(folder, port):
            await at_the_keys(day)
    if followed:
        day.problems.append(f"a redirect was followed {followed} times")
    say(f"\n{_LEGEND}")
    show_healthy(day, judged=not quick)
    say(f"\n{day.commands} commands on bad days, {len(day.problems)} problems")
    return day.problems


@asynccontextmanager
async def _server(folder: Path, port: int) -> AsyncIterator[None]:
    """A server process on the store in the folder."""
    programs = Programs(folder)
    try:
        if await trio.to_thread.run_sync(partial(programs.start_server, port, **CONFIG)) != port:
            raise StepFailed(f"another program has taken port {port}")
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(programs.close)


@asynccontextmanager
async def _sandbox(oxd_port: int) -> AsyncIterator[RunningSandbox]:
    """An OpenID provider in this process."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(run_sandbox, SandboxSettings(oxd_port=oxd_port))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _proxy(sandbox: RunningSandbox) -> AsyncIterator[FaultProxy]:
    """The proxy in front of a provider, which takes over the proxy's address."""
    address = urlsplit(sandbox.issuer)
    async with fault_proxy((address.hostname or "", address.port or 0)) as proxy:
        sandbox.state.issuer = proxy.url
        yield proxy


def main() -> int:
    """Run the passes; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/bad_days", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="four of the faults only, a smaller crowd, speed not judged"
    )
    quick = parser.parse_args().quick
    faults = QUICK if quick else tuple(Fault)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    try:
        with tempfile.TemporaryDirectory(prefix="oxd-bad-days-") as folder:
            problems = trio.run(partial(main_async, Path(folder), faults, quick=quick))
    except* (BadAnswer, StepFailed) as failed:
        problems = [str(error) for error in failed.exceptions]
    for problem in problems[:MOST_SHOWN]:
        print(f"PROBLEM: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
