"""A store in one SQLite file: a bounded cache for reading, group commit for writing.

Theory of operation. A commit waits for the disk, for milliseconds. A write costs next to nothing beside it. So writes
share commits:

- A task that wants to write puts its write into the line (`_waiting`). If no commit is under way, it is the leader.
- The leader lets those join who have written last. It takes the whole line as its batch and commits it in one
  transaction. Writes that arrive meanwhile form the next line.
- The leader gives every write of the batch its outcome, and wakes all who wait. Those of the batch find their outcome
  and go. The first of the others leads the next batch. One writer pays for one commit; sixty-four share two.

Four rules keep this correct:

- A write changes the row as it is on disk, inside the transaction, never the cached copy. So other processes may
  write to the same file, and two changes of one site never undo each other.
- A write is acknowledged after the commit that carries it. The cache learns of committed versions only, in the order
  of the commits: the leader publishes before the next one begins.
- Nobody hangs when a task is cancelled. A write that still stands in the line leaves it. A leader cannot be cancelled
  during its commit, for it carries the writes of others.
- A commit that fails (a full disk, a lock of another process) fails the writes of its batch and nothing else.
  Reading goes on, and the next leader tries afresh.

The event loop never waits for the disk: every statement runs in a worker thread, but for one that reads a number from
shared memory.

No read is older than an acknowledged write, whichever process wrote it:

- Whoever commits replaces the commit mark (see `commit_mark`) after the commit and before anybody hears of it.
- Before a cached value is believed, the mark is compared with the one that was seen last. Is it another one, then it is
  taken for seen first, the cache is emptied second, and the value is read from the disk third.
- So a value in the cache was read after the mark that was seen last. If a write was acknowledged before we look, its
  mark is there, or a later one. It is the one that was seen last only if that was seen after the commit: then the value
  was read after the commit as well. A value that was on its way meanwhile is not kept (see `ValueCache`).

A commit of our own replaces the mark as well, and must not empty the cache. So its thread looks at the mark after the
commit, and then asks the writer whether others have committed since it was asked last. The mark that it saw is taken
for seen when the leader publishes; until then the mark is another one, and reading goes to the disk. What others
committed before the look, the writer tells: the cache is emptied. What they commit after it replaces that mark.

What was committed without a mark, by a process that died before it could acknowledge it or by a foreign program, is
noticed after `watch_interval` at the latest: SQLite is asked as well (see `Watch`).

A file that was deleted or replaced under the store, the mark included, is noticed (see `place`): before a commit, so
that the new file is left alone, and after it, so that nothing is acknowledged that will be lost.
"""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import trio

from oxd_server.store import database, schema
from oxd_server.store.base import (
    ChangeSession,
    ChangeSite,
    K,
    Kept,
    Site,
    SiteNames,
    Sites,
    SiteSession,
    StoreError,
    StoreUnavailable,
)
from oxd_server.store.cache import ValueCache
from oxd_server.store.commit_mark import CommitMark
from oxd_server.store.place import Place
from oxd_server.store.watch import Seen, Watch, data_version
from oxd_server.store.write import Apply, Write
from oxd_server.sync.locks import KeyedLocks
from oxd_server.sync.threads import Threads

__all__ = ["FileStore", "open_file_store"]

T = TypeVar("T")
_READERS = 4
_NAMES_PER_PAGE = 1000
_MOST_TURNS = 64


@asynccontextmanager
async def open_file_store(
    path: Path,
    *,
    cache_size: int = 10_000,
    max_waiting: int = 1000,
    busy_timeout: float = 5.0,
    watch_interval: float = 0.0,
) -> AsyncIterator["FileStore"]:
    """The store in the file at `path`, which is made (mode 0600, its folder 0700) if it is not there.

    `cache_size` bounds the cached sites, and likewise the sessions; `max_waiting` bounds the writes that share a
    commit (more wait for their turn); `busy_timeout` (seconds) is how long other processes' locks are waited for;
    `watch_interval` (seconds), how long what foreign programs commit may go unnoticed.
    Raises `StoreError` if the file cannot be used; then it is left as it is. On the way out, waiting writes finish.
    """
    writer = await trio.to_thread.run_sync(schema.open_database, path, busy_timeout)
    mark = await trio.to_thread.run_sync(_open_mark, path)
    place = await trio.to_thread.run_sync(Place, path)
    watch = await trio.to_thread.run_sync(Watch, mark, partial(schema.connect, path, 0), watch_interval)
    store = FileStore(writer, place, watch, partial(schema.connect, path, busy_timeout), cache_size, max_waiting)
    try:
        yield store
    finally:
        await store.aclose()


def _open_mark(path: Path) -> CommitMark:
    try:
        return CommitMark(path)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be used: its commit mark: {error.strerror}") from None


def _cannot_be_written(error: Exception) -> StoreError:
    return StoreError(f"the store cannot be written: {error}")


class FileStore:
    """A `Store` in a SQLite file. Made by `open_file_store`; `commits` counts the transactions so far."""

    locks: KeyedLocks | None = None

    def __init__(
        self,
        writer: sqlite3.Connection,
        place: Place,
        watch: Watch,
        connect: Callable[[], sqlite3.Connection],
        cache_size: int,
        max_waiting: int,
    ) -> None:
        self.commits = 0
        self._sites = ValueCache[Site](cache_size)
        self._sessions = ValueCache[SiteSession](cache_size)
        self._writer = writer
        self._writer_version = data_version(writer)
        self._place = place
        self._watch = watch
        self._written = trio.Event()  # since the log was folded into the file
        self._written.set()
        self._waiting: dict[Write[Any], None] = {}  # in order of arrival
        self._most_in_batch = max_waiting
        self._last_batch = 0
        self._commit_under_way = False
        self._commit_ended = trio.lowlevel.ParkingLot()
        self._write_thread = Threads(1)
        self._connect = connect
        self._idle_readers: list[sqlite3.Connection] = []
        self._read_threads = Threads(_READERS)
        self._closed = False

    @property
    def cache_bytes(self) -> Mapping[str, int]:
        return {"sites": self._sites.bytes, "sessions": self._sessions.bytes}

    def cached(self, oxd_id: str) -> Site | None:
        return self._sites.get(oxd_id) if self._may_believe() else None

    async def get(self, oxd_id: str) -> Site | None:
        return await self._cached(self._sites, self._read_site, oxd_id)

    async def session(self, oxd_id: str) -> SiteSession:
        return await self._cached(self._sessions, self._read_session, oxd_id) or SiteSession()

    async def add(self, site: Site) -> None:
        publish = partial(self._sites.publish, site.oxd_id)
        await self._write(lambda connection: database.add_site(connection, site), publish)

    async def add_all(self, sites: Sequence[tuple[Site, SiteSession]], once: str | None = None) -> Sequence[str] | None:
        return await self._write(lambda connection: database.add_sites(connection, sites, once))

    async def change(self, oxd_id: str, change: ChangeSite) -> Site:
        publish = partial(self._sites.publish, oxd_id)
        return await self._write(lambda connection: database.change_site(connection, oxd_id, change), publish)

    async def change_session(
        self, oxd_id: str, change: ChangeSession, *, keep: Sequence[Kept] = (), now: float = 0.0
    ) -> SiteSession:
        publish = partial(self._sessions.publish, oxd_id)
        return await self._write(
            lambda connection: database.change_session(connection, oxd_id, change, keep, now), publish
        )

    async def kept(self, under: bytes, now: float, kind: type[K]) -> K | None:
        return await self._read(database.read_kept, under, now, kind)

    async def remove(self, oxd_id: str) -> Site:
        def publish(_: Site) -> None:
            self._sites.publish(oxd_id, None)
            self._sessions.publish(oxd_id, None)

        return await self._write(lambda connection: database.remove_site(connection, oxd_id), publish)

    async def setup_clients(self, op_host: str, limit: int) -> Sites:
        return await self._read(database.read_setup_clients, op_host, limit)

    async def sites_of_client(self, op_host: str, client_id: str, limit: int) -> Sites:
        return await self._read(database.read_sites_of_client, op_host, client_id, limit)

    async def count_registered(self, registered_from: str | None, limit: int) -> int:
        return await self._read(database.count_registered, registered_from, limit)

    async def count(self) -> int:
        return await self._read(database.count)

    async def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        kept = await self._read(database.read_secret, name)
        if kept is not None:
            return kept
        made = await trio.to_thread.run_sync(make)
        return await self._write(lambda connection: database.keep_secret(connection, name, made))

    async def spend(self, token: bytes, expires_at: float, now: float) -> bool:
        return await self._write(lambda connection: database.spend(connection, token, expires_at, now))

    async def renew_secret(self, name: str, make: Callable[[], bytes], now: float) -> bytes:
        made = await trio.to_thread.run_sync(make)
        return await self._write(lambda connection: database.renew_secret(connection, name, made, now))

    async def unspend(self, token: bytes) -> None:
        await self._write(lambda connection: database.unspend(connection, token))

    async def list(self) -> SiteNames:
        names: SiteNames = []
        while page := await self._read(database.read_names, names[-1][0] if names else None, _NAMES_PER_PAGE):
            names += page
        return names

    async def fold_when_idle(self, idle: float = 0.25) -> None:
        """Fold the write-ahead log into the file when nothing was written for `idle` seconds; until it is cancelled.

        So a plain copy of the file of a server at rest is a store with all that it has acknowledged.
        """
        while True:
            await self._written.wait()
            commits = self.commits
            await trio.sleep(idle)
            if commits == self.commits:
                self._written = trio.Event()
                if not await self._write_thread.run(self._fold):
                    self._written.set()  # another process reads what would be overwritten: later

    def _fold(self) -> bool:
        with suppress(sqlite3.Error):
            _, pages, folded = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()  # never waits
            return bool(pages == folded)
        return False

    async def aclose(self) -> None:
        """Finish the waiting writes, then close the file. Every later call raises `StoreError`."""
        with trio.CancelScope(shield=True):
            self._closed = True
            while self._waiting or self._commit_under_way:
                await self._take_part()
            connections = [*self._idle_readers, self._watch.connection, self._writer]
            self._idle_readers.clear()
            for connection in connections:  # the last one folds the write-ahead log back into the file
                await trio.to_thread.run_sync(connection.close)
            await trio.to_thread.run_sync(self._watch.mark.close)

    async def _cached(self, cache: ValueCache[T], read: Callable[[str], Awaitable[T | None]], oxd_id: str) -> T | None:
        """From the cache, if it may be believed, else from the disk.

        A value that is there is returned without a checkpoint: a command has plenty around it.
        """
        if not self._may_believe():
            if self._commit_under_way:  # was it ours? `_commit_waiting` finds out; until then only the disk knows
                return await read(oxd_id)
            self._watch.accept(self._watch.look())
            self._clear()
        value = cache.get(oxd_id)
        if value is not None:
            return value
        stamp = cache.stamp(oxd_id)
        value = await read(oxd_id)
        if value is not None:
            cache.fill(oxd_id, value, stamp)
        return value

    async def _read_session(self, oxd_id: str) -> SiteSession:
        return await self._read(database.read_session, oxd_id)

    async def _read_site(self, oxd_id: str) -> Site | None:
        """From the disk, with its session, which is often asked for next: a second visit would cost as much again."""
        stamp = self._sessions.stamp(oxd_id)
        site, session = await self._read(database.read_site_and_session, oxd_id)
        if session is not None:
            self._sessions.fill(oxd_id, session, stamp)
        return site

    def _may_believe(self) -> bool:
        """The one place that decides whether cached values may be believed."""
        if self._closed:
            self._check_open()
        now = time.monotonic()
        if now >= self._place.believed_until:
            self._place.look(now)
        return not self._watch.changed(now)

    def _clear(self) -> None:
        self._sites.clear()
        self._sessions.clear()

    async def _read(self, query: Callable[..., T], *arguments: object) -> T:
        self._check_open()
        return await self._read_threads.run(self._read_in_thread, query, arguments)

    def _read_in_thread(self, query: Callable[..., T], arguments: tuple[object, ...]) -> T:
        try:
            self._place.check()
            connection = self._reader()
            try:
                return query(connection, *arguments)
            finally:
                self._put_back(connection)
        except sqlite3.Error as error:
            raise StoreError(f"the store cannot be read: {error}") from None
        except UnicodeEncodeError:  # a lone surrogate: no such text can ever have been stored
            raise StoreError("the store cannot look up a text that is not valid Unicode") from None

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._idle_readers.pop()  # atomic: several threads come here
        except IndexError:
            return self._connect()

    def _put_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle_readers.append(connection)

    async def _write(self, apply: Apply[T], publish: Callable[[T], None] = lambda _: None) -> T:
        """Apply, commit, publish. A caller that is cancelled withdraws a write that no commit has picked up yet."""
        write = Write(apply, publish)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        self._waiting[write] = None
        try:
            while not write.done:
                await self._take_part()
        finally:
            self._waiting.pop(write, None)
        return write.outcome()

    async def _take_part(self) -> None:
        """Lead the next commit, or wait until the one that is under way has ended."""
        if self._commit_under_way:
            await self._commit_ended.park()
        else:
            await self._commit_waiting()

    async def _commit_waiting(self) -> None:
        """Commit what waits, while nobody else does: so publications come in the order of the commits."""
        self._commit_under_way = True
        try:
            await self._let_others_join()
            batch = tuple(islice(self._waiting, self._most_in_batch))
            self._last_batch = len(batch)
            # The batch carries the writes of others, who must not hang when this caller is cancelled: no thread is cut
            # short by that.
            seen, others_committed = await self._write_thread.run(self._commit, batch)
            self._written.set()
            for write in batch:
                self._waiting.pop(write, None)
                write.settle()
            if others_committed:
                self._clear()
            self._watch.accept(seen)
        finally:  # also if no thread could be started: then the writes of the others still stand in the line
            self._commit_under_way = False
            self._commit_ended.unpark_all()

    async def _let_others_join(self) -> None:
        """Give those whose writes were just committed some turns of the event loop, to come with their next ones.

        Else two groups of writers would take turns, and both would wait for the commits of both.
        """
        everybody = len(self._waiting) + self._last_batch
        for _ in range(min(self._last_batch - 1, _MOST_TURNS)):
            if len(self._waiting) >= everybody:
                return
            await trio.lowlevel.checkpoint()

    def _commit(self, batch: tuple[Write[Any], ...]) -> tuple[Seen, bool]:
        """Commit the batch. How the file was then, for the watch, and whether others had committed by then.

        The order matters: what others commit before the look, the writer notices; what comes after it, the watch.
        """
        self._write_all(batch)
        self._watch.mark.renew()  # whatever became of it
        return self._watch.look(), self._others_committed()

    def _write_all(self, batch: tuple[Write[Any], ...]) -> None:
        """One transaction for the whole batch. Never raises: every write of it has to learn its fate."""
        try:
            self._place.check()
            # IMMEDIATE: what is read in here cannot change before it is written, in no other process either.
            self._writer.execute("BEGIN IMMEDIATE")
            for write in batch:
                write.run(self._writer)
            self._writer.execute("COMMIT")
            self._place.check()
            self.commits += 1
        except Exception as error:
            with suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            for write in batch:
                write.fail(error if isinstance(error, StoreUnavailable) else _cannot_be_written(error))

    def _others_committed(self) -> bool:
        """Whether other processes have committed since this was last asked."""
        before, self._writer_version = self._writer_version, data_version(self._writer)
        return self._writer_version is None or self._writer_version != before

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
