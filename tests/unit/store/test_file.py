"""What the file store does beyond the contract: disks that fill, files that break, processes that die."""

import contextlib
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Kept, Login, Site, SiteSession, StoreError, database, open_file_store
from oxd_server.store.file import FileStore
from tests.unit.store.sites import renamed, site

NEW = ClientMetadata(client_name="new")


async def test_everything_is_there_after_reopening(path: Path) -> None:
    """Sites, sessions, secrets and used values outlive the process that wrote them."""
    async with open_file_store(path) as store:
        await store.add(site(1, client_secret="s", client=ClientMetadata(scope="openid")))
        await store.change_session("site-0001", lambda _: SiteSession(id_token="t"))
        await store.secret("state", lambda: b"key")
        await store.spend(b"used", 100.0, 1.0)
    async with open_file_store(path) as store:
        assert await store.get("site-0001") == site(1, client_secret="s", client=ClientMetadata(scope="openid"))
        assert await store.session("site-0001") == SiteSession(id_token="t")
        assert await store.secret("state", lambda: b"another") == b"key"
        assert await store.spend(b"used", 100.0, 1.0) is False


async def test_damaged_row_is_one_site_only(path: Path) -> None:
    """A row that cannot be read is a StoreError without its content; the other sites are served."""
    async with open_file_store(path) as store:
        await store.add(site(1))
        await store.add(site(2))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE site SET document = '{\"oxd_id\": \"hidden-secret' WHERE oxd_id = 'site-0001'")
    connection.close()
    async with open_file_store(path) as store:
        attempts: tuple[Callable[[], Awaitable[Site | None]], ...] = (
            lambda: store.get("site-0001"),
            lambda: store.change("site-0001", lambda s: s),
        )
        for attempt in attempts:
            with pytest.raises(StoreError, match="'site-0001' is damaged") as caught:
                await attempt()
            assert "hidden" not in str(caught.value)
        assert await store.get("site-0002") == site(2)
        await store.add(site(3))


async def test_writers_share_commits(store: FileStore) -> None:
    """Sixty-four writers at once pay a few commits between them, not one each."""
    before = store.commits
    async with trio.open_nursery() as nursery:
        for number in range(64):
            nursery.start_soon(store.add, site(number))
    assert 1 <= store.commits - before <= 4


async def test_writers_who_come_back_stay_together(store: FileStore) -> None:
    """Eight who write again and again share every commit; they do not fall into two groups that wait for each other."""

    async def write(first: int) -> None:
        for number in range(first, first + 10):
            await store.add(site(number))

    async with trio.open_nursery() as nursery:
        for first in range(0, 80, 10):
            nursery.start_soon(write, first)
    assert store.commits <= 15


async def test_leader_that_is_cancelled_while_others_join(store: FileStore) -> None:
    """Its write is withdrawn, and one of the others leads in its place."""
    async with trio.open_nursery() as nursery:
        for number in range(8):  # so that the next leader has reason to wait
            nursery.start_soon(store.add, site(number))
    scope = trio.CancelScope()

    async def lead() -> None:
        with scope:
            await store.add(site(8))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lead)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(store.add, site(9))
        await trio.lowlevel.checkpoint()
        scope.cancel()
    assert scope.cancelled_caught
    assert [oxd_id for oxd_id, _ in await store.list()] == [f"site-{number:04d}" for number in (*range(8), 9)]


async def test_waiting_writes_are_bounded(path: Path) -> None:
    """With room for eight waiting writes, sixty-four writers still all get their turn, eight a commit."""
    async with open_file_store(path, max_waiting=8) as store:
        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(store.add, site(number))
        assert store.commits >= 8
        assert len(await store.list()) == 64


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let the kernel refuse every byte beyond what the store's files hold now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = Path(f"{path}-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_fails_writes_and_nothing_else(store: FileStore, path: Path) -> None:
    """Writes that the disk has no room for fail clearly, all of them; reads go on; later writes succeed."""
    await store.add(site(1))
    errors = []

    async def write(number: int) -> None:
        try:
            await store.add(site(number))
        except StoreError as error:
            errors.append(str(error))

    with full_disk(path):
        async with trio.open_nursery() as nursery:
            for number in range(2, 12):
                nursery.start_soon(write, number)
        with pytest.raises(StoreError, match="cannot be written"):
            await store.change("site-0001", renamed("lost"))
        assert await store.get("site-0001") == site(1)
        assert await store.get("site-0002") is None
    assert len(errors) == 10
    assert all(error.startswith("the store cannot be written: ") for error in errors)
    await store.add(site(2))
    assert [oxd_id for oxd_id, _ in await store.list()] == ["site-0001", "site-0002"]


async def test_lock_of_another_process_is_an_error_then_forgotten(store: FileStore, path: Path) -> None:
    """While another process holds the write lock writes fail in bounded time; afterwards they succeed."""
    await store.add(site(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await store.add(site(2))
    assert await store.get("site-0001") == site(1)
    other.execute("ROLLBACK")
    other.close()
    await store.add(site(2))


async def test_two_stores_on_one_file(path: Path) -> None:
    """Changes through two stores on the same file, at once, are all applied to the newest version."""
    async with open_file_store(path) as one, open_file_store(path) as two:
        await one.add(site(1))
        await two.get("site-0001")

        def one_more(old: Site) -> Site:
            return msgspec.structs.replace(old, client=ClientMetadata(contacts=(*old.client.contacts, "c")))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one.change, "site-0001", one_more)
                nursery.start_soon(two.change, "site-0001", one_more)
        with pytest.raises(StoreError, match="already"):
            await two.add(site(1))
    async with open_file_store(path) as store:
        reread = await store.get("site-0001")
        assert reread is not None
        assert len(reread.client.contacts) == 40


async def test_cache_is_bounded_and_correct(path: Path) -> None:
    """Sites beyond the size of the cache are read from the file again, each with its last change."""
    async with open_file_store(path, cache_size=3) as store:
        for number in range(10):
            await store.add(site(number))
        for number in range(10):
            await store.change(f"site-{number:04}", renamed("new"))
        for number in range(10):
            assert await store.get(f"site-{number:04}") == site(number, client=NEW)
        assert len(store._sites._values) == 3


async def test_a_site_brings_its_session_along(path: Path) -> None:
    """One visit to the disk reads both; a session that cannot be read keeps nobody from the site."""
    async with open_file_store(path) as store:
        for number in (1, 2):
            await store.add(site(number))
            await store.change_session(f"site-{number:04d}", lambda _: SiteSession(pat="p"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE site_session SET json = '{' WHERE oxd_id = 'site-0002'")
    async with open_file_store(path) as store:
        assert await store.get("site-0001") == site(1)
        assert store.cache_bytes["sessions"] > 0
        assert await store.session("site-0001") == SiteSession(pat="p")
        assert await store.get("site-0002") == site(2)
        with pytest.raises(StoreError, match="'site-0002' is damaged"):
            await store.session("site-0002")


async def test_reader_on_its_way_does_not_bring_back_the_old(store: FileStore) -> None:
    """A value read before a commit and arriving after it does not replace the newer one in the cache."""
    cache = store._sites
    stamp = cache.stamp("site-0001")
    cache.publish("site-0001", site(1, client=NEW))
    cache.fill("site-0001", site(1, client=ClientMetadata(client_name="old")), stamp)
    assert cache.get("site-0001") == site(1, client=NEW)
    cache.publish("site-0001", None)
    cache.fill("site-0001", site(1, client=ClientMetadata(client_name="old")), stamp)
    assert cache.get("site-0001") is None


class Held:
    """A change that stays in the worker thread, and so in its commit, until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, old: Site) -> Site:
        self.entered.set()
        assert self.go_on.wait(10)
        return msgspec.structs.replace(old, client=ClientMetadata(client_name="kept"))


async def test_withdrawn_write_is_not_made(store: FileStore) -> None:
    """A write whose caller is cancelled while another commit runs is never made."""
    held = Held()
    await store.add(site(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.change, "site-0001", held)
        await trio.to_thread.run_sync(held.entered.wait)
        with trio.move_on_after(0.01) as scope:
            await store.add(site(2))
        held.go_on.set()
    assert scope.cancelled_caught
    await store.add(site(3))
    assert [oxd_id for oxd_id, _ in await store.list()] == ["site-0001", "site-0003"]


async def test_cancelled_leader_finishes_what_it_carries(store: FileStore) -> None:
    """When the caller that commits for others is cancelled, the commit that it has begun is finished."""
    held = Held()
    scope = trio.CancelScope()

    async def lead() -> None:
        with scope:
            await store.change("site-0001", held)

    await store.add(site(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lead)
        await trio.to_thread.run_sync(held.entered.wait)
        scope.cancel()
        nursery.start_soon(store.add, site(2))
        held.go_on.set()
    assert await store.get("site-0001") == site(1, client=ClientMetadata(client_name="kept"))
    assert await store.get("site-0002") == site(2)


async def test_where_no_thread_can_be_started_nobody_hangs(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader without a thread fails alone; the next one commits what it would have carried."""
    run_sync = trio.to_thread.run_sync

    async def once_not(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
        await trio.testing.wait_all_tasks_blocked()
        raise RuntimeError("can't start new thread")

    async def add(number: int) -> None:
        try:
            await store.add(site(number))
        except RuntimeError:
            failed.append(f"site-{number:04d}")

    failed: list[str] = []
    monkeypatch.setattr(trio.to_thread, "run_sync", once_not)
    async with trio.open_nursery() as nursery:
        for number in (1, 2):
            nursery.start_soon(add, number)
    assert len(failed) == 1
    assert sorted([*failed, *(oxd_id for oxd_id, _ in await store.list())]) == ["site-0001", "site-0002"]


async def test_reading_goes_on_during_a_commit(store: FileStore) -> None:
    """While a commit is under way reads are answered, from the cache and from the file, with what was before."""
    held = Held()
    await store.add(site(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.change, "site-0001", held)
        await trio.to_thread.run_sync(held.entered.wait)
        assert await store.get("site-0001") == site(1)
        assert await store.list() == [("site-0001", "")]
        held.go_on.set()
    assert await store.list() == [("site-0001", "kept")]


async def test_closed_store_says_so(path: Path) -> None:
    """After closing, every call fails clearly instead of hanging; closing leaves one file behind."""
    async with open_file_store(path) as store:
        await store.add(site(1))
    for call in (lambda: store.get("site-0001"), lambda: store.add(site(2)), store.list):
        with pytest.raises(StoreError, match="closed"):
            await call()
    assert [file.name for file in path.parent.iterdir()] == ["oxd.sqlite"]


async def test_closing_finishes_waiting_writes(path: Path) -> None:
    """Writes that wait when the store is closed are made and acknowledged."""
    done = []

    async def write(store: FileStore, number: int) -> None:
        await store.add(site(number))
        done.append(number)

    held = Held()
    async with trio.open_nursery() as nursery, open_file_store(path) as store:
        await store.add(site(100))
        nursery.start_soon(store.change, "site-0100", held)
        await trio.to_thread.run_sync(held.entered.wait)
        for number in range(10):
            nursery.start_soon(write, store, number)
        await trio.testing.wait_all_tasks_blocked()
        held.go_on.set()
    assert sorted(done) == list(range(10))
    async with open_file_store(path) as store:
        assert len(await store.list()) == 11


async def test_errors_of_the_body_come_out_as_they_are(path: Path) -> None:
    """An exception inside the block that opened the store is not wrapped."""
    with pytest.raises(KeyError):
        async with open_file_store(path):
            raise KeyError("mine")


async def test_issued_tokens_outlive_the_process_and_go_when_they_have_expired(path: Path) -> None:
    """What is known of a token is there after a restart, and its row is deleted some time after its end."""
    token = Kept(hash=b"1", what=Login(oxd_id="site-0001", subject="u", nonce="n", azp=True), expires_at=100.0)
    async with open_file_store(path) as store:
        await store.add(site(1))
        await store.change_session("site-0001", lambda session: session, keep=(token,), now=1.0)
    async with open_file_store(path) as store:
        assert await store.kept(token.hash, 2.0, Login) == token.what
        later = msgspec.structs.replace(token, hash=b"2", expires_at=900.0)
        await store.change_session("site-0001", lambda session: session, keep=(later,), now=200.0)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT hash FROM issued").fetchall() == [(later.hash,)]


@pytest.mark.parametrize("query", [database.read_setup_clients, database.read_sites_of_client])
async def test_setup_clients_are_looked_up_in_an_index(path: Path, query: Callable[..., Any]) -> None:
    """No look-up of clients goes through all the rows, and the order of the setup clients needs no sorting."""
    plans: list[str] = []

    class Explaining(sqlite3.Connection):
        def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
            plans.extend(row[3] for row in super().execute(f"EXPLAIN QUERY PLAN {sql}", values))
            return super().execute(sql, values)

    async with open_file_store(path) as store:
        await store.add(site(1))
    with contextlib.closing(sqlite3.connect(path, factory=Explaining)) as connection:
        arguments = ("https://op.example.org", 3) if query is database.read_setup_clients else ("https://op", "c", 3)
        query(connection, *arguments)
    assert all(plan.startswith("SEARCH site USING INDEX") or "TEMP B-TREE" in plan for plan in plans), plans
    assert not any("TEMP B-TREE" in plan for plan in plans) or query is database.read_sites_of_client


async def test_purged_table_stays_small(store: FileStore, path: Path) -> None:
    """Expired used values are deleted by the writes that follow."""
    for number in range(200):
        await store.spend(b"%d" % number, number * 60 + 10.0, number * 60.0)
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM spent").fetchone()
    connection.close()
    assert count <= 20


WRITER = """
import sys, trio
from pathlib import Path
from oxd_server.store import Site, open_file_store

async def add(store, number):
    while True:
        await store.add(Site(oxd_id=str(number), op_host="https://op"))
        print(number, flush=True)
        number += 8

async def main():
    async with open_file_store(Path(sys.argv[1])) as store, trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(add, store, number + int(sys.argv[2]))

trio.run(main)
"""


def test_killed_writer_loses_nothing_acknowledged(path: Path) -> None:
    """After kill -9 in mid-write, again and again, every acknowledged site is in the store, and it opens as it is."""
    acknowledged = set()
    for round_number in range(5):
        command = [sys.executable, "-c", WRITER, str(path), str(round_number * 1_000_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(20 + 7 * round_number):
                acknowledged.add(writer.stdout.readline().decode().strip())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().decode()
            acknowledged.update(rest[: rest.rfind("\n") + 1].split())

        async def stored() -> set[str]:
            async with open_file_store(path) as store:
                return {oxd_id for oxd_id, _ in await store.list()}

        assert trio.run(stored) >= acknowledged
    assert len(acknowledged) >= 20 * 5
