"""Values as H2 1.4 writes them into the pages of its maps, and LZF, which compresses those pages. Pure."""

from oxd_server.store.importers.errors import SourceError

__all__ = ["Cursor", "Value", "lzf_decompress", "read_object_number", "read_text", "read_value"]

Value = None | bool | int | str | list["Value"]

_MAX_VARINT_BITS = 63
_MAX_DEPTH = 8


class Cursor:
    """Reads bytes from the front. Raises ``SourceError`` at the end of the data."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self.position = 0

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        taken = self._data[self.position : self.position + count]
        if len(taken) < count:
            raise self.damaged("it ends too early")
        self.position += count
        return taken

    def ahead(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer at the end, and stay in front of them."""
        return self._data[self.position : self.position + count]

    def number(self, size: int) -> int:
        """Return a big-endian integer of ``size`` bytes."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """Return an integer of seven bits a byte, the lowest first."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > _MAX_VARINT_BITS:
                raise self.damaged("a number is too long")

    def damaged(self, reason: str) -> SourceError:
        """Return the error that says where the data is damaged."""
        return SourceError(f"{self._where} is damaged at byte {self.position}: {reason}")


def read_text(cursor: Cursor, units: int) -> str:
    """Return a text of so many UTF-16 units, each of one to three bytes.

    It looks like UTF-8, but the bytes that follow a unit's first one lack its 0x80.
    """
    if cursor.ahead(units).isascii():
        return cursor.take(units).decode("ascii")
    encoded = bytearray()
    for _ in range(units):
        first = cursor.byte()
        if first < 0x80:
            unit = first
        elif first >= 0xE0:
            unit = ((first & 0x0F) << 12) + (cursor.byte() << 6) + cursor.byte()
        else:
            unit = ((first & 0x1F) << 6) + cursor.byte()
        encoded += (unit & 0xFFFF).to_bytes(2, "big")
    try:
        return encoded.decode("utf-16-be")
    except UnicodeDecodeError:
        raise cursor.damaged("a text is not valid Unicode") from None


def read_value(cursor: Cursor, depth: int = 0) -> Value:
    """Return the next value of any of the types that the old server's tables hold.

    Raises:
        SourceError: it is of another type, or damaged.
    """
    tag = cursor.byte()
    if tag == 0:
        return None
    if tag in (64, 65):
        return tag == 65
    if 32 <= tag < 48:  # a small int
        return tag - 32
    if 48 <= tag < 56:  # a small long
        return tag - 48
    if tag in (66, 67):
        return -cursor.varint()
    if tag in (4, 5):
        return cursor.varint()
    if 68 <= tag < 100:  # a short text
        return read_text(cursor, tag - 68)
    if tag in (13, 14, 21):
        return read_text(cursor, cursor.varint())
    if tag == 1:
        return cursor.byte()
    if tag == 17 and depth < _MAX_DEPTH:
        return [read_value(cursor, depth + 1) for _ in range(cursor.varint())]
    raise cursor.damaged(f"a value of the type {tag} is not expected")


def read_object_number(cursor: Cursor) -> int:
    """Return the next number of the kind that H2's own maps have, whose types have other tags.

    Raises:
        SourceError: it is of another type, or damaged.
    """
    tag = cursor.byte()
    if 64 <= tag < 80:  # a small int
        return tag - 64
    if 80 <= tag < 88:  # a small long
        return tag - 80
    if tag in (4, 5):
        return cursor.varint()
    if tag == 36:
        return cursor.number(8)
    raise cursor.damaged(f"a number of the type {tag} is not expected")


def lzf_decompress(data: bytes, size: int, where: str) -> bytes:
    """Return the ``size`` bytes that were compressed with LZF.

    Raises:
        SourceError: the data is damaged.
    """
    cursor, out = Cursor(data, where), bytearray()
    while len(out) < size:
        control = cursor.byte()
        if control < 32:
            out += cursor.take(control + 1)
            continue
        length = control >> 5
        if length == 7:
            length += cursor.byte()
        start = len(out) - ((control & 0x1F) << 8) - cursor.byte() - 1
        if start < 0:
            raise cursor.damaged("it refers to what is before its beginning")
        _repeat(out, start, length + 2)
    if len(out) > size:
        raise cursor.damaged("it is longer than announced")
    return bytes(out)


def _repeat(out: bytearray, start: int, count: int) -> None:
    """Append ``count`` bytes of what is there from ``start`` on; they may overlap with what is appended."""
    while count > 0:
        piece = out[start : start + count]
        out += piece
        start += len(piece)
        count -= len(piece)
