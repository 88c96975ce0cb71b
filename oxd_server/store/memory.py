"""A store that lives as long as the process: for trying things out, and for tests."""

import heapq
from collections.abc import Callable, Sequence

import trio

from oxd_server.store.base import (
    DONE,
    GRACE_SECONDS,
    ChangeSession,
    ChangeSite,
    ClockSetBack,
    Site,
    SiteExists,
    SiteNames,
    SiteNotFound,
    Sites,
    SiteSession,
    changed_site,
)


class MemoryStore:
    """A `Store` in memory. Every write is one step between two checkpoints, so nothing can come between."""

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}
        self._sessions: dict[str, SiteSession] = {}
        self._secrets: dict[str, bytes] = {}
        self._spent: dict[bytes, float] = {}
        self._expiries: list[tuple[float, bytes]] = []
        self._forgotten_until = 0.0

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

    async def change_session(self, oxd_id: str, change: ChangeSession) -> SiteSession:
        await trio.lowlevel.checkpoint()
        self._existing(oxd_id)
        self._sessions[oxd_id] = change(self._sessions.get(oxd_id, SiteSession()))
        return self._sessions[oxd_id]

    async def remove(self, oxd_id: str) -> Site:
        await trio.lowlevel.checkpoint()
        site = self._existing(oxd_id)
        del self._sites[oxd_id]
        self._sessions.pop(oxd_id, None)
        return site

    async def setup_clients(self, op_host: str) -> Sites:
        await trio.lowlevel.checkpoint()
        found = (site for site in self._sites.values() if site.is_setup_client and site.op_host == op_host)
        return sorted(found, key=lambda site: site.oxd_id)

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
        return sorted((site.oxd_id, site.client_name or "") for site in self._sites.values())

    def _existing(self, oxd_id: str) -> Site:
        try:
            return self._sites[oxd_id]
        except KeyError:
            raise SiteNotFound(oxd_id) from None
