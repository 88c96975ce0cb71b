"""Runs a client program once for each scenario, and judges it by its exit, what it prints and what it sends."""

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from oxd_protocol.check.scenarios import ERROR_CODE, SCENARIOS, Scenario
from oxd_protocol.check.scripted_server import running
from oxd_protocol.check.sent import SENT_RULES, broken_rules
from oxd_protocol.discreet import Discreet

__all__ = ["Verdict", "check"]

_HOST: Final = "127.0.0.1"


class Verdict(msgspec.Struct, frozen=True):
    """Whether a rule is kept.

    ``unseen`` says that it could not be judged, because the program sent nothing or does not print what it reads.
    """

    name: str
    rule: str
    outcome: Literal["kept", "broken", "unseen"]
    reason: str = ""


class _Run(Discreet, frozen=True):
    shows = ("scenario", "exit_code")

    scenario: Scenario
    exit_code: int | None
    """None if the program did not end in time."""
    printed: str
    sent: list[bytes]


def check(command: Sequence[str], seconds: float) -> Iterator[Verdict]:
    """Run the program for each scenario and yield a verdict for each, then one for each rule on what it sent.

    ``{host}`` and ``{port}`` in the arguments are replaced by where the scripted server listens; the program finds them
    in ``OXD_HOST`` and ``OXD_PORT`` too. It may take ``seconds`` for each. Raises ``OSError`` if it cannot be started.
    """
    runs = []
    for scenario in SCENARIOS:
        runs.append(_run(command, scenario, seconds))
        yield _judged(runs[-1], prints=runs[0].scenario.mark in runs[0].printed)
    yield from _sent_verdicts(runs)


def _run(command: Sequence[str], scenario: Scenario, seconds: float) -> _Run:
    with running(scenario) as server:
        place = {"{host}": _HOST, "{port}": str(server.port)}
        arguments = [_replaced(argument, place) for argument in command]
        environment = {**os.environ, "OXD_HOST": _HOST, "OXD_PORT": str(server.port)}
        with subprocess.Popen(  # noqa: S603 - the program that the caller names
            arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as program:
            exit_code: int | None = None
            try:
                printed, _ = program.communicate(timeout=seconds)
                exit_code = program.returncode
            except subprocess.TimeoutExpired:
                program.kill()
                printed, _ = program.communicate()
        return _Run(scenario, exit_code, printed.decode(errors="replace"), list(server.sent))


def _replaced(argument: str, place: dict[str, str]) -> str:
    for name, value in place.items():
        argument = argument.replace(name, value)
    return argument


def _judged(run: _Run, *, prints: bool) -> Verdict:
    """Judge one run; ``prints`` says whether the program prints what it reads."""
    name, rule = run.scenario.name, run.scenario.rule
    if run.exit_code is None:
        return Verdict(name, rule, "broken", "the program did not end in time")
    if run.scenario.listens and not any(run.sent):
        return Verdict(name, rule, "unseen", f"nothing was sent to OXD_PORT; exit code {run.exit_code}")
    if run.scenario.succeeds:
        return _judged_by_what_it_read(run, prints=prints)
    if run.exit_code == 0 and not (run.scenario.pieces is not None and ERROR_CODE in run.printed):
        return Verdict(name, rule, "broken", "the program ended with 0, as after a success")
    return Verdict(name, rule, "kept")


def _judged_by_what_it_read(run: _Run, *, prints: bool) -> Verdict:
    name, rule = run.scenario.name, run.scenario.rule
    if run.exit_code != 0:
        return Verdict(name, rule, "broken", f"the program ended with {run.exit_code}: {run.printed.strip()[-200:]}")
    if run.scenario.mark in run.printed:
        return Verdict(name, rule, "kept")
    if prints:
        return Verdict(name, rule, "broken", f"{run.scenario.mark!r} was in the answer and is not in the output")
    return Verdict(name, rule, "unseen", "the program does not print what it reads, so only its exit was judged")


def _sent_verdicts(runs: Iterable[_Run]) -> Iterator[Verdict]:
    streams = [sent for run in runs for sent in run.sent if sent]
    broken: dict[str, str] = {}
    for sent in streams:
        for name, how in broken_rules(sent):
            broken.setdefault(name, how)
    for name, rule in SENT_RULES.items():
        if name in broken:
            yield Verdict(name, rule, "broken", broken[name])
        else:
            yield Verdict(name, rule, "kept" if streams else "unseen")
