"""One piece of work at a time per key: whoever asks while it is under way waits for its answer, up to a limit."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import msgspec
import trio

from oxd_server.sync.busy import TooBusy

__all__ = ["SingleFlight"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(msgspec.Struct, Generic[V]):
    done: trio.Event = msgspec.field(default_factory=trio.Event)
    values: list[V] = []
    error: Exception | None = None
    waiting: int = 0


class SingleFlight(Generic[K, V]):
    """Runs `work` in the task of the first one who asks (the leader); the others share its value or its error.

    If the leader is cancelled, one of the others leads with its own `work`, and the rest wait on. A flight lasts only
    as long as its work: nothing is kept afterwards.
    """

    def __init__(self, max_waiting: int | None = None) -> None:
        """So many others may wait for one flight (None: all), so that an OP that hangs does not hold up everybody."""
        self._max_waiting = max_waiting
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The value of `work`, done by this task or by the one that was first.

        Raises:
            TooBusy: as many wait as may.
            whatever the work raised, to everybody who waited for it.
        """
        while (flight := self._flights.get(key)) is not None:
            await self._wait(flight)
            if flight.error is not None:
                raise flight.error
            if flight.values:
                return flight.values[0]
        return await self._lead(key, work)

    async def _wait(self, flight: _Flight[V]) -> None:
        if self._max_waiting is not None and flight.waiting >= self._max_waiting:
            raise TooBusy("too many commands wait for the same answer", "commands that wait for one answer")
        flight.waiting += 1
        try:
            await flight.done.wait()
        finally:
            flight.waiting -= 1

    async def _lead(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        flight = self._flights[key] = _Flight[V]()
        try:
            value = await work()
            flight.values.append(value)
            return value
        except Exception as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.done.set()
