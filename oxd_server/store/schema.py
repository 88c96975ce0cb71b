"""The SQLite file itself: its tables, and how it is made, opened and checked.

Everything here blocks and is called in worker threads. Opening brings the tables of an earlier version up to date, in
one transaction. It never repairs or empties a file that it does not understand: it raises `StoreError` and leaves the
file as it is.
"""

import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from oxd_server.store.base import StoreError
from oxd_server.store.migration import migrate_sites

__all__ = ["CLIENT_ID", "REGISTERED_FROM", "check_version", "connect", "has_this_schema", "open_database"]

_APPLICATION_ID = 0x6F786421  # "oxd!": tells our files from those of others
_SCHEMA_VERSION = 2
_SCHEMA = (
    """CREATE TABLE site (
        oxd_id TEXT PRIMARY KEY, op_host TEXT NOT NULL, client_name TEXT NOT NULL,
        is_setup_client INTEGER NOT NULL, document TEXT NOT NULL)""",
    "CREATE INDEX site_setup_client ON site (op_host) WHERE is_setup_client",
    "CREATE TABLE site_session (oxd_id TEXT PRIMARY KEY, json TEXT NOT NULL)",
    "CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    "CREATE TABLE spent (token BLOB PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX spent_expires_at ON spent (expires_at)",
    # One row: the latest expiry of a used value that was forgotten.
    "CREATE TABLE forgotten (until REAL NOT NULL)",
    "INSERT INTO forgotten VALUES (0)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
# What came later: an older version does not miss it, so that the schema keeps its number. A row that is no JSON, which
# nothing here has written, must not keep the others from being found. SQLite uses an index for the same words only.
CLIENT_ID = "CASE WHEN json_valid(document) THEN json_extract(document, '$.client_id') END"
REGISTERED_FROM = "CASE WHEN json_valid(document) THEN json_extract(document, '$.registered_from') END"
# The column `login` has all that is kept under hashes: at first that was logins only.
_ADDED = (
    """CREATE TABLE IF NOT EXISTS issued (
        hash BLOB PRIMARY KEY, oxd_id TEXT NOT NULL, place INTEGER NOT NULL, login TEXT NOT NULL,
        expires_at REAL NOT NULL) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX IF NOT EXISTS issued_place ON issued (oxd_id, place)",
    "CREATE INDEX IF NOT EXISTS issued_expires_at ON issued (expires_at)",
    f"CREATE INDEX IF NOT EXISTS site_client ON site (op_host, {CLIENT_ID})",
    f"CREATE INDEX IF NOT EXISTS site_registered_from ON site ({REGISTERED_FROM}) WHERE {REGISTERED_FROM} NOTNULL",
)


def open_database(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open the file at `path` for writing; make it, readable by its owner only, if it is not there.

    `busy_timeout` (seconds) is how long a statement waits for another process's lock.
    Raises `StoreError` if the file cannot be made or written, is damaged, or is not for this version.
    """
    try:
        _prepare_file(path)
        connection = connect(path, busy_timeout)
        try:
            _check_and_create(connection)
        except (StoreError, sqlite3.Error):
            connection.close()
            raise
    except StoreError as error:
        raise StoreError(f"the store {path} {error}; nothing was changed in it") from None
    except sqlite3.OperationalError as error:
        raise StoreError(f"the store {path} cannot be written: {error}") from None
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"the store {path} is damaged: {error}; nothing was changed in it: "
            "restore it from a backup, or move it away to start with an empty one"
        ) from None
    except OSError as error:
        raise StoreError(f"the store {path} cannot be used: {error.strerror}") from None
    return connection


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """One more connection to a file that is there. It may move between threads, one at a time."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,  # transactions are begun and ended here, never behind our back
        check_same_thread=False,
    )
    # FULL: a commit returns when it is on disk, which is what an acknowledged write means.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _prepare_file(path: Path) -> None:
    """Make folder and file private before SQLite sees them: its -wal and -shm files take over the mode."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True)
    files = (path, Path(f"{path}-wal"), Path(f"{path}-shm"))
    _check_place(path.parent, files)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    for file in files:
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def _check_place(folder: Path, files: Sequence[Path]) -> None:
    """Check that nobody else can put another file in the store's place. Raises `StoreError`."""
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise StoreError("lies in a folder that everybody may write to; chmod o-w it, or name a folder in it")
    for file in files:
        if file.is_symlink():
            raise StoreError(f"is not opened: {file.name} is a symbolic link; name the file that it leads to")
        if file.exists() and file.stat().st_uid not in (0, os.geteuid()):
            raise StoreError(f"is not opened: {file.name} belongs to another user")


def _check_and_create(connection: sqlite3.Connection) -> None:
    check_version(connection)
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise StoreError("lies on a file system without shared memory, which it needs")
    connection.execute("BEGIN IMMEDIATE")
    version = check_version(connection)  # once more, now that nobody else can come first
    if version == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
    elif version == 1:
        migrate_sites(connection)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    for statement in _ADDED:
        connection.execute(statement)
    connection.execute("COMMIT")


def has_this_schema(path: Path) -> bool:
    """Whether the tables in the file are as this version makes them, or there are none. Raises `StoreError`."""
    if not path.exists():
        return True
    with closing(connect(path, 1.0)) as connection:
        return check_version(connection) in (0, _SCHEMA_VERSION)


def check_version(connection: sqlite3.Connection) -> int:
    """The version of our tables in the file; 0 if it is empty. Raises `StoreError` if it is neither."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == 0 and version == 0 and tables == 0:
        return 0
    if application_id != _APPLICATION_ID:
        raise StoreError("is a database of another application")
    if version > _SCHEMA_VERSION:
        raise StoreError(f"was written by a newer version (schema {version}, this one knows {_SCHEMA_VERSION})")
    return int(version)
