"""Waiting for something to happen to a key."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from oxd_server.sync.busy import TooBusy
from oxd_server.sync.waits import Waits


async def test_those_who_wait_for_the_key_are_woken(autojump_clock: trio.testing.MockClock) -> None:
    """A ring wakes all who wait for the key and nobody else; what rings after the look is not missed."""
    waits, woken = Waits(10), list[str]()

    async def wait(key: str) -> None:
        with waits.hold(key):
            bell = waits.bell(key)
            await trio.sleep(1)  # the look
            await bell.wait()
            woken.append(key)

    async with trio.open_nursery() as nursery:
        for key in ("a", "a", "b"):
            nursery.start_soon(wait, key)
        await trio.sleep(0.5)
        waits.ring("a")
        waits.ring("nobody")
        await trio.sleep(1)
        assert woken == ["a", "a"]
        assert len(waits) == 1
        waits.stop()
        assert waits.stopped
    assert woken == ["a", "a", "b"]
    assert len(waits) == 0


async def test_their_number_is_bounded() -> None:
    """One key has half of the places; an error inside gives a place back."""
    waits = Waits(4)
    with waits.hold("a"), waits.hold("a"):
        with pytest.raises(TooBusy), waits.hold("a"):
            raise AssertionError("one too many of a key")
        with waits.hold("b"), waits.hold("c"), pytest.raises(TooBusy), waits.hold("d"):
            raise AssertionError("one too many")
    with pytest.raises(ValueError, match="inside"), waits.hold("a"):
        raise ValueError("inside")
    assert len(waits) == 0
