"""Runs the fuzz targets, one process each, and prints what they came to. ``./scripts/fuzz`` starts this."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PINNED = ROOT / "tests" / "fuzz_corpus"
LEARNT = ROOT / "build" / "fuzz"
GUIDED = ("frames", "params", "http", "id_token", "rules")
TARGETS = (*GUIDED, "server")
_SERVER_SHARE = 20  # an input for the running server costs as much as so many of the others
_INPUT_SECONDS = 10
_INPUT_MEGABYTES = 2048
_LONGEST_INPUT = 2500


@dataclass(frozen=True)
class Limit:
    """How long a target is searched: a number of inputs, or seconds."""

    runs: int | None
    seconds: int


@dataclass(frozen=True)
class Outcome:
    """What a search came to; ``edges`` and ``features`` are 0 where they are not counted."""

    executions: int
    edges: int
    features: int
    seconds: int
    findings: tuple[str, ...]


def main() -> int:
    """Run the targets that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/fuzz")
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--runs", type=int)
    parser.add_argument("target", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    if unknown := set(options.target) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    limit = Limit(options.runs, max(1, round(options.minutes * 60)))
    print(f"{'target':10} {'executions':>11} {'edges':>7} {'features':>9} {'seconds':>8} {'findings':>9}", flush=True)
    found: list[str] = []
    for target in options.target or TARGETS:
        outcome = _search_guided(target, limit) if target in GUIDED else _search_server(limit)
        counts = f"{outcome.executions:>11} {outcome.edges or '-':>7} {outcome.features or '-':>9}"
        print(f"{target:10} {counts} {outcome.seconds:>8} {len(outcome.findings):>9}", flush=True)
        found += outcome.findings
    for finding in found:
        print(f"\nFINDING: {finding}", file=sys.stderr)
    return 1 if found else 0


def _search_guided(target: str, limit: Limit) -> Outcome:
    with _corpus(target, limit) as corpus, tempfile.TemporaryDirectory() as folder:
        words = Path(folder, "dictionary")
        words.write_text(_dictionary(importlib.import_module(f"scripts.hardening.fuzz_{target}").DICTIONARY))
        limits = [f"-max_total_time={limit.seconds}"] if limit.runs is None else [f"-runs={limit.runs}", "-seed=1"]
        pinned = PINNED / target
        command = [
            sys.executable, "-m", "scripts.hardening.fuzz_guided", target, *limits,
            f"-artifact_prefix={folder}/", f"-dict={words}", f"-max_len={_LONGEST_INPUT}", "-print_final_stats=1",
            f"-timeout={_INPUT_SECONDS}", f"-rss_limit_mb={_INPUT_MEGABYTES}", str(corpus),
            *([str(pinned)] if pinned.is_dir() else []),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        artifacts = [path for path in Path(folder).iterdir() if path != words]
        findings = [_pin(target, path.read_bytes(), _last_error(done.stdout or done.stderr)) for path in artifacts]
    if done.returncode and not findings:
        findings.append(f"{target}: the fuzzer ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return _outcome(done.stderr, findings)


@contextmanager
def _corpus(target: str, limit: Limit) -> Iterator[Path]:
    """The folder of the inputs to start from; with a number of runs, a new one every time."""
    if limit.runs is None:
        folder = LEARNT / target
        folder.mkdir(parents=True, exist_ok=True)
        _write_seeds(target, folder)
        yield folder
    else:
        with tempfile.TemporaryDirectory() as name:
            _write_seeds(target, Path(name))
            yield Path(name)


def _write_seeds(target: str, folder: Path) -> None:
    for seed in importlib.import_module(f"scripts.hardening.fuzz_{target}").seeds():
        (folder / hashlib.sha256(seed).hexdigest()[:20]).write_bytes(seed)


def _dictionary(words: list[bytes]) -> str:
    """The words in libFuzzer's format."""
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words)


def _pin(target: str, data: bytes, error: str) -> str:
    """Keep an input that broke something where the tests find it; return what to tell."""
    path = PINNED / target / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"{target}: {error}\nThe input is kept in {path.relative_to(ROOT)}, and the tests run it."


def _last_error(output: str) -> str:
    """The traceback that the fuzzer printed, or how it says that an input took too long or too much."""
    _, marker, traceback = output.partition("=== Uncaught Python exception: ===")
    if marker:
        return traceback.partition("\n==")[0].strip()[-3000:]
    errors = re.findall(r"==\d+== ?ERROR: (.*)", output)
    return errors[-1] if errors else "no reason was printed"


def _outcome(output: str, findings: list[str]) -> Outcome:
    status = re.findall(r"^#(\d+)\t.*? cov: (\d+) ft: (\d+)", output, re.MULTILINE)
    _, edges, features = map(int, status[-1]) if status else (0, 0, 0)
    executions = re.search(r"number_of_executed_units: *(\d+)", output)
    seconds = re.search(r"Done \d+ runs in (\d+) second", output)
    count = int(executions.group(1)) if executions else int(status[-1][0]) if status else 0
    return Outcome(count, edges, features, int(seconds.group(1)) if seconds else 0, tuple(findings))


def _search_server(limit: Limit) -> Outcome:
    from scripts.hardening.fuzz_server import search

    runs = None if limit.runs is None else max(1, limit.runs // _SERVER_SHARE)
    executions, seconds, findings = search(runs, limit.seconds)
    return Outcome(executions, 0, 0, round(seconds), findings)


if __name__ == "__main__":
    sys.exit(main())
