"""What one HTTP request to an OP costs with httpx2 and trio, and nothing around it. Started by `measure_bare_calls`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import trio

_SECONDS = 240.0


def measure_bare_calls(url: str, auth: tuple[str, str], form: Mapping[str, str], count: int, connections: int) -> float:
    """POST the form `count` times from a process of its own; return its CPU seconds per call."""
    job = {"url": url, "auth": auth, "form": dict(form), "count": count, "connections": connections}
    done = subprocess.run(
        [sys.executable, "-I", str(Path(__file__))],
        input=json.dumps(job).encode(),
        capture_output=True,
        timeout=_SECONDS,
        check=True,
    )
    return float(done.stdout)


async def _calls(job: Mapping[str, Any]) -> float:
    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20)
    async with httpx2.AsyncClient(trust_env=False, limits=limits, auth=tuple(job["auth"])) as http:

        async def call(times: int) -> None:
            for _ in range(times):
                answer = await http.post(job["url"], data=job["form"])
                answer.raise_for_status()
                answer.json()

        async def call_from_all(times: int) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(job["connections"]):
                    nursery.start_soon(call, times)

        await call_from_all(2)  # to open the connections
        times = max(int(job["count"]) // int(job["connections"]), 1)
        before = time.process_time()
        await call_from_all(times)
        return (time.process_time() - before) / (times * int(job["connections"]))


if __name__ == "__main__":
    print(trio.run(_calls, json.load(sys.stdin)))
