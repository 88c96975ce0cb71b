"""A server in the process of the test: it costs no start of Python, and signals reach it as they would any other."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
import trio

from oxd_server.app import Running, serve
from oxd_server.config import Sources, load_settings
from oxd_server.log import configure_logging
from tests.integration.oxd_process import OxdConnection, ServerProcess, write_config

SECONDS = 20
RELOADED, NOT_RELOADED = "configuration_reloaded", "configuration_not_reloaded"


class Server(ServerProcess):
    """A server in the process of the test: SIGHUP reaches it as it would a process of its own."""

    def __init__(self, folder: Path, running: Running, log: StringIO) -> None:
        self.port = running.addresses[0][1] if running.addresses else 0
        self.https_port = running.https_addresses[0][1] if running.https_addresses else 0
        self._process = SimpleNamespace(poll=lambda: None)  # type: ignore[assignment]
        self._folder = folder
        self._stream = log

    def log_text(self) -> str:
        """Return the log so far."""
        return self._stream.getvalue()

    async def reload(self, event: str = RELOADED, **config: Any) -> dict[str, Any]:
        """Change keys of the configuration, send SIGHUP, and return the line that tells the outcome."""
        path = self._folder / "oxd-conf.json"
        write_config(self._folder, json.loads(path.read_text()) | config)
        return await self.hang_up(event)

    async def hang_up(self, event: str = RELOADED) -> dict[str, Any]:
        """Send SIGHUP and return the line that tells the outcome."""
        seen = len(self.log_lines())
        os.kill(os.getpid(), signal.SIGHUP)
        with trio.fail_after(SECONDS):
            while True:
                for line in self.log_lines()[seen:]:
                    if line["event"] in (RELOADED, NOT_RELOADED):
                        assert line["event"] == event, line
                        return line
                await trio.sleep(0.005)


@asynccontextmanager
async def running(folder: Path, **config: Any) -> AsyncIterator[Server]:
    """Run a server on a configuration in the folder."""
    sources = Sources(write_config(folder, config))
    before, log = structlog.get_config(), StringIO()
    output = configure_logging("info", "json", log)
    try:
        async with trio.open_nursery() as nursery:
            loaded = load_settings(sources).config
            started: Running = await nursery.start(partial(serve, loaded, sources, output=output))
            yield Server(folder, started, log)
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        structlog.configure(**before)


async def connect_to(path: Path) -> OxdConnection:
    """Connect to a Unix socket; the caller closes."""
    return OxdConnection(await trio.open_unix_socket(str(path)))
