r"""The text that H2's SCRIPT command writes: the rows of the table ``RP``, and nothing else of it. Pure.

The rows stand in ``INSERT INTO PUBLIC.RP(ID, DATA) VALUES ('..', '..'), ...;``. A text is in single quotes, which are
doubled inside. One with other characters than ASCII stands in ``STRINGDECODE('...')``, with Java's escapes. A very long
one is put together by ``SYSTEM_COMBINE_CLOB(n)`` from pieces that were inserted before: ``INSERT INTO
SYSTEM_LOB_STREAM VALUES(n, part, 'text', NULL)``.
"""

import re
from collections.abc import Iterator
from typing import Final

from oxd_server.store.importers.errors import SourceError

__all__ = ["looks_like_script", "read_script"]

_QUOTED: Final = r"'(?:[^']|'')*+'"
_TEXT: Final = rf"(?:{_QUOTED}|STRINGDECODE\({_QUOTED}\)|SYSTEM_COMBINE_CLOB\(\d{{1,9}}\)|NULL)"
_INSERT: Final = re.compile(r'INSERT INTO "?PUBLIC"?\."?RP"?(?:\("?ID"?, *"?DATA"?\))?\s+VALUES\s*', re.IGNORECASE)
_ROW: Final = re.compile(rf"\(\s*({_TEXT})\s*,\s*({_TEXT})\s*\)\s*([,;])\s*")
_PIECE: Final = re.compile(
    rf"INSERT INTO SYSTEM_LOB_STREAM VALUES\s*\(\s*(\d{{1,9}})\s*,\s*(\d{{1,9}})\s*,\s*({_TEXT})\s*,\s*NULL\s*\)"
)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_BEGINNING: Final = 20_000


def looks_like_script(text: str) -> bool:
    """Return whether the text begins as H2's SCRIPT does, or holds rows of the table."""
    return "CREATE USER IF NOT EXISTS" in text[:_BEGINNING] or _INSERT.search(text) is not None


def read_script(text: str) -> Iterator[tuple[str, str]]:
    """Yield where each row stands, and the JSON text in it.

    Raises:
        SourceError: a row is not of that form; the text names its line.
    """
    lines = _Lines(text)
    pieces = _pieces(text)
    for insert in _INSERT.finditer(text):
        position, separator = insert.end(), ","
        while separator == ",":
            row = _ROW.match(text, position)
            if row is None:
                raise SourceError(f"line {lines.number(position)}: a row of the table RP is damaged or cut off")
            where = f"the row in line {lines.number(position)}"
            yield where, _decoded(row[2], pieces, where)
            position, separator = row.end(), row[3]


def _pieces(text: str) -> dict[str, str]:
    """Return the long texts by number, put together from their parts."""
    lines = _Lines(text)
    parts: dict[str, dict[int, str]] = {}
    for match in _PIECE.finditer(text):
        where = f"the piece in line {lines.number(match.start())}"
        parts.setdefault(match[1], {})[int(match[2])] = _decoded(match[3], {}, where)
    return {number: "".join(found[part] for part in sorted(found)) for number, found in parts.items()}


def _decoded(literal: str, pieces: dict[str, str], where: str) -> str:
    if literal == "NULL":
        raise SourceError(f"{where} has no data")
    if literal.startswith("SYSTEM_COMBINE_CLOB"):
        number = literal[len("SYSTEM_COMBINE_CLOB(") : -1]
        if number not in pieces:
            raise SourceError(f"{where} refers to a long text that is missing")
        return pieces[number]
    if literal.startswith("STRINGDECODE"):
        return _unescaped(literal[len("STRINGDECODE('") : -2].replace("''", "'"), where)
    return literal[1:-1].replace("''", "'")


def _unescaped(text: str, where: str) -> str:
    def character(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] == "u" and len(escape) > 1:
            return chr(int(escape[1:], 16))
        return chr(int(escape, 8)) if escape[0] in "01234567" else _ESCAPES.get(escape, escape)

    try:  # two escapes of surrogates are one character
        return _ESCAPE.sub(character, text).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise SourceError(f"{where} is not valid text") from None


class _Lines:
    """Tells the lines of positions that only grow, so that every character is looked at once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line = 1

    def number(self, position: int) -> int:
        """Return the line that the position is in."""
        self._line += self._text.count("\n", self._position, position)
        self._position = position
        return self._line
