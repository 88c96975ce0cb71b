"""`HostSlots`: one host gets so many requests at a time, so many wait, and the other hosts notice nothing."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from oxd_server.sync.busy import TooBusy
from oxd_server.sync.host_slots import HostSlots


async def hold(slots: HostSlots, host: str, inside: list[str], go: trio.Event) -> None:
    async with slots.hold(host):
        inside.append(host)
        await go.wait()


async def test_so_many_run_and_so_many_wait() -> None:
    """Of one slot, one task has it and two wait; the fourth is sent away, and another host has its own."""
    slots, inside, go = HostSlots(1), list[str](), trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(hold, slots, "slow", inside, go)
        await wait_all_tasks_blocked()
        assert inside == ["slow"]
        with pytest.raises(TooBusy, match="slow has as many requests"):
            await hold(slots, "slow", inside, go)
        nursery.start_soon(hold, slots, "well", inside, go)
        await wait_all_tasks_blocked()
        assert inside == ["slow", "well"]
        go.set()
    assert inside == ["slow", "well", "slow", "slow"]
    assert len(slots) == 0


async def test_cancelled_waiters_leave_nothing_behind() -> None:
    """A waiter that is cancelled gives its place free, and the host is forgotten with its last request."""
    slots, inside, go = HostSlots(1), list[str](), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, slots, "op", inside, go)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as impatient:
            for _ in range(2):
                impatient.start_soon(hold, slots, "op", inside, go)
            await wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        nursery.start_soon(hold, slots, "op", inside, go)
        await wait_all_tasks_blocked()
        assert len(slots) == 1
        go.set()
    assert inside == ["op", "op"]
    assert len(slots) == 0
