"""The sandbox's provider and demo, in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from oxd_server.sandbox.server import RunningSandbox, SandboxSettings, run_sandbox


@asynccontextmanager
async def running_sandbox(**settings: Any) -> AsyncIterator[RunningSandbox]:
    """Run the sandbox on free ports; `settings` are those of `SandboxSettings`. It stops at the end.

    What is yielded tells the provider's address, the demo's, and the state in which faults are switched on.
    """
    async with trio.open_nursery() as nursery:
        yield await nursery.start(run_sandbox, SandboxSettings(**{"port": 0, "demo_port": 0, **settings}))
        nursery.cancel_scope.cancel()
