"""What one HTTP request to an OP costs, and nothing around it. Started by `measure_bare_calls`.

It goes over httpx2's client, as an application would send it, over httpx2's own pool of connections, or over the
server's.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import trio

from oxd_server.op.http_connection import HttpRequest
from oxd_server.op.http_pool import HttpPool
from oxd_server.op.network import Resolver
from oxd_server.op.proxy import make_proxies
from oxd_server.op.targets import Targets
from oxd_server.op.tls import make_ssl_context

CLIENT, THEIR_POOL, OUR_POOL = "httpx2's client", "httpx2's pool", "our pool"
_SECONDS = 240.0
_CONNECTIONS, _KEPT = 100, 100
_MAX_BYTES = 1_000_000
_TIMEOUT = 10.0


def measure_bare_calls(
    way: str,
    url: str,
    auth: tuple[str, str],
    form: Mapping[str, str],
    count: int,
    connections: int,
    trust: Path | None = None,
) -> float:
    """POST the form `count` times this way, from a process of its own; return its CPU seconds per call."""
    job = {
        "way": way,
        "url": url,
        "auth": auth,
        "form": dict(form),
        "count": count,
        "connections": connections,
        "trust": trust and str(trust),
    }
    done = subprocess.run(
        [sys.executable, "-I", str(Path(__file__))],
        input=json.dumps(job).encode(),
        capture_output=True,
        timeout=_SECONDS,
        check=True,
    )
    return float(done.stdout)


@asynccontextmanager
async def _client(job: Mapping[str, Any]) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_KEPT)
    async with httpx2.AsyncClient(
        trust_env=False, limits=limits, auth=tuple(job["auth"]), verify=make_ssl_context(_trust(job))
    ) as http:

        async def call() -> bytes:
            answer = await http.post(job["url"], data=job["form"])
            answer.raise_for_status()
            return answer.content

        yield call


@asynccontextmanager
async def _their_pool(job: Mapping[str, Any]) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_KEPT)
    async with httpx2.AsyncHTTPTransport(verify=make_ssl_context(_trust(job)), trust_env=False, limits=limits) as pool:
        content, url = urlencode(job["form"]).encode(), httpx2.URL(job["url"])
        headers = {"Host": url.netloc.decode(), **_headers(job), "Content-Length": str(len(content))}
        extensions = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT)}

        async def call() -> bytes:
            stream = httpx2.ByteStream(content)
            request = httpx2.Request("POST", url, headers=headers, stream=stream, extensions=extensions)
            answer = await pool.handle_async_request(request)
            if answer.status_code != 200:
                raise ValueError(f"HTTP status {answer.status_code}")
            return await answer.aread()

        yield call


@asynccontextmanager
async def _our_pool(job: Mapping[str, Any]) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    pool = HttpPool(
        make_ssl_context(_trust(job)),
        Resolver().addresses,
        proxy_of=make_proxies().of,
        connect_timeout=_TIMEOUT,
        silence=_TIMEOUT,
        max_connections=_CONNECTIONS,
        max_idle=_KEPT,
        idle_seconds=5.0,
    )
    content, target = urlencode(job["form"]).encode(), Targets((), ()).of(job["url"])

    async def call() -> bytes:
        answer = await pool.exchange(HttpRequest("POST", target, _headers(job), content, inf, _MAX_BYTES))
        if answer.status != 200:
            raise ValueError(f"HTTP status {answer.status}")
        return answer.body

    yield call
    await pool.aclose()


def _headers(job: Mapping[str, Any]) -> dict[str, str]:
    credentials = base64.b64encode(":".join(job["auth"]).encode()).decode()
    return {"authorization": f"Basic {credentials}", "content-type": "application/x-www-form-urlencoded"}


def _trust(job: Mapping[str, Any]) -> Path | None:
    return Path(job["trust"]) if job["trust"] else None


async def _calls(job: Mapping[str, Any]) -> float:
    async with _WAYS[job["way"]](job) as call:

        async def call_in_turn(times: int) -> None:
            for _ in range(times):
                json.loads(await call())

        async def call_from_all(times: int) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(job["connections"]):
                    nursery.start_soon(call_in_turn, times)

        await call_from_all(2)  # to open the connections
        times = max(int(job["count"]) // int(job["connections"]), 1)
        before = time.process_time()
        await call_from_all(times)
        return (time.process_time() - before) / (times * int(job["connections"]))


_WAYS = {CLIENT: _client, THEIR_POOL: _their_pool, OUR_POOL: _our_pool}

if __name__ == "__main__":
    print(trio.run(_calls, json.load(sys.stdin)))
