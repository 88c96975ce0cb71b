"""A server and a sandbox for all tests of a module, in a thread with an event loop of its own.

A test talks to both over their sockets, as it does to those of its own. What it must not do is await something of
theirs: that belongs to the other loop.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.oxd_process import ServerProcess, running_server
from tests.integration.sandbox_provider import running_sandbox

START_SECONDS = 60


@dataclass(frozen=True)
class Background:
    """What runs, and the folder of the server's files."""

    server: ServerProcess
    sandbox: RunningSandbox
    folder: Path


@contextmanager
def background(folder: Path, config: Mapping[str, Any] | None = None) -> Iterator[Background]:
    """Run a server and a sandbox; at the end both are stopped, and the server must leave with code 0."""
    reports: queue.Queue[Background | BaseException | None] = queue.Queue()
    stop, token = trio.Event(), queue.Queue[trio.lowlevel.TrioToken]()

    async def main() -> None:
        token.put(trio.lowlevel.current_trio_token())
        async with running_sandbox() as sandbox, running_server(folder, config) as server:
            reports.put(Background(server, sandbox, folder))
            await stop.wait()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            reports.put(error)
        else:
            reports.put(None)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield _started(reports.get(timeout=START_SECONDS))
    finally:
        token.get().run_sync_soon(stop.set)
        thread.join()
    if (outcome := reports.get()) is not None:
        raise AssertionError("the background failed") from (outcome if isinstance(outcome, BaseException) else None)


def _started(report: Background | BaseException | None) -> Background:
    if isinstance(report, Background):
        return report
    raise AssertionError("the background did not start") from report
