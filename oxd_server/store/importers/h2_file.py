"""The old server's H2 database, read from its file: an MVStore of format 1 (H2 1.4). Pure.

How such a file is built. It is made of blocks of 4,096 bytes. Two header blocks come first, then chunks. A chunk begins
with a line of text (``chunk:..,block:..,len:..,map:..,root:..,version:..``, numbers in hexadecimal) and ends with a
footer of 128 bytes that repeats chunk and version. H2 only ever appends chunks and reuses the room of old ones. So of
the chunks whose header and footer agree, the one with the highest version says what is in the database, and one that a
killed server did not finish does not count.

Every map is a tree of pages. A position is a number: the chunk in its upper bits, the offset within the chunk below.
The root of the *meta* map stands in the chunk's header. Meta names the other maps and their roots, and the blocks where
chunks begin. The map ``table.0`` is the catalogue of tables, as SQL texts; ``table.<n>`` holds the rows of table n.

A killed server may leave a transaction open. A row that such a transaction has written bears the number of
the operation, and H2 would take it back. Until H2 1.4.197 the map ``undoLog`` has what was there before, by operation.
Later the row has it itself, and the map ``undoLog.<transaction>`` is called ``undoLog-<transaction>`` once that is
committed.
"""

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Final

import msgspec

from oxd_server.store.importers.errors import SourceError
from oxd_server.store.importers.h2_values import (
    Cursor,
    Value,
    lzf_decompress,
    read_object_number,
    read_text,
    read_value,
)

__all__ = ["looks_like_h2", "read_h2"]

_BLOCK: Final = 4096
_FOOTER: Final = 128
_HEADER: Final = 1024
_MAX_DEPTH: Final = 40
_MAX_PAGE_KEYS: Final = 1 << 20
_MAX_PAGE_BYTES: Final = 64 << 20
_NODE: Final = 1
_LZF: Final = 2
_DEFLATE: Final = 4
_TRANSACTION_SHIFT: Final = 40
_VALUE: Final = 1
_VALUE_BEFORE: Final = 2
_PAIR: Final = re.compile(r'(\w+):("(?:[^"\\]|\\.)*"|[^,]*)')
_SITES: Final = re.compile(r'CREATE (?:CACHED )?TABLE "?PUBLIC"?\."?RP"?\s*\(')

ReadKey = Callable[[Cursor], Value]
ReadValues = Callable[[Cursor, int], list["_Stored"]]


def looks_like_h2(data: bytes) -> bool:
    """Return whether this is the beginning of a database file of any version of H2."""
    return data.startswith((b"H:2", b"H2encrypt", b"-- H2 0.5"))


def read_h2(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield where each row of the sites' table stands, and the JSON text in it.

    Args:
        data: the whole file.

    Raises:
        SourceError: the file is of another version of H2, encrypted, damaged, or has no such table.
    """
    _check_format(data)
    store = _MvStore(data)
    number = store.number_of_the_sites_table()
    for key, row in store.rows(f"table.{number}"):
        where = f"the row {key} of the table RP"
        if row is None:  # removed
            continue
        if not isinstance(row, list) or len(row) < 2 or not isinstance(row[0], str) or not isinstance(row[1], str):
            raise SourceError(f"{where} holds no text where the site should be")
        if row[0] not in row[1]:
            raise SourceError(f"{where} is damaged: its site has another oxd_id than the row")
        yield where, row[1]


def _check_format(data: bytes) -> None:
    if data.startswith(b"H2encrypt"):
        raise SourceError("the database is encrypted, which the old server's never was")
    if data.startswith(b"-- H2 0.5"):
        raise SourceError("the database is a page store of H2 1.3; open it once with H2 1.4, or export it with SCRIPT")
    formats = [header.get("format") for header in map(_pairs, (data[:_BLOCK], data[_BLOCK : 2 * _BLOCK]))]
    found = next((one for one in formats if one is not None), None)
    if found is None:
        raise SourceError("the file's header is damaged")
    if found != "1":
        raise SourceError(
            f"the database has the format {found} of H2 2.x, which oxd 4.5 and later use; export it with H2's SCRIPT "
            "command and import the script"
        )


def _pairs(text: bytes) -> dict[str, str]:
    """Return the pairs of a header, a footer or an entry of the meta map."""
    line = text.split(b"\n", 1)[0].decode("latin-1")
    return {name: value.strip() for name, value in _PAIR.findall(line)}


def _hex(pairs: dict[str, str], name: str, where: str) -> int:
    try:
        return int(pairs[name], 16)
    except (KeyError, ValueError):
        raise SourceError(f"{where} is damaged: it has no {name}") from None


class _Uncommitted(msgspec.Struct, frozen=True):
    """A value that an open transaction has written; ``before`` is what was there, where the value's page tells it."""

    operation: int
    value: Value
    before: Value = None


_Stored = Value | _Uncommitted


class _Page(msgspec.Struct, frozen=True):
    """One page: its keys, and the values of a leaf or the children of a node, each with the number of its entries."""

    keys: list[Value]
    values: list[_Stored]
    children: list[tuple[int, int]]


class _MvStore:
    """The maps of the newest valid version. Its constructor raises ``SourceError`` if there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        versions = self._valid_chunks()
        if not versions:
            raise SourceError("the file holds no valid chunk: it is damaged or not completely copied")
        newest = versions[max(versions)]
        self._scanned = {chunk: offset for _, (chunk, offset, _) in sorted(versions.items())}
        self._meta: dict[str, str] = {}
        self._read_meta(newest[2])

    def _valid_chunks(self) -> dict[int, tuple[int, int, int]]:
        """Return chunk, offset and root of meta by version, of the chunks whose header and footer agree."""
        found = {}
        for offset in range(2 * _BLOCK, len(self._data), _BLOCK):
            if not self._data.startswith(b"chunk:", offset):
                continue
            header = _pairs(self._data[offset : offset + _HEADER])
            try:
                chunk, version = int(header["chunk"], 16), int(header["version"], 16)
                end, root = offset + int(header["len"], 16) * _BLOCK, int(header["root"], 16)
            except (KeyError, ValueError):
                continue
            footer = _pairs(self._data[max(offset, end - _FOOTER) : end])
            if (footer.get("chunk"), footer.get("version")) == (header["chunk"], header["version"]):
                found[version] = (chunk, offset, root)
        return found

    def _read_meta(self, root: int) -> None:
        for key, value in self._walk(
            root, _read_meta_text, lambda cursor, n: [_read_meta_text(cursor) for _ in range(n)]
        ):
            if isinstance(key, str) and isinstance(value, str):
                self._meta[key] = value  # at once: what comes later may lie in chunks that meta names

    def rows(self, name: str) -> Iterator[tuple[Value, Value]]:
        """Yield the keys and values of the map of this name. Raises ``SourceError`` if there is none."""
        for key, value in self._walk(self._root(name), read_value, self._read_versioned):
            yield key, self._committed(value)

    def _root(self, name: str) -> int:
        number = self._meta.get(f"name.{name}")
        if number is None:
            raise SourceError(f"the database has no map {name}")
        return _hex({"root": self._meta.get(f"root.{number}", "0")}, "root", f"the map {name}")

    def _committed(self, stored: _Stored) -> Value:
        """Return the value as H2 would leave it when it opens the database."""
        seen = set()
        while isinstance(stored, _Uncommitted):
            operation = stored.operation
            if self._keeps_before:
                transaction = operation >> _TRANSACTION_SHIFT
                is_open = f"name.undoLog.{transaction}" in self._meta
                return stored.before if is_open else stored.value
            if operation not in self._undo_log:  # committed, only the row does not say so yet
                return stored.value
            if operation in seen:
                raise SourceError("the file is damaged: an open transaction's changes refer to each other in a circle")
            seen.add(operation)
            stored = self._undo_log[operation]
        return stored

    @cached_property
    def _keeps_before(self) -> bool:
        return "name.undoLog" not in self._meta

    @cached_property
    def _undo_log(self) -> dict[int, _Stored]:
        log: dict[int, _Stored] = {}
        entries = self._walk(self._root("undoLog"), read_object_number, _read_undone)
        log.update((operation, before) for operation, before in entries if isinstance(operation, int))
        return log

    def _read_versioned(self, cursor: Cursor, count: int) -> list[_Stored]:
        """Return values of which some may belong to a transaction that was under way."""
        if cursor.byte() == 0:  # all are committed
            return [read_value(cursor) for _ in range(count)]
        return [_read_stored(cursor, keeps_before=self._keeps_before) for _ in range(count)]

    def number_of_the_sites_table(self) -> int:
        """Return the number of the table RP. Raises ``SourceError`` if the catalogue has none."""
        for _, row in self.rows("table.0"):
            if isinstance(row, list) and len(row) > 3 and isinstance(row[0], int):
                sql = row[3]
                if isinstance(sql, str) and _SITES.match(sql):
                    return row[0]
        raise SourceError("the database has no table RP: it is not an old server's")

    def _walk(
        self, position: int, read_key: ReadKey, read_values: ReadValues, depth: int = 0
    ) -> Iterator[tuple[Value, _Stored]]:
        if position == 0:  # an empty map
            return
        if depth > _MAX_DEPTH:
            raise SourceError("the file is damaged: its pages refer to each other in a circle")
        page = self._page(position, read_key, read_values)
        yield from zip(page.keys, page.values, strict=False)
        for child, entries in page.children:
            found = 0
            for entry in self._walk(child, read_key, read_values, depth + 1):
                found += 1
                yield entry
            if found != entries:
                raise SourceError(f"the file is damaged: a page has {found} entries below it, not {entries}")

    def _page(self, position: int, read_key: ReadKey, read_values: ReadValues) -> _Page:
        chunk, offset = position >> 38, (position >> 6) & 0xFFFFFFFF
        where = f"the page at {offset} of the chunk {chunk:x}"
        start = self._start_of(chunk) + offset
        length = int.from_bytes(self._data[start : start + 4], "big")
        if not 0 < length <= _MAX_PAGE_BYTES or start + length > len(self._data):
            raise SourceError(f"{where} is damaged: it has no plausible length")
        cursor = Cursor(self._data[start : start + length], where)
        cursor.take(4)
        if cursor.number(2) != _check_value(chunk) ^ _check_value(offset) ^ _check_value(length):
            raise SourceError(f"{where} is damaged: its check value is wrong")
        cursor.varint()  # the map that it belongs to
        count, kind = cursor.varint(), cursor.byte()
        if count > _MAX_PAGE_KEYS:
            raise cursor.damaged("it has too many keys")
        positions = [cursor.number(8) for _ in range(count + 1)] if kind & _NODE else []
        children = [(child, cursor.varint()) for child in positions]
        if kind & _DEFLATE and kind & _LZF:
            raise cursor.damaged("it is compressed in a way that the old server did not use")
        if kind & _LZF:
            added = cursor.varint()
            packed = cursor.take(length - cursor.position)
            if len(packed) + added > _MAX_PAGE_BYTES:
                raise cursor.damaged("it is too large")
            cursor = Cursor(lzf_decompress(packed, len(packed) + added, where), where)
        keys = [read_key(cursor) for _ in range(count)]
        values = [] if children else read_values(cursor, count)
        if cursor.ahead(1):
            raise cursor.damaged("there is more in it than its entries")
        return _Page(keys, values, children)

    def _start_of(self, chunk: int) -> int:
        entry = self._meta.get(f"chunk.{chunk:x}")
        if entry is not None:
            return (
                _hex(_pairs(entry.encode("latin-1", "replace")), "block", f"the entry of the chunk {chunk:x}") * _BLOCK
            )
        if chunk not in self._scanned:
            raise SourceError(f"the file is damaged: the chunk {chunk:x} is missing")
        return self._scanned[chunk]


def _check_value(number: int) -> int:
    """Return the 16 bits that a page's check value takes of a number."""
    return ((number >> 16) ^ number) & 0xFFFF


def _read_meta_text(cursor: Cursor) -> str:
    return read_text(cursor, cursor.varint())


def _read_stored(cursor: Cursor, *, keeps_before: bool) -> _Stored:
    operation = cursor.varint()
    if not keeps_before:
        value = read_value(cursor) if cursor.byte() else None
        return value if operation == 0 else _Uncommitted(operation, value)
    if operation == 0:
        return read_value(cursor)
    parts = cursor.byte()
    value = read_value(cursor) if parts & _VALUE else None
    return _Uncommitted(operation, value, read_value(cursor) if parts & _VALUE_BEFORE else None)


def _read_undone(cursor: Cursor, count: int) -> list[_Stored]:
    """Return what was there before each operation: each entry has a map's number, a key, and that."""
    undone: list[_Stored] = []
    for _ in range(count):
        if cursor.byte():
            read_object_number(cursor)
        if cursor.byte():
            read_value(cursor)
        undone.append(_read_stored(cursor, keeps_before=False) if cursor.byte() else None)
    return undone
