"""The key sets of OPs: fetched, kept, and fetched again, within bounds, when a signature asks for it.

Specification: OpenID Connect Core 1.0 section 10.1.1 (rotation of signing keys), RFC 7517 section 5.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from oxd_server.op.answer import Answer
from oxd_server.op.cache import Fetched, RefreshingCache, lifetime_of
from oxd_server.op.errors import IdTokenCheck, IdTokenError, OpErrorResponse, OpInvalidResponse, OpUnreachable
from oxd_server.op.jose import KeySet, parse_key_set
from oxd_server.op.metadata_cache import DEFAULT_LIFETIME, MAX_DOCUMENT_BYTES
from oxd_server.op.reach import Reach, Zone, origin_of
from oxd_server.op.transport import MAX_REDIRECTS, Transport

__all__ = ["MAX_REFETCHES", "REFETCH_WINDOW", "KeySetCache", "process_key_set"]

T = TypeVar("T")

MAX_REFETCHES = 5
REFETCH_WINDOW = 60.0
STEP = "key set"

_KEY_BYTES = 4096

_ASKS_FOR_NEW_KEYS = frozenset({IdTokenCheck.KEY_NOT_FOUND, IdTokenCheck.BAD_SIGNATURE})


def process_key_set(answer: Answer) -> KeySet:
    """The usable keys in the answer to a GET of the jwks_uri.

    Raises:
        OpErrorResponse: an error status.
        OpInvalidResponse: no JWK Set.
    """
    answer.expect(200, 203)
    document = answer.json_object()
    keys = parse_key_set(document)
    if keys is None:
        answer.refuse_error(document)
        raise answer.invalid("the answer is not a JWK Set: it has no list of keys")
    return keys


class KeySetCache:
    """Key sets by jwks_uri; `lifetime` (seconds) holds where the OP's answer names none."""

    def __init__(
        self,
        transport: Transport,
        clock: Callable[[], float],
        *,
        lifetime: float = DEFAULT_LIFETIME,
        capacity: int = 1000,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._lifetime = lifetime
        self._capacity = capacity
        self._cache = RefreshingCache[tuple[str, Zone | None], KeySet](
            clock, capacity=capacity, host_of=lambda key: origin_of(key[0])
        )
        self._refetches: dict[str, deque[float]] = {}

    def __len__(self) -> int:
        return len(self._cache)

    @property
    def bytes(self) -> int:
        """How much memory the entries take up."""
        return self._cache.bytes

    async def get(self, jwks_uri: str, within: Reach | None = None) -> KeySet:
        """The key set, from the cache or from the OP, which may lead as far as `within` says.

        Raises:
            OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
        """
        return await self._cache.get(_key(jwks_uri, within), lambda: self._fetch(jwks_uri, within))

    async def newer_than(self, jwks_uri: str, seen: KeySet, within: Reach | None = None) -> KeySet:
        """A key set that was fetched after `seen`, or `seen` itself if none is to be had now.

        At most `MAX_REFETCHES` in `REFETCH_WINDOW` seconds are made for one jwks_uri, so that bad tokens cannot make
        us flood an OP.
        """
        current = self._cache.fresh(_key(jwks_uri, within))
        if current is not None and current is not seen:
            return current
        if not self._may_refetch(jwks_uri):
            return seen
        try:
            return await self._cache.refresh(_key(jwks_uri, within), lambda: self._fetch(jwks_uri, within))
        except (OpUnreachable, OpErrorResponse, OpInvalidResponse):
            return seen

    async def verify(self, jwks_uri: str, verify: Callable[[KeySet], T], within: Reach | None = None) -> T:
        """What `verify` makes of the key set; if it misses a key or doubts a signature, of a newer one as well.

        Raises:
            IdTokenError: as `verify` decided last.
            OpError: there is no key set.
        """
        keys = await self.get(jwks_uri, within)
        try:
            return verify(keys)
        except IdTokenError as error:
            if error.check not in _ASKS_FOR_NEW_KEYS:
                raise
            newer = await self.newer_than(jwks_uri, keys, within)
            if newer is keys:
                raise
        return verify(newer)

    async def _fetch(self, jwks_uri: str, within: Reach | None) -> Fetched[KeySet]:
        headers = {"accept": "application/jwk-set+json, application/json"}
        answer = await self._transport.send(
            "GET",
            jwks_uri,
            step=STEP,
            within=within,
            headers=headers,
            shared=True,
            redirects=MAX_REDIRECTS,
            max_bytes=MAX_DOCUMENT_BYTES,
        )
        keys = process_key_set(answer)
        size = len(answer.body) + len(keys.keys) * _KEY_BYTES
        return Fetched(keys, lifetime_of(answer.headers, self._lifetime), size)

    def _may_refetch(self, jwks_uri: str) -> bool:
        now = self._clock()
        if jwks_uri not in self._refetches and len(self._refetches) >= self._capacity:
            del self._refetches[next(iter(self._refetches))]
        times = self._refetches.setdefault(jwks_uri, deque(maxlen=MAX_REFETCHES))
        if len(times) == MAX_REFETCHES and now - times[0] < REFETCH_WINDOW:
            return False
        times.append(now)
        return True


def _key(jwks_uri: str, within: Reach | None) -> tuple[str, Zone | None]:
    """Keys that one OP may lead to are not another's, if that one may not lead there."""
    return jwks_uri, None if within is None else within.zone
