"""Two stores on one file, as a server and the command line beside it: what one commits, the other sees at once."""

import random
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site, SiteSession, database, open_file_store, schema
from oxd_server.store.file import FileStore

Pair = tuple[FileStore, FileStore]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    path = tmp_path / "oxd.sqlite"
    async with open_file_store(path) as server, open_file_store(path) as beside:
        await server.add(Site(oxd_id="a", op_host="https://op.example.org"))
        await server.get("a")
        await server.session("a")
        yield server, beside


async def test_a_change_is_seen(pair: Pair) -> None:
    """A site that is cached here and changed there is read afresh; so is its session."""
    server, beside = pair
    await beside.change("a", lambda site: replace(site, client=ClientMetadata(client_name="New")))
    await beside.change_session("a", lambda _: SiteSession(pat="p"))
    site = await server.get("a")
    assert site is not None
    assert site.client.client_name == "New"
    assert (await server.session("a")).pat == "p"


async def test_a_removal_is_seen(pair: Pair) -> None:
    """A site that was removed there is gone here, with its session."""
    server, beside = pair
    await server.change_session("a", lambda _: SiteSession(pat="p"))
    await beside.remove("a")
    assert await server.get("a") is None
    assert await server.session("a") == SiteSession()


async def _name_in(store: FileStore) -> str | None:
    site = await store.get("a")
    assert site is not None
    return site.client.client_name


async def test_a_change_is_seen_at_once_however_rarely_sqlite_is_asked(tmp_path: Path) -> None:
    """The mark says that the other has committed; what is at hand is not believed either."""
    path = tmp_path / "oxd.sqlite"
    async with open_file_store(path, watch_interval=3600) as server, open_file_store(path) as beside:
        await server.add(Site(oxd_id="a", op_host="https://op.example.org"))
        assert await _name_in(server) is None
        assert server.cached("a") is not None
        for number in range(20):
            name = str(number)
            change = ClientMetadata(client_name=name)
            await beside.change("a", lambda site, change=change: replace(site, client=change))  # type: ignore[misc]
            assert server.cached("a") is None
            assert await _name_in(server) == name
            assert server.cached("a") == await beside.get("a")


async def test_a_foreign_change_may_be_noticed_later(tmp_path: Path) -> None:
    """A store that asks SQLite at intervals sees what a foreign program writes after the interval."""
    path = tmp_path / "oxd.sqlite"
    async with (
        open_file_store(path, watch_interval=3600) as rarely,
        open_file_store(path, watch_interval=0.01) as often,
    ):
        await rarely.add(Site(oxd_id="a", op_host="https://op.example.org"))
        assert await _name_in(rarely) is await _name_in(often) is None
        with closing(schema.connect(path, 5.0)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            new = ClientMetadata(client_name="New")
            database.change_site(foreign, "a", lambda site: replace(site, client=new))
            foreign.execute("COMMIT")
        assert await _name_in(rarely) is None
        with trio.fail_after(5):
            while await _name_in(often) != "New":
                await trio.sleep(0.001)
        await rarely.change("a", lambda site: replace(site, client=replace(site.client, contacts=("c",))))
        assert await _name_in(rarely) == "New"


async def test_our_own_writes_keep_the_cache(pair: Pair) -> None:
    """A write of our own does not make the next read go to the disk."""
    server, _ = pair
    await server.change_session("a", lambda _: SiteSession(pat="p"))
    site, session = await server.get("a"), await server.session("a")
    assert await server.get("a") is site
    assert await server.session("a") is session


async def test_a_write_of_ours_hides_no_write_of_others(pair: Pair) -> None:
    """What others committed just before our own write is seen after it, too."""
    server, beside = pair
    await server.add(Site(oxd_id="b", op_host="https://op.example.org"))
    await beside.change("a", lambda site: replace(site, client=ClientMetadata(client_name="New")))
    await server.change("b", lambda site: site)
    site = await server.get("a")
    assert site is not None
    assert site.client.client_name == "New"


@pytest.mark.parametrize("moment", range(3))
async def test_a_write_during_our_own_is_not_hidden(pair: Pair, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """What others commit between our commit and its publication is seen, whatever our thread has looked at by then."""
    server, beside = pair
    look, ask = server._watch.look, server._others_committed

    def others_commit_at(now: int) -> None:
        if now == moment:
            new = ClientMetadata(client_name="New")
            trio.from_thread.run(beside.change, "a", lambda site: replace(site, client=new))
            assert trio.from_thread.run(_name_in, server) == "New"

    def look_once() -> tuple[int, int | None]:
        others_commit_at(0)
        return look()

    def ask_once() -> bool:
        others_commit_at(1)
        others_committed = ask()
        others_commit_at(2)
        return others_committed

    with monkeypatch.context() as patch:
        patch.setattr(server, "_others_committed", ask_once)
        patch.setattr(server._watch, "look", look_once)
        await server.add(Site(oxd_id="b", op_host="https://op.example.org"))
    assert await _name_in(server) == "New"


async def test_both_write_all_the_time(pair: Pair) -> None:
    """While both write the same and other sites, each sees its own and the other's newest version, never an older."""
    server, beside = pair
    await server.add(Site(oxd_id="b", op_host="https://op.example.org"))
    chance = random.Random(7)
    counts = {"a": 0, "b": 0}
    for _ in range(300):
        oxd_id, (writer, reader) = chance.choice("ab"), chance.sample([server, beside], 2)
        counts[oxd_id] += 1
        name = str(counts[oxd_id])
        await writer.change(oxd_id, lambda site, name=name: replace(site, client=ClientMetadata(client_name=name)))  # type: ignore[misc]
        for store in (reader, writer):
            for known, count in counts.items():
                site = await store.get(known)
                assert site is not None
                assert int(site.client.client_name or 0) == count


async def test_a_reader_never_goes_back(pair: Pair) -> None:
    """Readers that run beside writers of both stores see versions that only grow."""
    server, _ = pair

    def count(site: Site) -> Site:
        return replace(site, client=ClientMetadata(client_name=str(int(site.client.client_name or 0) + 1)))

    async def write(store: FileStore) -> None:
        for _ in range(100):
            await store.change("a", count)

    async def read(store: FileStore, stop: trio.Event) -> None:
        seen = 0
        while not stop.is_set():
            site = await store.get("a")
            assert site is not None
            assert int(site.client.client_name or 0) >= seen
            seen = int(site.client.client_name or 0)
            await trio.lowlevel.checkpoint()

    stop = trio.Event()
    async with trio.open_nursery() as readers:
        for store in pair:
            readers.start_soon(read, store, stop)
        async with trio.open_nursery() as writers:
            for store in pair:
                writers.start_soon(write, store)
        stop.set()
    final = await server.get("a")
    assert final is not None
    assert final.client.client_name == "200"


async def test_a_watch_that_cannot_look(pair: Pair) -> None:
    """Where it cannot be found out whether others committed, nothing cached is believed, and reading goes on."""
    server, beside = pair
    await trio.to_thread.run_sync(server._watch.connection.close)
    await beside.change("a", lambda site: replace(site, client=ClientMetadata(client_name="New")))
    site = await server.get("a")
    assert site is not None
    assert site.client.client_name == "New"
    assert await server.change("a", lambda site: site) == site
