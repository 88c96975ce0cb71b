"""Copying between stores: what arrives, what changes meanwhile, what may not be lost, and a copy that is killed."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import MemoryStore, Site, SiteSession, Store, StoreError, open_file_store
from oxd_server.store.copying import copy_sites

HOST = "https://op.example.org"


def _site(oxd_id: str, name: str = "", *, is_setup_client: bool = False) -> Site:
    client = ClientMetadata(client_name=name)
    return Site(oxd_id=oxd_id, op_host=HOST, client=client, is_setup_client=is_setup_client)


def _quiet(_pass: int, _done: int, _total: int) -> None:
    pass


@asynccontextmanager
async def _kept(store: Store) -> AsyncIterator[Store]:
    yield store


class BusySource(MemoryStore):
    """A store in which something happens after each of the first ``changes`` times that all sites were listed."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self._left = changes

    async def list(self) -> list[tuple[str, str]]:
        names = await super().list()
        if self._left:
            self._left -= 1
            await self.change("a", lambda site: _site("a", f"{site.client.client_name}+"))
            await self.change_session("a", lambda _: SiteSession(pat=str(self._left)))
            await self.add(_site(f"new-{self._left}"))
        return names


async def test_all_that_a_site_is_arrives(tmp_path: Path) -> None:
    """Sites and sessions are the same in the target; its newest setup client is that of the source."""
    source = MemoryStore()
    for oxd_id in ("m", "z", "b"):
        await source.add(_site(oxd_id, is_setup_client=True))
    await source.add(_site("a", "A"))
    await source.change_session("a", lambda _: SiteSession(id_token="t", pat="p"))
    open_target = partial(open_file_store, tmp_path / "oxd.sqlite")
    seen: list[tuple[int, int, int]] = []
    copied = await copy_sites(source, open_target, replace=False, progress=lambda *now: seen.append(now))
    assert copied[:5] == (4, 0, 0, 2, 4)
    assert seen == [(1, 0, 4), (1, 4, 4), (2, 0, 4), (2, 4, 4)]
    async with open_target() as target:
        assert await target.list() == await source.list()
        assert (await target.get("a"), await target.session("a")) == (await source.get("a"), await source.session("a"))
        assert await target.setup_clients(HOST, 9) == await source.setup_clients(HOST, 9)
    again = await copy_sites(source, open_target, replace=False, progress=_quiet)
    assert again == (0, 0, 0, 1, 4, copied.sha256)


async def test_what_changes_meanwhile(tmp_path: Path) -> None:
    """What is added, changed or removed in the source during a pass is so in the target after the next one."""
    source, target = BusySource(2), MemoryStore()
    await source.add(_site("a", "A"))
    copied = await copy_sites(source, lambda: _kept(target), replace=False, progress=_quiet)
    assert copied[:5] == (3, 1, 0, 4, 3)
    assert await target.list() == [("a", "A++"), ("new-0", ""), ("new-1", "")]
    assert (await target.session("a")).pat == "0"


async def test_a_site_that_is_removed_meanwhile() -> None:
    """A site that this copy has written goes when the source's goes; the target's other sites stay."""
    source, target = MemoryStore(), MemoryStore()
    await target.add(_site("theirs"))
    for oxd_id in ("a", "gone"):
        await source.add(_site(oxd_id))
    removed = False

    @asynccontextmanager
    async def open_target() -> AsyncIterator[Store]:
        nonlocal removed
        yield target
        if not removed:
            removed = True
            await source.remove("gone")

    copied = await copy_sites(source, open_target, replace=False, progress=_quiet)
    assert copied[:5] == (2, 0, 1, 3, 1)
    assert [oxd_id for oxd_id, _ in await target.list()] == ["a", "theirs"]


async def test_a_source_that_never_rests() -> None:
    """A source that changes in every pass is an error that says what to do."""
    source, target = BusySource(100), MemoryStore()
    await source.add(_site("a"))
    with pytest.raises(StoreError, match="stop its servers"):
        await copy_sites(source, lambda: _kept(target), replace=False, progress=_quiet)


async def test_what_differs_is_replaced_on_demand_only() -> None:
    """A site that the target has already, and not the same, stays and is named; the others are copied."""
    source, target = MemoryStore(), MemoryStore()
    await source.add(_site("a", "ours"))
    await source.add(_site("b"))
    await target.add(_site("a", "theirs"))
    with pytest.raises(StoreError, match=r"1 sites .* differ \(a\)"):
        await copy_sites(source, lambda: _kept(target), replace=False, progress=_quiet)
    assert await target.list() == [("a", "theirs"), ("b", "")]
    copied = await copy_sites(source, lambda: _kept(target), replace=True, progress=_quiet)
    assert copied[:5] == (0, 1, 0, 2, 2)
    assert await target.list() == [("a", "ours"), ("b", "")]


KILLED = """
import os, signal, sys
from functools import partial
from pathlib import Path
import trio
from oxd_server.store import open_file_store
from oxd_server.store.copying import copy_sites

def progress(_pass, done, total):
    if done >= 600:
        os.kill(os.getpid(), signal.SIGKILL)

async def main(source, target):
    async with open_file_store(Path(source)) as store:
        await copy_sites(store, partial(open_file_store, Path(target)), replace=False, progress=progress)

trio.run(main, *sys.argv[1:])
"""


async def test_a_killed_copy_goes_on(tmp_path: Path) -> None:
    """After kill -9 the target has whole sites only, and the next run adds those that are missing."""
    source, target = tmp_path / "source.sqlite", tmp_path / "target.sqlite"
    async with open_file_store(source) as store:
        sites = [(_site(f"{number:04}", "N"), SiteSession(pat=str(number))) for number in range(1000)]
        await store.add_all(sites)
        run = subprocess.run([sys.executable, "-c", KILLED, source, target], check=False)
        assert run.returncode == -signal.SIGKILL
        async with open_file_store(target) as half:
            names = [oxd_id for oxd_id, _ in await half.list()]
            assert 0 < len(names) < 1000
            assert [int((await half.session(oxd_id)).pat or "") for oxd_id in names] == [int(name) for name in names]
        copied = await copy_sites(store, partial(open_file_store, target), replace=False, progress=_quiet)
    assert copied[:5] == (1000 - len(names), 0, 0, 2, 1000)
