"""Where a frame ends and the next begins, whatever the libraries make of the length."""

import json
from collections.abc import Iterable

import pytest

from oxd_protocol import framing
from oxd_protocol.errors import FramingError
from oxd_protocol.framing import MAX_RESPONSE_BYTES, FrameReader, FrameTooLong, encode_frame

CAP = 65536
NEIGHBOUR = b'{"command":"get_rp","params":{"list":true}}'
JORG = '{"n":"J\u00f6rg \u0416 \U0001f600"}'


def _frame(body: bytes, header: str | None = None) -> bytes:
    return (f"{len(body):04d}" if header is None else header).encode() + body


def _body_of(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


UNDERSTOOD = {
    "four digits": (_frame(NEIGHBOUR), [NEIGHBOUR]),
    "three digits under 100 (row 2)": (_frame(_body_of(99), "099"), [_body_of(99)]),
    "no header from 1000 on (row 3)": (_frame(_body_of(1000), ""), [_body_of(1000)]),
    "no header for a short body (row 3)": (NEIGHBOUR, [NEIGHBOUR]),
    "five digits at exactly 100 (row 4)": (_frame(_body_of(100), "00100"), [_body_of(100)]),
    "five digits above 9999 (row 5)": (_frame(_body_of(12133), "12133"), [_body_of(12133)]),
    "six digits": (_frame(NEIGHBOUR, f"{len(NEIGHBOUR):06d}"), [NEIGHBOUR]),
    "one digit": (_frame(b"{}", "2"), [b"{}"]),
    "length in bytes (row 6)": (_frame(JORG.encode()), [JORG.encode()]),
    "length in UTF-16 units (row 6)": (
        _frame(JORG.encode(), f"{len(JORG.encode('utf-16-le')) // 2:04d}"),
        [JORG.encode()],
    ),
    "length in code points (row 6)": (_frame(JORG.encode(), f"{len(JORG):04d}"), [JORG.encode()]),
    "length too large for what came (row 6)": (_frame(NEIGHBOUR, "0999"), [NEIGHBOUR]),
    "Latin-1 text (row 7)": (_frame(b'{"n":"J\xf6rg"}'), [b'{"n":"J\xf6rg"}']),
    "braces in a string": (_frame(b'{"a":"}{"}'), [b'{"a":"}{"}']),
    "braces behind an escaped quote": (_frame(rb'{"a":"\"}{\\"}'), [rb'{"a":"\"}{\\"}']),
    "a string that ends with a backslash": (_frame(b'{"a":"\\\\","b":{}}'), [b'{"a":"\\\\","b":{}}']),
    "a line break behind a backslash": (_frame(b'{"a":"\\\n}"}'), [b'{"a":"\\\n}"}']),
    "nested objects": (_frame(b'{"a":{"b":[{},{"c":{}}]}}'), [b'{"a":{"b":[{},{"c":{}}]}}']),
    "white space inside": (_frame(b'{ "a" :\r\n\t1 }'), [b'{ "a" :\r\n\t1 }']),
    "an empty object": (b"0002{}", [b"{}"]),
    "white space around": (b" \r\n" + _frame(NEIGHBOUR) + b"\n\t ", [NEIGHBOUR]),
    "padding that the length counts": (b"0006{}    ", [b"{}"]),
    "a length that two objects share": (b'0014{"a":1}{"b":2}', [b'{"a":1}', b'{"b":2}']),
    "a length that is right at an inner brace": (
        _frame('{"n":{"\u00e9":1}}'.encode(), "0013"),
        ['{"n":{"\u00e9":1}}'.encode()],
    ),
    "three frames in one segment (row 28)": (
        _frame(NEIGHBOUR) + _frame(b"{}", "02") + b'{"a":1}',
        [NEIGHBOUR, b"{}", b'{"a":1}'],
    ),
    "the same frame three times (row 1)": (_frame(NEIGHBOUR) * 3, [NEIGHBOUR] * 3),
}
understood = pytest.mark.parametrize(("stream", "bodies"), UNDERSTOOD.values(), ids=UNDERSTOOD)

REFUSED = {
    "neither digits nor a brace": (b"hello", "invalid_request"),
    "HTTP": (b"POST /get-rp HTTP/1.1\r\n", "invalid_request"),
    "TLS": (b"\x16\x03\x01\x02\x00", "invalid_request"),
    "a list": (b"0002[]", "invalid_request"),
    "white space behind the length": (b"0002 {}", "invalid_request"),
    "a sign": (b"-002{}", "invalid_request"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "invalid_request"),
    "seven digits": (b"0000002{}", "invalid_request"),
    "digits without end": (b"1" * 50, "invalid_request"),
    "more than the cap announced": (b"65537{", "request_too_long"),
    "the largest length": (b"999999{", "request_too_long"),
    "more than the cap without a length": (b'{"a":"' + b"x" * CAP, "request_too_long"),
    "more than the cap in one object": (_body_of(CAP + 1), "request_too_long"),
    "length 0": (b"0000{}", "invalid_request"),
    "an object four times longer than its length": (_frame(_body_of(41), "0010"), "invalid_request"),
    "the start of one": (b"0002" + b"{" * 9, "invalid_request"),
}
refused = pytest.mark.parametrize(("stream", "code"), REFUSED.values(), ids=REFUSED)


def _read(chunks: Iterable[bytes]) -> list[bytes]:
    """Return the frames of the chunks; every frame is asked for as soon as it may be there."""
    reader = FrameReader(CAP)
    bodies = []
    for chunk in chunks:
        reader.receive_data(chunk)
        while (body := reader.next_frame()) is not None:
            bodies.append(body)
    assert not reader.mid_frame
    return bodies


def _bytewise(stream: bytes) -> Iterable[bytes]:
    return (stream[i : i + 1] for i in range(len(stream)))


@understood
def test_whole(stream: bytes, bodies: list[bytes]) -> None:
    """A stream that arrives in one piece gives its frames."""
    assert _read([stream]) == bodies


@understood
def test_split_anywhere(stream: bytes, bodies: list[bytes]) -> None:
    """Where a segment happens to end changes nothing (row 28)."""
    for cut in range(1, len(stream), max(1, len(stream) // 300)):
        assert _read([stream[:cut], stream[cut:]]) == bodies


@understood
def test_byte_by_byte(stream: bytes, bodies: list[bytes]) -> None:
    """One byte at a time is enough."""
    assert _read(_bytewise(stream)) == bodies


@understood
def test_between_neighbours(stream: bytes, bodies: list[bytes]) -> None:
    """A frame before and a frame behind are frames of their own, in one piece or byte by byte (row 28)."""
    all_of_it = _frame(NEIGHBOUR) + stream + _frame(NEIGHBOUR)
    expected = [NEIGHBOUR, *bodies, NEIGHBOUR]
    assert _read([all_of_it]) == expected
    assert _read(_bytewise(all_of_it)) == expected
    assert _read([_frame(NEIGHBOUR), stream, _frame(NEIGHBOUR)]) == expected


@understood
def test_followed_by_part_of_a_frame(stream: bytes, bodies: list[bytes]) -> None:
    """The beginning of the next frame neither delays nor changes this one, and is kept."""
    reader = FrameReader(CAP)
    reader.receive_data(stream + b'0007{"a"')
    assert [reader.next_frame() for _ in bodies] == bodies
    assert reader.next_frame() is None
    assert reader.mid_frame
    reader.receive_data(b":1}")
    assert reader.next_frame() == b'{"a":1}'


@understood
def test_followed_by_junk(stream: bytes, bodies: list[bytes]) -> None:
    """What was whole before the stream broke is still understood."""
    reader = FrameReader(CAP)
    reader.receive_data(stream + b"junk")
    assert [reader.next_frame() for _ in bodies] == bodies
    with pytest.raises(FramingError):
        reader.next_frame()


@refused
def test_refused_whole(stream: bytes, code: str) -> None:
    """What is no frame is an error with the code and a sentence."""
    reader = FrameReader(CAP)
    reader.receive_data(stream)
    with pytest.raises(FramingError) as caught:
        reader.next_frame()
    assert caught.value.code == code
    assert str(caught.value).endswith(".")


@refused
def test_refused_byte_by_byte(stream: bytes, code: str) -> None:
    """The error is the same however the bytes arrive, and comes no later than the last of them."""
    reader = FrameReader(CAP)
    with pytest.raises(FramingError) as caught:
        for chunk in _bytewise(stream):
            reader.receive_data(chunk)
            assert reader.next_frame() is None
    assert caught.value.code == code


def test_broken_stays_broken() -> None:
    """After an error nothing is read and nothing kept: a frame that follows junk cannot be trusted."""
    reader = FrameReader(CAP)
    reader.receive_data(b"junk")
    with pytest.raises(FramingError) as first:
        reader.next_frame()
    reader.receive_data(_frame(NEIGHBOUR))
    assert not reader.mid_frame
    with pytest.raises(FramingError) as second:
        reader.next_frame()
    assert second.value is first.value


@pytest.mark.parametrize("header", ["", "65536", "065536", "16384"])
def test_exactly_the_cap(header: str) -> None:
    """A body of exactly the cap is accepted, and one byte more is not, whatever the length says."""
    reader = FrameReader(CAP)
    reader.receive_data(_frame(_body_of(CAP), header))
    assert reader.next_frame() == _body_of(CAP)
    reader.receive_data(_frame(_body_of(CAP + 1), header))
    with pytest.raises(FramingError):
        reader.next_frame()


def test_four_bytes_per_character() -> None:
    """A length is too short only when no way of counting gives it: more than four bytes for each (row 6)."""
    assert _read([_frame(_body_of(40), "0010")]) == [_body_of(40)]


def test_an_announced_giant_is_refused_at_its_header() -> None:
    """A length above the cap is refused before any of the body has come."""
    reader = FrameReader(100)
    reader.receive_data(b"0101{")
    with pytest.raises(FramingError, match="may have 100 bytes; this one has at least 101"):
        reader.next_frame()


def test_an_incomplete_header_is_waited_for() -> None:
    """Up to six digits may be the beginning of a header, and of nothing else."""
    reader = FrameReader(CAP)
    for digit in b"000012":
        reader.receive_data(bytes([digit]))
        assert reader.next_frame() is None
        assert reader.mid_frame
    reader.receive_data(b"3")
    with pytest.raises(FramingError, match="at most 6 digits"):
        reader.next_frame()


def test_white_space_is_not_kept() -> None:
    """Any amount of white space between frames is no frame, and takes no memory."""
    reader = FrameReader(CAP)
    for _ in range(10):
        reader.receive_data(b" \t\r\n" * 10_000)
        assert reader.next_frame() is None
        assert not reader.mid_frame
    reader.receive_data(b"  " + _frame(NEIGHBOUR))
    assert reader.next_frame() == NEIGHBOUR


@pytest.mark.parametrize(
    "stream",
    [
        b"{" * 60_000,
        b'{"a":[' + b"{}," * 20_000,
        b'{"a":"' + b"\\\\" * 30_000,
        b'{"a":"' + b"x" * 60_000,
        b"{" + b'"a":"b",' * 7_500,
        b"{" + b'"' * 60_000,
    ],
    ids=["braces", "objects in a list", "backslashes", "one string", "short strings", "quotes"],
)
def test_no_byte_is_looked_at_often(stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty thousand bytes, one by one, cost work in proportion: every search begins where the last one stopped."""
    looked_at = 0

    class Counting:
        def __init__(self, pattern: object) -> None:
            self._pattern = pattern

        def match(self, buffer: bytearray, start: int, limit: int) -> object:
            nonlocal looked_at
            looked_at += limit - start
            return self._pattern.match(buffer, start, limit)  # type: ignore[attr-defined]

    monkeypatch.setattr(framing, "_NO_BRACE", Counting(framing._NO_BRACE))
    monkeypatch.setattr(framing, "_IN_STRING", Counting(framing._IN_STRING))
    reader = FrameReader(CAP)
    for chunk in _bytewise(stream):
        reader.receive_data(chunk)
        assert reader.next_frame() is None
    assert looked_at <= 2 * len(stream)


def test_a_frame_is_its_length_and_body() -> None:
    """Out goes a four-digit length and the body, in one piece."""
    assert encode_frame(b'{"status":"ok","data":{}}') == b'0025{"status":"ok","data":{}}'


def test_the_length_never_occurs_in_the_body() -> None:
    """Where the four digits would occur in the body, spaces are added until they do not."""
    assert encode_frame(b'{"a":"0014"}') == b'0012{"a":"0014"}'
    assert encode_frame(b'{"a":"0012"}') == b'0013{"a":"0012"} '
    assert encode_frame(b'{"a":"0017 0018"}') == b'0019{"a":"0017 0018"}  '
    assert encode_frame(b'{"a":"100180017"}') == b'0019{"a":"100180017"}  '


def test_the_longest_frame() -> None:
    """9999 bytes are the most that four digits can announce."""
    body = _body_of(MAX_RESPONSE_BYTES)
    assert encode_frame(body) == b"9999" + body
    with pytest.raises(FrameTooLong) as caught:
        encode_frame(_body_of(MAX_RESPONSE_BYTES + 1))
    assert caught.value.size == 10_000


def test_no_length_is_left() -> None:
    """A body that contains every length it could still have is refused like one that is too long."""
    body = json.dumps({"a": "9998 9999 " + "x" * 9976}).encode()
    assert len(body) == 9995
    assert encode_frame(body)[:4] == b"9995"
    body = json.dumps({"a": "9997 9998 9999 " + "x" * 9973}).encode()
    assert len(body) == 9997
    with pytest.raises(FrameTooLong):
        encode_frame(body)
