"""Backups of a store file: a consistent copy of it, made while servers run on it, and the way back.

A backup is a store file itself, with one more table that holds the number of its rows and a hash over all of them.
So a damaged byte is found before anything is restored.

A restored store has new secrets of its own. The states that were spent since the backup are not known to it, so no
state from before may be good again.

Everything here blocks: call it in a worker thread.
"""

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from oxd_server.store.base import DONE, StoreError
from oxd_server.store.schema import check_version, connect, open_database

__all__ = ["Content", "back_up", "restore"]

_TABLES: Final = ("site", "site_session", "secret", "spent", "forgotten", "issued")
_WITHOUT_ROWID: Final = ("spent", "issued")
_BUSY_SECONDS: Final = 5.0


class Content(NamedTuple):
    """What a store holds: its sites, all its rows, and the SHA-256 over them in hexadecimal digits."""

    sites: int
    rows: int
    sha256: str


def back_up(store: Path, target: Path, *, replace: bool) -> Content:
    """Write a copy of the store as it is now to ``target``, mode 0600, and return what it holds.

    Args:
        store: the store's file; servers may run on it.
        target: where the backup goes. It is there as a whole, or not at all.
        replace: whether a file that is there may be replaced.

    Raises:
        StoreError: there is no store, a file is in the way, or the copy cannot be written or is not what was read.
    """
    if not store.exists():
        raise StoreError(f"there is no store at {store}")
    if not replace and os.path.lexists(target):
        raise StoreError(f"{target} is there already; --replace replaces it")
    with closing(open_database(store, _BUSY_SECONDS)) as source, _part_beside(target) as part:
        try:
            content = _copy(source, part)
        except sqlite3.Error as error:
            raise StoreError(f"the backup {target} cannot be written: {error}") from None
        try:
            (os.replace if replace else os.link)(part, target)
        except FileExistsError:  # since we looked
            raise StoreError(f"{target} is there already; --replace replaces it") from None
        _sync(target.parent)
    return content


def restore(backup: Path, store: Path, *, replace: bool) -> Content:
    """Put what the backup holds in the place of what the store holds, all or nothing; return what was restored.

    Args:
        backup: a file that ``back_up`` wrote, of this or an earlier version.
        store: the store's file, made if it is not there.
        replace: whether the sites of a store that is not empty may be lost.

    Raises:
        StoreError: the backup is damaged or none, the store has sites, or a server runs on it.
    """
    with _part_beside(store) as part:
        _take(backup, part)  # what is checked is what is restored, whoever changes the backup meanwhile
        content = _checked(part, backup)
        try:
            open_database(part, _BUSY_SECONDS).close()  # brings the tables up to date
            with closing(open_database(store, _BUSY_SECONDS)) as connection:
                _lock_out_servers(connection, store)
                _put_in_place(connection, part, store, replace=replace)
        except sqlite3.Error as error:
            raise StoreError(f"the store {store} cannot be restored: {error}; nothing was changed in it") from None
    return content


@contextmanager
def _part_beside(target: Path) -> Iterator[Path]:
    """Yield a private, empty file in the folder of ``target``; it is gone afterwards."""
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        os.close(number)
        try:
            yield Path(name)
        finally:
            for ending in ("", "-wal", "-shm", "-journal"):
                with suppress(OSError):
                    os.unlink(f"{name}{ending}")
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from None


def _sync(path: Path) -> None:
    """Return when the file, or which files are in the folder, is on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _copy(source: sqlite3.Connection, part: Path) -> Content:
    """Copy what ``source`` holds at one moment; read it again from the copy. Writers are not held up."""
    source.execute("BEGIN")  # from the first read on, this connection sees one state of the store
    content = _content(source)
    with closing(connect(part, _BUSY_SECONDS)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # the copy is one file, whole without a -wal beside it
        if _content(target) != content:
            raise StoreError("the backup does not hold what was read from the store; is the disk damaged?")
        target.execute("CREATE TABLE IF NOT EXISTS backup (sites, rows, sha256)")
        target.execute("DELETE FROM backup")
        target.execute("INSERT INTO backup VALUES (?, ?, ?)", content)
    _sync(part)
    return content


def _content(connection: sqlite3.Connection) -> Content:
    digest = hashlib.sha256()
    counts = {}
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in _TABLES:
        counts[table] = 0
        rows = connection.execute(f"SELECT * FROM {table} ORDER BY 1") if table in known else ()  # noqa: S608
        for row in rows:
            digest.update(f"{table}{row!r}\n".encode())
            counts[table] += 1
    return Content(counts["site"], sum(counts.values()), digest.hexdigest())


def _take(backup: Path, part: Path) -> None:
    try:
        with backup.open("rb") as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise StoreError(f"{backup} cannot be read: {error.strerror}; nothing was restored") from None


def _checked(part: Path, backup: Path) -> Content:
    """Return what the copy of the backup holds, once it is certain that it is whole. Raises ``StoreError``."""
    try:
        with closing(sqlite3.connect(f"{part.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            if check_version(connection) == 0 or not connection.execute("PRAGMA table_info(backup)").fetchone():
                raise StoreError("is no backup")
            said = Content(*connection.execute("SELECT sites, rows, sha256 FROM backup").fetchone())
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok" or _content(connection) != said:
                raise StoreError("is damaged")
    except StoreError as error:
        raise StoreError(f"{backup} {error}; nothing was restored") from None
    except (sqlite3.Error, TypeError, ValueError):
        raise StoreError(f"{backup} is damaged, or no backup; nothing was restored") from None
    return said


def _lock_out_servers(connection: sqlite3.Connection, store: Path) -> None:
    """Take the file for this connection alone. A server that kept the old secrets in memory would undo the restoring.

    Whoever has the file open in WAL mode holds a lock on it, and then the mode cannot be changed.
    """
    connection.execute("PRAGMA busy_timeout = 100")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError:
        raise StoreError(f"a server runs on the store {store}: stop it first; nothing was changed") from None


def _put_in_place(connection: sqlite3.Connection, part: Path, store: Path, *, replace: bool) -> None:
    connection.execute("ATTACH ? AS backup_file", (str(part),))
    with connection:  # commits, or rolls back
        connection.execute("BEGIN IMMEDIATE")
        (sites,) = connection.execute("SELECT count(*) FROM main.site").fetchone()
        if sites and not replace:
            raise StoreError(f"the store {store} has sites ({sites}); --replace replaces them; nothing was changed")
        for table in _TABLES:
            # Rows keep their order: the newest site is the last one.
            order = "" if table in _WITHOUT_ROWID else "ORDER BY rowid"
            connection.execute(f"DELETE FROM main.{table}")  # noqa: S608
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM backup_file.{table} {order}")  # noqa: S608
        connection.execute("DELETE FROM main.secret WHERE value <> ?", (DONE,))
