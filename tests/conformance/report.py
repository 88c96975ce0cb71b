"""Runs the table of `cases.py` and prints a line per row: `python -m tests.conformance.report [NAME...]`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog
import trio

from oxd_server.op.key_store import new_key_store
from tests.conformance.cases import CASES, FRONT, OK, Case, run_case
from tests.integration.oxd_process import ServerProcess, running_server

NAME_WIDTH = max(len(case.name) for case in CASES)


async def report(cases: list[Case], folder: Path) -> int:
    """Run the rows against one server and print what became of each; return how many failed."""
    keys = folder / "keys.json"
    await trio.to_thread.run_sync(new_key_store, keys)
    failed = 0
    async with running_server(folder, {"crypt_provider_key_store_path": str(keys), "https": FRONT}) as server:
        for case in cases:
            problem = await _problem(case, server, folder)
            failed += problem is not None
            print(_line(case, problem), flush=True)
    return failed


async def _problem(case: Case, server: ServerProcess, folder: Path) -> str | None:
    try:
        await run_case(case, server, folder)
    except* Exception as group:  # the sandbox's nursery wraps whatever happens in it
        problem = "; ".join(str(error) or type(error).__name__ for error in _leaves(group))
    else:
        return None
    return problem


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def _line(case: Case, problem: str | None) -> str:
    code, check = case.outcome
    outcome = "ok" if case.outcome == OK else f"{code} ({check})"
    line = f"{'pass' if problem is None else 'FAIL'}  {case.name:{NAME_WIDTH}}  {case.must}: {outcome}"
    return line if problem is None else f"{line}\n      {problem[:1000]}"


def main(arguments: list[str]) -> int:
    """Run the rows that are named, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/conformance")
    parser.add_argument("names", nargs="*", metavar="NAME", help="run only these rows")
    names = parser.parse_args(arguments).names
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if not names or case.name in names]
    # The OPs run in this process; what they log is of no interest here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        failed = trio.run(report, cases, Path(folder))
    print(f"\n{len(cases) - failed} passed, {failed} failed, in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
