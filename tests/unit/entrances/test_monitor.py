"""The port of the metrics over real sockets: what it answers, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import trio

from oxd_server.entrances.monitor import HEALTH, METRICS, READY, Monitor, text_of, told_of
from oxd_server.entrances.sockets import address_of, open_listeners


class World:
    """A problem, or none, and a client."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.problem: str | None = None

    async def look(self) -> str | None:
        return self.problem


async def text() -> bytes:
    return b"oxd_commands_total 1.0\n"


@asynccontextmanager
async def monitored(address: str = "127.0.0.1") -> AsyncIterator[World]:
    listeners = open_listeners([address], 0)
    base = f"http://127.0.0.1:{address_of(listeners[0])[1]}"
    async with httpx2.AsyncClient(base_url=base, trust_env=False) as client, trio.open_nursery() as nursery:
        world = World(client)
        readings = {READY: told_of(world.look), METRICS: text_of("text/plain; version=0.0.4", text)}
        await nursery.start(Monitor(listeners, readings).serve)
        yield world
        nursery.cancel_scope.cancel()


async def test_what_can_be_read() -> None:
    """Figures, whether the server is ready, and that it runs."""
    async with monitored() as world:
        figures = await world.client.get(METRICS)
        assert (figures.status_code, figures.content) == (200, await text())
        assert figures.headers["content-type"] == "text/plain; version=0.0.4"
        assert (await world.client.get(HEALTH)).text == "running"
        assert json.loads((await world.client.get(READY)).content) == {"status": "ready"}
        world.problem = "the store is gone"
        answer = await world.client.get(READY)
        assert (answer.status_code, json.loads(answer.content)) == (
            503, {"status": "not ready", "reason": "the store is gone"},
        )  # fmt: skip


async def test_what_is_refused() -> None:
    """Other paths and methods, and web pages of other sites."""
    async with monitored() as world:
        assert (await world.client.get("/")).status_code == 404
        assert (await world.client.post(METRICS)).status_code == 405
        assert (await world.client.get(METRICS, headers={"Host": "evil.example"})).status_code == 403
        assert (await world.client.get(METRICS, headers={"Origin": "https://evil.example"})).status_code == 403
        assert (await world.client.get(METRICS, headers={"Host": "localhost"})).status_code == 200


async def test_on_other_addresses_any_name_will_do() -> None:
    """Whoever configured such an address calls it by a name that we do not know."""
    async with monitored("0.0.0.0") as world:
        assert (await world.client.get(METRICS, headers={"Host": "oxd-0.oxd.svc:9464"})).status_code == 200
