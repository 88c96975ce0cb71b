"""A store that lives as long as the process: for trying things out, and for tests."""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import trio

from oxd_server.store.base import (
    DONE,
    GRACE_SECONDS,
    MAX_KEPT,
    ChangeSession,
    ChangeSite,
    ClockSetBack,
    K,
    Kept,
    Site,
    SiteExists,
    SiteNames,
    SiteNotFound,
    Sites,
    SiteSession,
    changed_site,
    with_count,
)
from oxd_server.sync.locks import KeyedLocks

__all__ = ["MemoryStore"]


class MemoryStore:
    """A `Store` in memory. Every write is one step between two checkpoints, so nothing can come between."""

    locks: KeyedLocks | None = None

    def __init__(self) -> None:
        self.commits = 0  # nothing is written
        self._sites: dict[str, Site] = {}
        self._sessions: dict[str, SiteSession] = {}
        self._kept: dict[str, OrderedDict[bytes, Kept]] = {}
        self._secrets: dict[str, bytes] = {}
        self._spent: dict[bytes, float] = {}
        self._expiries: list[tuple[float, bytes]] = []
        self._forgotten_until = 0.0

    @property
    def cache_bytes(self) -> Mapping[str, int]:
        """Nothing: what is kept here is no copy."""
        return {}

    def cached(self, oxd_id: str) -> Site | None:
        return self._sites.get(oxd_id)

    async def get(self, oxd_id: str) -> Site | None:
        await trio.lowlevel.checkpoint()
        return self._sites.get(oxd_id)

    async def session(self, oxd_id: str) -> SiteSession:
        await trio.lowlevel.checkpoint()
        return self._sessions.get(oxd_id, SiteSession())

    async def add(self, site: Site) -> None:
        await trio.lowlevel.checkpoint()
        if site.oxd_id in self._sites:
            raise SiteExists(site.oxd_id)
        self._sites[site.oxd_id] = site

    async def add_all(self, sites: Sequence[tuple[Site, SiteSession]], once: str | None = None) -> Sequence[str] | None:
        await trio.lowlevel.checkpoint()
        if once is not None:
            if once in self._secrets:
                return None
            self._secrets[once] = DONE
        taken = [site.oxd_id for site, _ in sites if site.oxd_id in self._sites]
        for site, session in sites:
            if self._sites.setdefault(site.oxd_id, site) is site:
                self._sessions[site.oxd_id] = session
        return taken

    async def change(self, oxd_id: str, change: ChangeSite) -> Site:
        await trio.lowlevel.checkpoint()
        self._sites[oxd_id] = changed_site(self._existing(oxd_id), change)
        return self._sites[oxd_id]

    async def change_session(
        self, oxd_id: str, change: ChangeSession, *, keep: Sequence[Kept] = (), now: float = 0.0
    ) -> SiteSession:
        await trio.lowlevel.checkpoint()
        self._existing(oxd_id)
        before = self._sessions.get(oxd_id, SiteSession())
        self._sessions[oxd_id] = with_count(change(before), before, keep)
        self._remember(oxd_id, keep, now)
        return self._sessions[oxd_id]

    def _remember(self, oxd_id: str, keep: Sequence[Kept], now: float) -> None:
        of_site = self._kept.setdefault(oxd_id, OrderedDict())
        for one in keep:
            of_site[one.hash] = one
            of_site.move_to_end(one.hash)
        while of_site and (len(of_site) > MAX_KEPT or next(iter(of_site.values())).expires_at <= now):
            of_site.popitem(last=False)

    async def kept(self, under: bytes, now: float, kind: type[K]) -> K | None:
        await trio.lowlevel.checkpoint()
        found = (of_site[under] for of_site in self._kept.values() if under in of_site)
        return next((one.what for one in found if one.expires_at > now and isinstance(one.what, kind)), None)

    async def remove(self, oxd_id: str) -> Site:
        await trio.lowlevel.checkpoint()
        site = self._existing(oxd_id)
        del self._sites[oxd_id]
        self._sessions.pop(oxd_id, None)
        self._kept.pop(oxd_id, None)
        return site

    async def setup_clients(self, op_host: str, limit: int) -> Sites:
        await trio.lowlevel.checkpoint()
        newest = reversed(self._sites.values())
        return list(islice((site for site in newest if site.is_setup_client and site.op_host == op_host), limit))

    async def sites_of_client(self, op_host: str, client_id: str, limit: int) -> Sites:
        await trio.lowlevel.checkpoint()
        newest = reversed(self._sites.values())
        found = [site for site in newest if site.op_host == op_host and site.client_id == client_id]
        return sorted(found, key=lambda site: not site.is_setup_client)[:limit]

    async def count_registered(self, registered_from: str | None, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        kept = [site.registered_from for site in self._sites.values() if site.registered_from is not None]
        return min(limit, len(kept) if registered_from is None else kept.count(registered_from))

    async def count(self) -> int:
        await trio.lowlevel.checkpoint()
        return len(self._sites)

    async def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        await trio.lowlevel.checkpoint()
        if name not in self._secrets:
            made = await trio.to_thread.run_sync(make)
            self._secrets.setdefault(name, made)
        return self._secrets[name]

    async def spend(self, token: bytes, expires_at: float, now: float) -> bool:
        await trio.lowlevel.checkpoint()
        if now < self._forgotten_until:
            raise ClockSetBack
        while self._expiries and self._expiries[0][0] <= now - GRACE_SECONDS:
            expired = heapq.heappop(self._expiries)
            self._forgotten_until = max(self._forgotten_until, expired[0])
            if self._spent.get(expired[1]) == expired[0]:  # not if it was forgotten and spent again since
                del self._spent[expired[1]]
        if self._spent.get(token, now) > now:
            return False
        self._spent[token] = expires_at
        heapq.heappush(self._expiries, (expires_at, token))
        return True

    async def renew_secret(self, name: str, make: Callable[[], bytes], now: float) -> bytes:
        made = await trio.to_thread.run_sync(make)
        if now < self._forgotten_until:
            self._secrets.pop(name, None)
            self._spent.clear()
            self._expiries.clear()
            self._forgotten_until = 0.0
        return self._secrets.setdefault(name, made)

    async def unspend(self, token: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._spent.pop(token, None)

    async def list(self) -> SiteNames:
        await trio.lowlevel.checkpoint()
        return sorted((site.oxd_id, site.client.client_name or "") for site in self._sites.values())

    def _existing(self, oxd_id: str) -> Site:
        try:
            return self._sites[oxd_id]
        except KeyError:
            raise SiteNotFound(oxd_id) from None
