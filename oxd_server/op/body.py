"""Bodies of answers, unpacked within a bound on what comes out. Pure.

Nobody asked for a compressed answer (`accept-encoding: identity`), but what stands before an OP may send one all the
same. Specification: RFC 9110 section 8.4.1; RFC 9659 bounds the window of zstd.
"""

import sys
import zlib
from collections.abc import Callable

import brotli

__all__ = ["BodyTooLarge", "UnreadableBody", "unpacked"]

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

_MAX_CODINGS = 2
_NO_CODINGS = frozenset({"", "identity", "none", "utf-8", "aws-chunked"})
"""The last three are no codings, but servers send them (RFC 9110 section 12.5.3 knows `identity`)."""
_ZSTD_WINDOW_LOG = 23
_GZIP_MAGIC = b"\x1f\x8b"
_JSON_STARTS = (b"{", b"\xef\xbb\xbf{")
_MAX_MEMBERS = 20


class UnreadableBody(Exception):
    """The body cannot be unpacked; the text says why."""


class BodyTooLarge(Exception):
    """More comes out than may."""


def unpacked(body: bytes, content_encoding: str, limit: int) -> bytes:
    """The body without its content codings, of `limit` bytes at most.

    Raises:
        UnreadableBody: an unknown coding, too many of them, or a body that is not in it.
        BodyTooLarge: more bytes would come out.
    """
    named = (part.strip().lower() for part in content_encoding.split(","))
    codings = [coding for coding in named if coding not in _NO_CODINGS]
    if len(codings) > _MAX_CODINGS:
        raise UnreadableBody(f"it is compressed {len(codings)} times")
    for coding in reversed(codings):
        unpack = _UNPACK.get(coding)
        if unpack is None:
            raise UnreadableBody(f"it is compressed with {coding[:20]!r}")
        body = _unpack(unpack, coding, body, limit)
    return body


def _unpack(unpack: Callable[[bytes, int], tuple[bytes, bool]], coding: str, body: bytes, limit: int) -> bytes:
    if not body:
        return body
    problem = f"its {coding} breaks off"
    try:
        out, complete = unpack(body, limit + 1)
    except (zlib.error, brotli.error, ZstdError, EOFError):
        out, complete, problem = b"", False, f"it is not {coding}"
    if not complete and len(out) <= limit:
        if not body.lstrip().startswith(_JSON_STARTS):
            raise UnreadableBody(problem)
        out = body  # what stands before the OP says that it compresses, and does not
    if len(out) > limit:
        raise BodyTooLarge
    return out


def _gzip(body: bytes, most: int) -> tuple[bytes, bool]:
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by what its head says
    out = decompressor.decompress(body, most)
    for _ in range(_MAX_MEMBERS):  # RFC 1952 section 2.2: a file is a series of members
        if not decompressor.unused_data.startswith(_GZIP_MAGIC) or len(out) >= most:
            break
        rest, decompressor = decompressor.unused_data, zlib.decompressobj(zlib.MAX_WBITS | 16)
        out += decompressor.decompress(rest, most - len(out))
    return out, decompressor.eof


def _deflate(body: bytes, most: int) -> tuple[bytes, bool]:
    try:
        return _gzip(body, most)
    except zlib.error:  # RFC 9110 section 8.4.1.2: some send it without the zlib format
        decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        return decompressor.decompress(body, most), decompressor.eof


def _brotli(body: bytes, most: int) -> tuple[bytes, bool]:
    decompressor = brotli.Decompressor()
    out = piece = decompressor.process(body, output_buffer_limit=most)
    while piece and len(out) < most and not decompressor.is_finished():
        piece = decompressor.process(b"", output_buffer_limit=most - len(out))
        out += piece
    return out, decompressor.is_finished()


def _zstd(body: bytes, most: int) -> tuple[bytes, bool]:
    decompressor = ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
    out = piece = decompressor.decompress(body, most)
    while piece and len(out) < most and not decompressor.eof:
        piece = decompressor.decompress(b"", most - len(out))
        out += piece
    return out, decompressor.eof


_UNPACK: dict[str, Callable[[bytes, int], tuple[bytes, bool]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
