"""A Java-serialized String, as the old server kept its values in Redis. Pure.

Format: the Java Object Serialization Specification, section 6.4.2 (``TC_STRING`` and ``TC_LONGSTRING``), and the
modified UTF-8 of ``java.io.DataInput``: NUL as two bytes, a character beyond the BMP as two surrogates of three bytes.
"""

from typing import Final

from oxd_server.store.importers.errors import SourceError

__all__ = ["MAGIC", "looks_like_java_string", "read_java_string"]

MAGIC: Final = b"\xac\xed\x00\x05"
_SHORT: Final = 0x74
_LONG: Final = 0x7C


def looks_like_java_string(data: bytes) -> bool:
    """Return whether the data begins as a serialized String does."""
    return data.startswith(MAGIC) and data[4:5] in (b"\x74", b"\x7c")


def read_java_string(data: bytes, where: str) -> str:
    """Return the String in ``data``, which holds nothing else.

    Args:
        data: the whole serialized value.
        where: what the value is, for errors.

    Raises:
        SourceError: it is no serialized String.
    """
    if not data.startswith(MAGIC) or len(data) < 5:
        raise SourceError(f"{where} is no Java-serialized text")
    size = {_SHORT: 2, _LONG: 8}.get(data[4])
    if size is None:
        raise SourceError(f"{where} is a serialized Java object, but no text")
    start = 5 + size
    length = int.from_bytes(data[5:start], "big")
    if len(data) != start + length:
        raise SourceError(f"{where} has {len(data)} bytes where {start + length} are announced")
    return _modified_utf8(data[start:], where)


def _modified_utf8(data: bytes, where: str) -> str:
    # Surrogates pass one by one; read as UTF-16 afterwards, each pair becomes its character.
    try:
        text = data.replace(b"\xc0\x80", b"\x00").decode("utf-8", "surrogatepass")
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise SourceError(f"{where} is not valid text") from None
