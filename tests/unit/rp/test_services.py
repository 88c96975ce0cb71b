"""What handlers are handed: the locks per key, and what clients authenticate with."""

from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from oxd_server.op.key_store import KeyStore
from oxd_server.rp.services import Services
from oxd_server.store.base import Site
from oxd_server.sync.locks import KeyedLocks

SITE = Site(oxd_id="6a1c2b14", op_host="https://op.example", client_id="a", client_secret="first")


def services_with(keys: KeyStore | None) -> Services:
    """Services that know the time and the keys, and nothing else."""
    nothing: Any = None
    times = iter(range(1000))
    return Services(
        nothing, nothing, nothing, nothing, nothing, nothing, keys=keys, now=lambda: float(next(times)), random=bytes
    )


def test_credentials_are_kept_until_the_site_changes() -> None:
    """The same site has the same ones; with another secret it has others, and so has another site."""
    services = services_with(None)
    first = services.credentials_of(SITE)
    assert services.credentials_of(replace(SITE)) is first
    assert services.credentials_of(replace(SITE, client_secret="second")).client_secret == "second"
    assert services.credentials_of(replace(SITE, oxd_id="other", client_id="b")).client_id == "b"
    assert services.credentials_of(SITE) == first


def test_credentials_have_the_keys_that_are_good_now() -> None:
    """Where there are keys, none is kept beyond its time."""
    services = services_with(KeyStore(()))
    times = [one.now for _ in range(3) if (one := services.credentials_of(SITE).key_store) is not None]
    assert len(set(times)) == 3


async def wait_in_vain(locks: KeyedLocks) -> None:
    """Try for a second, in a task of its own, to get what this task holds."""

    async def wait() -> None:
        with trio.move_on_after(1) as scope:
            async with locks.hold("a"):
                raise AssertionError("two hold the same key")
        assert scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)


async def test_a_key_is_held_by_one(autojump_clock: trio.testing.MockClock) -> None:
    """Tasks with the same key take turns; those with others do not wait for them."""
    locks, inside, most = KeyedLocks(), {"a": 0, "b": 0}, {"a": 0, "b": 0}

    async def work(key: str) -> None:
        async with locks.hold(key):
            inside[key] += 1
            most[key] = max(most[key], inside[key])
            await trio.sleep(1)
            inside[key] -= 1

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for key in "aaabbb":
            nursery.start_soon(work, key)
    assert most == {"a": 1, "b": 1}
    assert trio.current_time() - started == pytest.approx(3)
    assert locks._locks == {}


async def test_nothing_is_left_behind(autojump_clock: trio.testing.MockClock) -> None:
    """Neither an error inside nor a waiter that is cancelled leaves a lock or blocks the next one."""
    locks = KeyedLocks()
    with pytest.raises(ValueError, match="inside"):
        async with locks.hold("a"):
            raise ValueError("inside")
    assert locks._locks == {}
    async with locks.hold("a"):
        await wait_in_vain(locks)
        assert set(locks._locks) == {"a"}
    assert locks._locks == {}
    with trio.CancelScope() as scope:
        scope.cancel()
        async with locks.hold("a"):
            raise AssertionError("held although cancelled")
    assert locks._locks == {}


async def test_a_cancelled_waiter_does_not_drop_the_lock_of_the_next(autojump_clock: trio.testing.MockClock) -> None:
    """Between a waiter's cancellation and its end the key may have a new lock: that one stays."""
    locks, waiting = KeyedLocks(), trio.CancelScope()

    async def wait() -> None:
        with waiting:
            async with locks.hold("a"):
                raise AssertionError("two hold the same key")

    async with trio.open_nursery() as nursery:
        async with locks.hold("a"):
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            waiting.cancel()  # it runs on only when we wait next
        async with locks.hold("a"):
            await trio.testing.wait_all_tasks_blocked()
            assert set(locks._locks) == {"a"}
            await wait_in_vain(locks)
    assert locks._locks == {}
