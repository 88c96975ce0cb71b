"""Fuzz target: the frame reader, the connection above it and the envelope of a request.

Whatever bytes come: nothing but ``FramingError`` (and ``CommandError`` for a frame's content) is raised; the frames do
not depend on how the stream is cut; no more is held than one frame may have; every error can be answered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from oxd_protocol.connection import CLOSED, Connection
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.framing import MAX_HEADER_DIGITS, FrameReader
from oxd_protocol.messages import decode_request
from scripts.hardening.fuzz_input import captured, check_error, pieces

__all__ = ["DICTIONARY", "check", "seeds"]

CAP = 600
DICTIONARY = [b'{"command":"', b'"params":{', b'\\"', b"\\u00e9", b"0083", b"099{", b"}}", b'"}', b"[[[[", b"\xc3\xa9"]

Outcome = tuple[list[bytes], bool]


def seeds() -> list[bytes]:
    """Frames as real clients write them, alone and one after the other."""
    frames = [bytes.fromhex(c["raw_hex"]) if "raw_hex" in c else c["raw"].encode() for c in captured("")]
    short = [frame for frame in frames if len(frame) <= CAP]
    joined = [one + other for one, other in itertools.pairwise(short)]
    return [b"\x00\x00" + frame for frame in short + joined[:50]]


def check(data: bytes) -> None:
    """Run one input; anything raised is a finding."""
    stream, cut = pieces(data)
    whole = _read([stream])
    assert _read(cut) == whole, "the frames depend on how the stream is cut"
    assert _converse(cut) == whole, "the connection runs other frames than were sent"
    for body in whole[0]:
        try:
            decode_request(body)
        except (CommandError, FramingError) as error:
            check_error(error)


def _read(parts: Iterable[bytes]) -> Outcome:
    """The bodies, and whether the framing broke."""
    reader, bodies = FrameReader(CAP), []
    for part in parts:
        reader.receive_data(part)
        try:
            while (body := reader.next_frame()) is not None:
                assert len(body) <= CAP
                bodies.append(body)
        except FramingError as error:
            check_error(error)
            assert len(reader._buffer) == 0
            return bodies, True
        assert len(reader._buffer) <= CAP + MAX_HEADER_DIGITS, "more is held than a frame may have"
    return bodies, False


def _converse(parts: Iterable[bytes]) -> Outcome:
    """The same through a ``Connection`` whose peer waits long enough for its copies to run."""
    connection, bodies, now = Connection(CAP), [], 0.0
    try:
        for part in parts:
            connection.receive_data(part)
            while (event := connection.next_event(now)) is not CLOSED:
                if isinstance(event, bytes):
                    bodies.append(event)
                elif event.until is None:
                    break
                else:
                    assert event.until > now, "waits for the past"
                    now = event.until
    except FramingError:
        return bodies, True
    return bodies, False
