"""Killed processes, full disks, damaged files and clocks that jump: nothing that was acknowledged is lost.

The long runs are those of ``./scripts/crash``; here the same code runs with small numbers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
import trio

from oxd_server.app import serve
from oxd_server.config import Config, Sources
from scripts.hardening.crash import crash_run
from scripts.hardening.disasters import run_disasters
from scripts.hardening.kit import Client, Provider, register_params, running_provider
from tests.clock import NOW, Clock

pytestmark = pytest.mark.hardening

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


async def test_killed_again_and_again(tmp_path: Path) -> None:
    """After every kill each acknowledged change is there, no half of another is, and used states stay used."""
    tally = await crash_run(tmp_path, kills=4, seed=3, show=False)
    assert tally.lost == []
    assert tally.kills >= 4
    assert tally.integrity_checks >= 1
    assert sum(tally.acknowledged.values()) > 0


async def test_disks_and_files() -> None:
    """A full disk, a read-only store and a damaged file are clear errors, and none costs what was there."""
    outcomes = await run_disasters()
    assert len(outcomes) == 4
    assert [problem for _, problem in outcomes if problem is not None] == []


@dataclass
class House:
    """A server in this process and a provider, both on one clock."""

    clock: Clock
    provider: Provider
    folder: Path
    oxd_id: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Client]:
        """Run the server on the folder's store; it stops at the end of the block."""
        config = Config(port=0, store_path=self.folder / "oxd.sqlite")
        async with trio.open_nursery() as nursery:
            running = await nursery.start(
                lambda task_status: serve(config, Sources(), now=self.clock, task_status=task_status)
            )
            async with Client.connected(running.addresses[0][1]) as client:
                yield client
            nursery.cancel_scope.cancel()

    async def callback(self, client: Client) -> dict[str, str]:
        """Send a user to the provider; return code and state."""
        if not self.oxd_id:
            self.oxd_id = (await client.ok("register_site", **register_params(self.provider.issuer, "clock")))["oxd_id"]
        url = (await client.ok("get_authorization_url", oxd_id=self.oxd_id))["authorization_url"]
        return self.provider.consent(url)

    async def tokens(self, client: Client, callback: dict[str, str], code: str | None = None) -> str:
        """Ask for the tokens of a callback; return "ok" or the error's code."""
        answer = await client.call(
            "get_tokens_by_code", oxd_id=self.oxd_id, code=code or callback["code"], state=callback["state"]
        )
        return "ok" if answer["status"] == "ok" else str(answer["data"]["error"])


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = Clock()
    async with trio.open_nursery() as nursery, running_provider(nursery, clock) as provider:
        yield House(clock, provider, tmp_path)


async def test_clock_forth_and_back(house: House) -> None:
    """A state that was used, expired and forgotten is not good again when the clock is set back; new ones are."""
    async with house.serving() as client:
        used = await house.callback(client)
        assert await house.tokens(client, used) == "ok"
        house.clock.now = NOW + HOUR
        ahead = await house.callback(client)
        assert await house.tokens(client, ahead) == "ok"  # and `used` is forgotten: it has expired long ago
        house.clock.now = NOW + 10
        fresh = await house.callback(client)
        assert await house.tokens(client, used, fresh["code"]) == "bad_request"
        assert await house.tokens(client, ahead, fresh["code"]) == "bad_request"
        assert await house.tokens(client, await house.callback(client)) == "ok"
        house.clock.now = NOW + HOUR
        assert await house.tokens(client, ahead, fresh["code"]) == "bad_request"
        assert await house.tokens(client, await house.callback(client)) == "ok"


async def test_clock_set_back_between_two_runs(house: House) -> None:
    """The same holds when the server was restarted in between: what was forgotten is known from the store."""
    async with house.serving() as client:
        used = await house.callback(client)
        assert await house.tokens(client, used) == "ok"
        house.clock.now = NOW + HOUR
        assert await house.tokens(client, await house.callback(client)) == "ok"
    house.clock.now = NOW + 10
    async with house.serving() as client:
        fresh = await house.callback(client)
        assert await house.tokens(client, used, fresh["code"]) == "bad_request"
        assert await house.tokens(client, await house.callback(client)) == "ok"


async def test_clock_set_back_a_little(house: House) -> None:
    """A clock that is corrected by some seconds disturbs nobody: logins under way go on, used states stay used."""
    async with house.serving() as client:
        used = await house.callback(client)
        assert await house.tokens(client, used) == "ok"
        house.clock.now = NOW + 320
        under_way = await house.callback(client)
        assert await house.tokens(client, await house.callback(client)) == "ok"
        house.clock.now = NOW + 295
        assert await house.tokens(client, used, under_way["code"]) == "bad_request"
        assert await house.tokens(client, under_way) == "ok"
