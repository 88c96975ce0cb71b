"""What servers say of themselves, by the host that a site names: one fetch at a time, kept for a while."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from oxd_server.op.answer import Answer
from oxd_server.op.cache import Fetched, RefreshingCache, held_bytes, lifetime_of
from oxd_server.op.reach import origin_of
from oxd_server.op.settings import SettingsOf, nothing_special
from oxd_server.op.transport import MAX_REDIRECTS, Transport

__all__ = ["DEFAULT_LIFETIME", "MAX_DOCUMENT_BYTES", "MetadataCache"]

V = TypeVar("V")

DEFAULT_LIFETIME = 3600.0
MAX_DOCUMENT_BYTES = 256 * 1024
"""Of what an OP publishes of itself, a key set as well; the largest that are known have a tenth of that."""
_LONGEST_REMEMBERED = 500
MAX_WAITING = 200
"""So many commands may wait for the metadata of one OP; an OP that hangs must not take all places of the server."""


class MetadataCache(ABC, Generic[V]):
    """Metadata of one kind, served stale while the server that it is about is down.

    A kind says how its URL is made (`url_of`) and how its document is read (`process`).

    Args:
        transport: sends the requests.
        clock: gives seconds that never run backwards.
        lifetime: seconds for which an answer is fresh that names no time itself.
        capacity: the most entries that are kept.
        settings: what the operator set for an OP, by the part of its URL before the well-known path.
    """

    step: ClassVar[str]
    """The name of the request in errors and logs."""

    def __init__(
        self,
        transport: Transport,
        clock: Callable[[], float],
        *,
        lifetime: float = DEFAULT_LIFETIME,
        capacity: int = 1000,
        settings: SettingsOf = nothing_special,
    ) -> None:
        self.settings = settings
        self._transport = transport
        self._lifetime = lifetime
        self._capacity = capacity
        self._cache = RefreshingCache[str, V](clock, capacity=capacity, max_waiting=MAX_WAITING, host_of=origin_of)
        self._urls: dict[tuple[str, str | None], str] = {}

    def __len__(self) -> int:
        return len(self._cache)

    @property
    def bytes(self) -> int:
        """How much memory the entries take up."""
        return self._cache.bytes

    @abstractmethod
    def url_of(self, op_host: str, op_discovery_path: str | None) -> str:
        """The URL of the document.

        Raises:
            InvalidOpHost
        """

    @abstractmethod
    def process(self, answer: Answer, url: str) -> V:
        """The metadata in the answer to a GET of `url`.

        Raises:
            OpErrorResponse, OpInvalidResponse
        """

    def cached(self, op_host: str, op_discovery_path: str | None = None) -> V | None:
        """The metadata if it is fresh: two look-ups and a comparison, no waiting."""
        url = self._urls.get((op_host, op_discovery_path))
        return self._cache.fresh(url) if url is not None else None

    async def get(self, op_host: str, op_discovery_path: str | None = None) -> V:
        """The metadata, from the cache or from the server.

        Raises:
            InvalidOpHost, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
        """
        metadata = self.cached(op_host, op_discovery_path)
        if metadata is not None:
            return metadata
        url = self.url_of(op_host, op_discovery_path)
        self._remember(op_host, op_discovery_path, url)

        async def fetch() -> Fetched[V]:
            answer = await self._transport.send(
                "GET", url, step=self.step, shared=True, redirects=MAX_REDIRECTS, max_bytes=MAX_DOCUMENT_BYTES
            )
            metadata = self.process(answer, url)
            return Fetched(metadata, lifetime_of(answer.headers, self._lifetime), held_bytes(metadata))

        return await self._cache.get(url, fetch)

    def _remember(self, op_host: str, op_discovery_path: str | None, url: str) -> None:
        if len(url) > _LONGEST_REMEMBERED:
            return
        if len(self._urls) >= self._capacity:
            self._urls.clear()
        self._urls[op_host, op_discovery_path] = url
