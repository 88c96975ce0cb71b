"""What was fetched from an OP, kept for a while: fresh, then stale for use while the OP is down.

The size is bounded in bytes, not in entries alone. When there is no room, the OP host that fills most of it gives up
its longest unrefreshed entry, so that what one host says of itself does not push out the others'. A key is fetched by
one task at a time.
"""

import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

import msgspec

from oxd_server.op.errors import OpBusy, OpErrorResponse, OpUnreachable
from oxd_server.sync.busy import TooBusy
from oxd_server.sync.single_flight import SingleFlight

__all__ = [
    "MAX_ENTRY_BYTES",
    "MAX_LIFETIME",
    "MIN_LIFETIME",
    "RETRY_INTERVAL",
    "STALE_LIFETIME",
    "Fetched",
    "RefreshingCache",
    "held_bytes",
    "lifetime_of",
]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MIN_LIFETIME = 60.0
MAX_LIFETIME = 24 * 3600.0
STALE_LIFETIME = 24 * 3600.0
RETRY_INTERVAL = 30.0

MAX_BYTES = 16 * 1024 * 1024
MAX_ENTRY_BYTES = 128 * 1024
"""What is larger is used, but not kept."""

_ENTRY_BYTES = 500

_MAX_AGE = re.compile(r"(?i)(?:^|[,\s])max-age\s*=\s*\"?(\d{1,10})")
_NOT_KEPT = re.compile(r"(?i)(?:^|[,\s])no-(?:store|cache)\b")


class Fetched(msgspec.Struct, Generic[V], frozen=True):
    """A value, how many seconds it is fresh, and how many bytes it takes up."""

    value: V
    lifetime: float
    size: int = 0


class _Entry(msgspec.Struct, Generic[V]):
    value: V
    fresh_until: float
    stale_until: float
    size: int


class RefreshingCache(Generic[K, V]):
    """Values by key; `clock` gives seconds that never run backwards. `max_waiting` is that of `SingleFlight`.

    `host_of` names the host that a key is about.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        capacity: int = 1000,
        max_bytes: int = MAX_BYTES,
        max_waiting: int | None = None,
        host_of: Callable[[K], str] = str,
    ) -> None:
        self._clock = clock
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._host_of = host_of
        self._entries: dict[K, _Entry[V]] = {}
        self._bytes = 0
        self._bytes_of: Counter[str] = Counter()
        self._flights = SingleFlight[K, V](max_waiting)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """How much memory the values take up."""
        return self._bytes

    def fresh(self, key: K) -> V | None:
        """The value if it is there and fresh: a look-up and a comparison."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and self._clock() < entry.fresh_until else None

    async def get(self, key: K, fetch: Callable[[], Awaitable[Fetched[V]]]) -> V:
        """The fresh value, else what `fetch` brings, else the stale value if the OP is down.

        Raises:
            OpError: `fetch` failed and nothing stale can stand in.
        """
        value = self.fresh(key)
        return value if value is not None else await self.refresh(key, fetch)

    async def refresh(self, key: K, fetch: Callable[[], Awaitable[Fetched[V]]]) -> V:
        """As `get`, but fetch even if the value is fresh (or wait for the fetch that is under way)."""

        async def fetch_and_keep() -> V:
            try:
                fetched = await fetch()
            except (OpBusy, OpUnreachable, OpErrorResponse) as error:
                return self._stand_in(key, error)
            self._keep(key, fetched)
            return fetched.value

        try:
            return await self._flights.run(key, fetch_and_keep)
        except TooBusy as busy:
            raise OpBusy(str(busy), busy.limit) from None

    def _keep(self, key: K, fetched: Fetched[V]) -> None:
        self._drop(key)
        if fetched.size > MAX_ENTRY_BYTES:
            return
        fresh_until = self._clock() + fetched.lifetime
        size = fetched.size + _ENTRY_BYTES
        self._entries[key] = _Entry(fetched.value, fresh_until, fresh_until + STALE_LIFETIME, size)
        self._count(key, size)
        while len(self._entries) > self._capacity or self._bytes > self._max_bytes:
            largest = max(self._bytes_of, key=self._bytes_of.__getitem__)
            self._drop(next(one for one in self._entries if self._host_of(one) == largest))

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._count(key, -entry.size)

    def _count(self, key: K, size: int) -> None:
        host = self._host_of(key)
        self._bytes += size
        self._bytes_of[host] += size
        if not self._bytes_of[host]:
            del self._bytes_of[host]

    def _stand_in(self, key: K, error: OpBusy | OpUnreachable | OpErrorResponse) -> V:
        entry = self._entries.get(key)
        now = self._clock()
        is_down = not isinstance(error, OpErrorResponse) or error.status >= 500 or error.status == 429
        if entry is None or not is_down or now >= entry.stale_until:
            raise error
        # An OP that is down is not asked again by every command that needs the value.
        entry.fresh_until = max(entry.fresh_until, min(now + RETRY_INTERVAL, entry.stale_until))
        return entry.value


def lifetime_of(headers: Mapping[str, str], default: float) -> float:
    """Seconds that an answer stays fresh by its `Cache-Control` (RFC 9111 section 5.2.2), within bounds."""
    control = headers.get("cache-control", "")
    if _NOT_KEPT.search(control):
        return MIN_LIFETIME
    max_age = _MAX_AGE.search(control)
    return min(max(float(max_age.group(1)), MIN_LIFETIME), MAX_LIFETIME) if max_age else default


def held_bytes(value: object) -> int:
    """How much memory the value takes up, with everything in it."""
    size = sys.getsizeof(value, _ENTRY_BYTES)
    if isinstance(value, Mapping):
        return size + sum(held_bytes(name) + held_bytes(member) for name, member in value.items())
    if isinstance(value, tuple | list | frozenset):
        return size + sum(map(held_bytes, value))
    if isinstance(value, msgspec.Struct):
        return size + sum(held_bytes(getattr(value, name)) for name in value.__struct_fields__)
    return size
