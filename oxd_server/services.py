"""What handlers are handed: everything they may use, built once by ``app``."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from oxd_protocol.errors import CommandError
from oxd_server.config import Config, DefaultSite
from oxd_server.op.client import OpClient
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.key_store import KeyStore
from oxd_server.op.single_flight import SingleFlight
from oxd_server.op.tokens import TokenAnswer
from oxd_server.state import States
from oxd_server.store.base import Site, Store

__all__ = ["DefaultSiteHolder", "KeyedLocks", "Services"]


@dataclass(slots=True)
class DefaultSiteHolder:
    """The default site configuration in force; a reload replaces it as a whole."""

    current: DefaultSite


class KeyedLocks:
    """A lock per key, kept only as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold the key's lock inside the block."""
        lock = self._locks.setdefault(key, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():  # nobody was waiting, or the lock would be theirs by now
                self._locks.pop(key, None)


@dataclass(frozen=True, slots=True)
class Services:
    """``now`` gives seconds since 1970, ``random`` that many random bytes."""

    config: Config
    default_site: DefaultSiteHolder
    store: Store
    op: OpClient
    states: States
    key_store: KeyStore | None
    now: Callable[[], float]
    random: Callable[[int], bytes]
    site_locks: KeyedLocks = field(default_factory=KeyedLocks)
    refreshes: SingleFlight[tuple[str, str, str | None], TokenAnswer] = field(default_factory=SingleFlight)
    log: Any = field(default_factory=lambda: structlog.get_logger("oxd_server.handlers"))

    async def site(self, oxd_id: str) -> Site:
        """Return the site. Raises ``CommandError`` invalid_oxd_id if there is none."""
        site = await self.store.get(oxd_id)
        if site is None:
            raise CommandError("invalid_oxd_id")
        return site

    async def metadata_of(self, site: Site) -> ProviderMetadata:
        """Return the metadata of the site's OP. Raises ``OpError`` when it cannot be had."""
        return await self.op.discovery.get(site.op_host, site.op_discovery_path)
