"""Copying the sites of one store to another, of whatever kind, while servers use both.

A pass goes through the sites of the source, compares each with what the target has, and writes what differs. What
changes meanwhile is found by the next pass. The copy is done when a pass finds nothing to write: then every site was
read from both stores and was the same. A copy that was cut off goes on when it is started again, for what is there
already is not written again.

What was there before and differs is somebody else's, and stays unless it may be replaced. Logins under way, and the
tokens that earlier logins have issued, are not copied.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Final, NamedTuple

import msgspec

from oxd_server.store.base import Site, SiteNotFound, SiteSession, Store, StoreError

__all__ = ["Copied", "Progress", "copy_sites"]

Progress = Callable[[int, int, int], None]
"""Is told the number of the pass, how many sites it has gone through, and of how many."""

_SITES_AT_ONCE: Final = 200
_MOST_PASSES: Final = 8
_SHOWN: Final = 3

_Pair = tuple[Site, SiteSession]


class Copied(NamedTuple):
    """What was written in all passes, how many sites both stores have, and a SHA-256 over those of the target."""

    added: int
    changed: int
    removed: int
    passes: int
    sites: int
    sha256: str


async def copy_sites(
    source: Store,
    open_target: Callable[[], AbstractAsyncContextManager[Store]],
    *,
    replace: bool,
    progress: Progress,
) -> Copied:
    """Make all sites of ``source`` be in the target as they are in the source, and check that they are.

    Args:
        source: is only read.
        open_target: opens the target. It is called for each pass, so that nothing is believed from memory.
        replace: whether sites that are in the target already, and differ, take the state of the source.
        progress: see ``Progress``.

    Raises:
        StoreError: a store fails, sites differ that may not be replaced, or the source changes in every pass. What
            was copied until then stays.
    """
    ours: set[str] = set()
    added = changed = removed = 0
    for number in range(1, _MOST_PASSES + 1):
        async with open_target() as target:
            one = _Pass(source, target, ours, replace=replace)
            await one.run(partial(progress, number))
        if one.differing:
            shown = ", ".join(one.differing[:_SHOWN])
            raise StoreError(
                f"{len(one.differing)} sites are in the target already and differ ({shown}); they stay as they are; "
                "--replace gives them the state of the source"
            )
        added, changed, removed = added + one.added, changed + one.changed, removed + one.removed
        if not one.added + one.changed + one.removed:
            return Copied(added, changed, removed, number, one.same, one.digest.hexdigest())
    raise StoreError(
        f"the source changed during each of {_MOST_PASSES} passes: stop its servers, and copy once more with --replace"
    )


class _Pass:
    """One way through the sites of the source. ``ours`` are the sites that this copy has written: they are added to."""

    def __init__(self, source: Store, target: Store, ours: set[str], *, replace: bool) -> None:
        self._source = source
        self._target = target
        self._ours = ours
        self._replace = replace
        self._new: list[_Pair] = []
        self.added = self.changed = self.removed = self.same = 0
        self.differing: list[str] = []
        self.digest = hashlib.sha256()

    async def run(self, progress: Callable[[int, int], None]) -> None:
        names = [oxd_id for oxd_id, _ in await self._source.list()]
        hosts: dict[str, None] = {}
        for done, oxd_id in enumerate(names):
            if done % _SITES_AT_ONCE == 0:
                progress(done, len(names))
            site = await self._source.get(oxd_id)
            if site is not None and site.is_setup_client:
                hosts[site.op_host] = None
            elif site is not None:
                await self._take(site)
        for op_host in hosts:  # the newest one counts: so it has to be the last one in the target too
            for site in reversed(await self._source.setup_clients(op_host, len(names))):
                await self._take(site)
        await self._add()
        await self._remove(names)
        progress(len(names), len(names))

    async def _take(self, site: Site) -> None:
        wanted = (site, await self._source.session(site.oxd_id))
        kept = await self._target.get(site.oxd_id)
        if kept is None:
            self._new.append(wanted)
            if len(self._new) == _SITES_AT_ONCE:
                await self._add()
            return
        found = (kept, await self._target.session(site.oxd_id))
        if found == wanted:
            self.same += 1
            self.digest.update(msgspec.json.encode(found))
        elif self._replace or site.oxd_id in self._ours:
            await self._change(wanted)
        else:
            self.differing.append(site.oxd_id)

    async def _add(self) -> None:
        if self._new:
            taken = await self._target.add_all(self._new) or ()
            self._ours.update({site.oxd_id for site, _ in self._new}.difference(taken))
            self.added += len(self._new)
            self._new = []

    async def _change(self, wanted: _Pair) -> None:
        site, session = wanted
        with suppress(SiteNotFound):  # removed there meanwhile: the next pass sees to it
            await self._target.change(site.oxd_id, lambda _: site)
            await self._target.change_session(site.oxd_id, lambda _: session)
        self.changed += 1

    async def _remove(self, names: list[str]) -> None:
        for oxd_id in self._ours.difference(names):
            with suppress(SiteNotFound):
                await self._target.remove(oxd_id)
            self._ours.discard(oxd_id)
            self.removed += 1
