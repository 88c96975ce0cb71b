"""A dump of the old server's Redis values: one line a key, the value in hexadecimal digits. Pure.

The old server kept each site under its oxd_id, as a Java-serialized String that holds the site's JSON.
"""

from collections.abc import Iterator

from oxd_server.store.importers.errors import SourceError
from oxd_server.store.importers.java_text import MAGIC, read_java_string

__all__ = ["looks_like_values", "read_values"]


def looks_like_values(text: str) -> bool:
    """Return whether the first line is a key and a Java-serialized value in hexadecimal digits."""
    _, _, value = text.lstrip().partition("\n")[0].strip().partition(" ")
    return value.strip().lower().startswith(MAGIC.hex())


def read_values(text: str) -> Iterator[tuple[str, str]]:
    """Yield where each value stands, and the JSON text in it.

    Raises:
        SourceError: a line is not of that form; the text names it by its number.
    """
    for number, line in enumerate(text.splitlines(), 1):
        key, _, digits = line.strip().partition(" ")
        if not key:
            continue
        where = f"line {number} (key {key[:80]!r})"
        try:
            value = bytes.fromhex(digits)
        except ValueError:
            raise SourceError(f"{where} is not followed by hexadecimal digits") from None
        yield where, read_java_string(value, where)
