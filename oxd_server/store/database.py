"""What is read from and written to the tables of a store file, which `schema` describes.

Everything here blocks and is called in worker threads.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

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
    StoreError,
    changed_site,
    with_count,
)
from oxd_server.store.schema import CLIENT_ID, REGISTERED_FROM

__all__ = [
    "add_site",
    "add_sites",
    "change_session",
    "change_site",
    "count_registered",
    "in_savepoint",
    "keep_secret",
    "read_kept",
    "read_names",
    "read_secret",
    "read_session",
    "read_setup_clients",
    "read_site",
    "read_site_and_session",
    "read_sites_of_client",
    "remove_site",
    "renew_secret",
    "spend",
    "unspend",
    "write_session",
]

# More than one, so that the table shrinks; few, so that no single write pays for a long pause.
_PURGED_AT_ONCE = 8

T = TypeVar("T")
_site_decoder = msgspec.json.Decoder(Site)
_session_decoder = msgspec.json.Decoder(SiteSession)


def read_site(connection: sqlite3.Connection, oxd_id: str) -> Site | None:
    """The site, or None. Raises `StoreError` if its row cannot be read."""
    row = connection.execute("SELECT document FROM site WHERE oxd_id = ?", (oxd_id,)).fetchone()
    return None if row is None else _decode(_site_decoder, row[0], oxd_id)


def read_session(connection: sqlite3.Connection, oxd_id: str) -> SiteSession:
    """The site's session, an empty one if there is none. Raises `StoreError` if its row cannot be read."""
    row = connection.execute("SELECT json FROM site_session WHERE oxd_id = ?", (oxd_id,)).fetchone()
    return SiteSession() if row is None else _decode(_session_decoder, row[0], oxd_id)


def read_site_and_session(connection: sqlite3.Connection, oxd_id: str) -> tuple[Site | None, SiteSession | None]:
    """The site, and its session unless that cannot be read. Raises `StoreError` if the site's row cannot be read."""
    site, session = read_site(connection, oxd_id), None
    if site is not None:
        with suppress(StoreError):  # whoever needs it is told when asking for it
            session = read_session(connection, oxd_id)
    return site, session


def _decode(decoder: "msgspec.json.Decoder[T]", text: str, oxd_id: str) -> T:
    try:
        return decoder.decode(text)
    except msgspec.MsgspecError:  # its text may quote what it read, which may be a secret
        raise StoreError(f"the stored site {oxd_id!r} is damaged") from None


def read_setup_clients(connection: sqlite3.Connection, op_host: str, limit: int) -> Sites:
    """The newest setup clients at this `op_host`, the newest first."""
    rows = connection.execute(
        "SELECT document, oxd_id FROM site WHERE op_host = ? AND is_setup_client ORDER BY rowid DESC LIMIT ?",
        (op_host, limit),
    )
    return [_decode(_site_decoder, text, oxd_id) for text, oxd_id in rows]


def read_sites_of_client(connection: sqlite3.Connection, op_host: str, client_id: str, limit: int) -> Sites:
    """The newest sites with this client at this `op_host`, setup clients before all others."""
    rows = connection.execute(
        f"SELECT document, oxd_id FROM site WHERE op_host = ? AND {CLIENT_ID} = ?"  # noqa: S608
        " ORDER BY is_setup_client DESC, rowid DESC LIMIT ?",
        (op_host, client_id, limit),
    )
    return [_decode(_site_decoder, text, oxd_id) for text, oxd_id in rows]


def count_registered(connection: sqlite3.Connection, registered_from: str | None, limit: int) -> int:
    """How many sites came from there without a token, or from anywhere; no more than `limit` are looked at."""
    condition, values = ("", (limit,)) if registered_from is None else ("AND {0} = ?", (registered_from, limit))
    found = f"SELECT 1 FROM site WHERE {{0}} NOTNULL {condition} LIMIT ?".format(REGISTERED_FROM)  # noqa: S608
    (count,) = connection.execute(f"SELECT count(*) FROM ({found})", values).fetchone()  # noqa: S608
    return int(count)


def count(connection: sqlite3.Connection) -> int:
    """How many sites there are."""
    (sites,) = connection.execute("SELECT count(*) FROM site").fetchone()
    return int(sites)


def read_kept(connection: sqlite3.Connection, under: bytes, now: float, kind: type[K]) -> K | None:
    """What of this kind is kept under the hash, or None."""
    row = connection.execute(
        "SELECT login, oxd_id FROM issued WHERE hash = ? AND expires_at > ?", (under, now)
    ).fetchone()
    return None if row is None else _decode(msgspec.json.Decoder(kind), row[0], row[1])


def read_names(connection: sqlite3.Connection, after: str | None, limit: int) -> SiteNames:
    """The next `limit` pairs of oxd_id and client name, in the order of oxd_id; from the start for None."""
    condition, values = ("", (limit,)) if after is None else ("WHERE oxd_id > ?", (after, limit))
    query = f"SELECT oxd_id, client_name FROM site {condition} ORDER BY oxd_id LIMIT ?"  # noqa: S608
    return connection.execute(query, values).fetchall()


def read_secret(connection: sqlite3.Connection, name: str) -> bytes | None:
    """The server's own secret of this name, or None."""
    row = connection.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def add_site(connection: sqlite3.Connection, site: Site) -> Site:
    """Insert a site. Raises `SiteExists`."""
    added = connection.execute(
        "INSERT INTO site (op_host, client_name, is_setup_client, document, oxd_id) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        _row(site),
    )
    if added.rowcount == 0:
        raise SiteExists(site.oxd_id)
    return site


def add_sites(
    connection: sqlite3.Connection, sites: Sequence[tuple[Site, SiteSession]], once: str | None
) -> list[str] | None:
    """Insert the sites that are new; the oxd_ids of the others. None, and no change, if ``once`` was done before."""
    if once is not None:
        marked = connection.execute(
            "INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (once, DONE)
        )
        if marked.rowcount == 0:
            return None
    taken = []
    for site, session in sites:
        try:
            add_site(connection, site)
        except SiteExists:
            taken.append(site.oxd_id)
        else:
            write_session(connection, site.oxd_id, session)
    return taken


def change_site(connection: sqlite3.Connection, oxd_id: str, change: ChangeSite) -> Site:
    """Apply the change to the row as it is now. Raises `SiteNotFound`, and whatever the change raises."""
    site = changed_site(_existing(connection, oxd_id), change)
    connection.execute(
        "UPDATE site SET op_host = ?, client_name = ?, is_setup_client = ?, document = ? WHERE oxd_id = ?", _row(site)
    )
    return site


def change_session(
    connection: sqlite3.Connection,
    oxd_id: str,
    change: ChangeSession,
    keep: Sequence[Kept] = (),
    now: float = 0.0,
) -> SiteSession:
    """Apply the change to the session as it is now. Raises `SiteNotFound`, and whatever the change raises."""
    if connection.execute("SELECT 1 FROM site WHERE oxd_id = ?", (oxd_id,)).fetchone() is None:
        raise SiteNotFound(oxd_id)
    before = read_session(connection, oxd_id)
    session = with_count(change(before), before, keep)
    write_session(connection, oxd_id, session)
    if keep:
        _remember(connection, oxd_id, before.tokens_issued, keep, now)
    return session


def write_session(connection: sqlite3.Connection, oxd_id: str, session: SiteSession) -> None:
    """Put the session in the place of the one that is there."""
    connection.execute(
        "INSERT INTO site_session (oxd_id, json) VALUES (?, ?) ON CONFLICT DO UPDATE SET json = excluded.json",
        (oxd_id, msgspec.json.encode(session).decode()),
    )


def _remember(connection: sqlite3.Connection, oxd_id: str, first: int, keep: Sequence[Kept], now: float) -> None:
    """Keep these in the site's next places, instead of what lies there; forget some that have expired, of any site."""
    connection.execute(
        "DELETE FROM issued WHERE hash IN (SELECT hash FROM issued WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        (now, _PURGED_AT_ONCE),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO issued (hash, oxd_id, place, login, expires_at) VALUES (?, ?, ?, ?, ?)",
        [
            (one.hash, oxd_id, place % MAX_KEPT, msgspec.json.encode(one.what).decode(), one.expires_at)
            for place, one in enumerate(keep, first)
        ],
    )


def remove_site(connection: sqlite3.Connection, oxd_id: str) -> Site:
    """Delete the site and its session. Raises `SiteNotFound`."""
    site = _existing(connection, oxd_id)
    connection.execute("DELETE FROM site WHERE oxd_id = ?", (oxd_id,))
    connection.execute("DELETE FROM site_session WHERE oxd_id = ?", (oxd_id,))
    connection.execute("DELETE FROM issued WHERE oxd_id = ?", (oxd_id,))
    return site


def keep_secret(connection: sqlite3.Connection, name: str, value: bytes) -> bytes:
    """Keep the secret unless there is one already; the one that is kept."""
    connection.execute("INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, value))
    return read_secret(connection, name) or value


def spend(connection: sqlite3.Connection, token: bytes, expires_at: float, now: float) -> bool:
    """Insert the used value; False if it is there and has not expired. Forgets some that have. Or `ClockSetBack`."""
    if _was_set_back(connection, now):
        raise ClockSetBack
    _forget_some(connection, now - GRACE_SECONDS)
    spent = connection.execute(
        "INSERT INTO spent (token, expires_at) VALUES (?, ?) ON CONFLICT DO UPDATE"
        " SET expires_at = excluded.expires_at WHERE spent.expires_at <= ?",
        (token, expires_at, now),
    )
    return spent.rowcount == 1


def _was_set_back(connection: sqlite3.Connection, now: float) -> bool:
    (until,) = connection.execute("SELECT until FROM forgotten").fetchone()
    return bool(now < until)


def _forget_some(connection: sqlite3.Connection, before: float) -> None:
    oldest = connection.execute(
        "SELECT expires_at, token FROM spent WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
        (before, _PURGED_AT_ONCE),
    ).fetchall()
    if oldest:
        connection.executemany("DELETE FROM spent WHERE token = ?", [(token,) for _, token in oldest])
        connection.execute("UPDATE forgotten SET until = max(until, ?)", (oldest[-1][0],))


def renew_secret(connection: sqlite3.Connection, name: str, value: bytes, now: float) -> bytes:
    """Replace the secret and forget every used value, if the clock was set back; the secret that is in force."""
    if _was_set_back(connection, now):
        connection.execute("DELETE FROM secret WHERE name = ?", (name,))
        connection.execute("DELETE FROM spent")
        connection.execute("UPDATE forgotten SET until = 0")
    return keep_secret(connection, name, value)


def unspend(connection: sqlite3.Connection, token: bytes) -> None:
    """Delete the used value, if it is there."""
    connection.execute("DELETE FROM spent WHERE token = ?", (token,))


def in_savepoint(connection: sqlite3.Connection, apply: Callable[[sqlite3.Connection], T]) -> T:
    """Run one of several changes of a transaction; if it fails, it leaves nothing behind for the others."""
    connection.execute("SAVEPOINT one")
    try:
        result = apply(connection)
    except Exception:
        if connection.in_transaction:  # a full disk has already ended the transaction as a whole
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
        raise
    connection.execute("RELEASE one")
    return result


def _existing(connection: sqlite3.Connection, oxd_id: str) -> Site:
    site = read_site(connection, oxd_id)
    if site is None:
        raise SiteNotFound(oxd_id)
    return site


def _row(site: Site) -> tuple[str, str, bool, str, str]:
    text = msgspec.json.encode(site).decode()
    return site.op_host, site.client.client_name or "", site.is_setup_client, text, site.oxd_id
