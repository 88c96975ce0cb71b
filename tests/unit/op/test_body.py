"""Compressed bodies, unpacked within a bound."""

import gzip
import sys
import zlib

import brotli
import pytest

from oxd_server.op.body import BodyTooLarge, UnreadableBody, unpacked

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'{"keys": []}' * 100


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


PACK = {
    "gzip": gzip.compress,
    "X-GZIP": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "Gzip": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    "none, UTF-8, aws-chunked": lambda data: data,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
}


@pytest.mark.parametrize("coding", PACK)
def test_each_coding_is_read(coding):
    """Every coding that servers use is unpacked, in the order that the header says."""
    assert unpacked(PACK[coding](TEXT), coding, len(TEXT)) == TEXT


@pytest.mark.parametrize("coding", [coding for coding in PACK if coding != "none, UTF-8, aws-chunked"])
def test_the_bound_counts_what_comes_out(coding):
    """One byte more than the limit comes out: too large, however small it came in."""
    with pytest.raises(BodyTooLarge):
        unpacked(PACK[coding](TEXT), coding, len(TEXT) - 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_stopped(coding):
    """What would become ten megabytes is given up at the limit."""
    with pytest.raises(BodyTooLarge):
        unpacked(PACK[coding](bytes(10_000_000)), coding, 1000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_what_breaks_off_or_is_none(coding):
    """A cut body and one that is in no such coding are unreadable."""
    with pytest.raises(UnreadableBody):
        unpacked(PACK[coding](TEXT)[:-3], coding, 10_000)
    with pytest.raises(UnreadableBody):
        unpacked(b"\xffabc", coding, 10_000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_json_that_is_not_compressed_at_all(coding):
    """A coding that was named and not applied does no harm, within the bound."""
    assert unpacked(b'\n{"a": 1}', coding, 100) == b'\n{"a": 1}'
    with pytest.raises(BodyTooLarge):
        unpacked(b'{"a": 1}', coding, 5)


def test_zstd_window_is_bounded():
    """A zstd frame that asks for a window of more than 8 MiB is not read (RFC 9659)."""
    parameter = zstd.CompressionParameter
    options = {int(parameter.window_log): 24, int(parameter.content_size_flag): 0}
    compressor = zstd.ZstdCompressor(options=options)
    frame = compressor.compress(bytes(1000)) + compressor.flush()
    with pytest.raises(UnreadableBody):
        unpacked(frame, "zstd", 10_000)


@pytest.mark.parametrize("header", ["", "identity", " Identity , identity"])
def test_what_is_not_compressed_stays(header):
    """`identity` and nothing are the same."""
    assert unpacked(TEXT, header, 10) == TEXT


@pytest.mark.parametrize("header", ["compress", "gzip, gzip, gzip", "aes128gcm"])
def test_other_codings_are_refused(header):
    """A coding that is not known, and one coding in another in a third, are unreadable."""
    with pytest.raises(UnreadableBody):
        unpacked(TEXT, header, 10_000)


def test_an_empty_body_is_in_every_coding():
    """A 204 whose head names a coding has no body to unpack."""
    assert unpacked(b"", "gzip", 10) == b""
