"""Whether the server is ready: the store is there and takes writes."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from oxd_server.observe.readiness import Readiness
from oxd_server.store import ClockSetBack, MemoryStore, Store, StoreUnavailable, open_file_store


def readiness(store: Store, believed: float = 1.0) -> Readiness:
    return Readiness(store, lambda: 1_000_000.0, lambda count: b"r" * count, believed)


class Scripted(MemoryStore):
    """A store whose next write does what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def spend(self, token: bytes, expires_at: float, now: float) -> bool:
        self.asked += 1
        if self.hangs:
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error
        return await super().spend(token, expires_at, now)


async def test_a_file_that_is_deleted_is_noticed(tmp_path: Path) -> None:
    """A store that is there takes a write, which leaves nothing behind; one that was deleted says so."""
    async with open_file_store(tmp_path / "oxd.db") as store:
        ready = readiness(store, believed=0.0)
        assert await ready.problem() is None
        assert await ready.problem() is None
        assert await store.spend(b"r" * 16, 2_000_000.0, 1_000_000.0)  # it was not left behind
        (tmp_path / "oxd.db").rename(tmp_path / "away")
        problem = await ready.problem()
        assert problem is not None
        assert "deleted or replaced" in problem
        (tmp_path / "away").rename(tmp_path / "oxd.db")
        assert await ready.problem() is None


async def test_the_store_is_asked_once_in_a_second(autojump_clock: trio.testing.MockClock) -> None:
    """However many want to know; what was found out holds for that long, also if it was bad."""
    store = Scripted()
    ready = readiness(store)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ready.problem)
    assert store.asked == 1
    store.error = StoreUnavailable("gone")
    assert await ready.problem() is None
    await trio.sleep(1)
    assert await ready.problem() == "the store takes no writes: gone"
    assert store.asked == 2


async def test_a_store_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    """It is waited for a few seconds."""
    store = Scripted()
    store.hangs = True
    assert await readiness(store).problem() == "the store did not answer within 5 seconds"


async def test_a_clock_that_was_set_back_is_no_problem(autojump_clock: trio.testing.MockClock) -> None:
    """The next login sees to it."""
    store = Scripted()
    store.error = ClockSetBack()
    assert await readiness(store).problem() is None


async def test_a_server_that_is_being_stopped_is_not_ready() -> None:
    """It is not asked for what is known already."""
    store = Scripted()
    ready = readiness(store)
    ready.draining = True
    assert await ready.problem() == "the server is being stopped"
    assert store.asked == 0
