"""Frames: where one ends and the next begins.

A frame is a length and a body: ``0083{"command": ...}``. On the way out it is always four ASCII digits and that many
ASCII bytes. On the way in the existing libraries agree on less than that:

1. The length has three to six digits, or is missing altogether; its digits end where ``{`` begins.
2. The length may count bytes, UTF-16 units or code points. So the JSON object decides where the frame ends, and the
   length is only a cap (no counting makes one character more than four bytes).
3. White space between frames is skipped; some libraries end with a newline.

``FrameReader`` is fed bytes and asked for frames. It never holds more than its cap plus what one ``receive_data``
brought, looks at every byte at most three times, and after a ``FramingError`` it stays broken.
"""

import re
from typing import Final

import msgspec

from oxd_protocol.errors import FramingError

__all__ = [
    "MAX_HEADER_DIGITS",
    "MAX_RESPONSE_BYTES",
    "PREFERRED_RESPONSE_BYTES",
    "FrameReader",
    "FrameTooLong",
    "encode_frame",
]

MAX_HEADER_DIGITS: Final = 6
MAX_RESPONSE_BYTES: Final = 9999
"""The longest body that four digits can announce."""
PREFERRED_RESPONSE_BYTES: Final = 8188
"""With its header this fills 8192 bytes, all that PHP, Ruby and Perl read of an answer."""

_MAX_BYTES_PER_CHARACTER: Final = 4
_SENT_DIGITS: Final = 4
_json = msgspec.json.Decoder(msgspec.Raw)
"""Only looks whether it is JSON."""
_HEADER = re.compile(rb"[0-9]*")
_NOT_WHITE_SPACE = re.compile(rb"[^ \t\r\n]")
# The loops are unrolled, so that no input makes them try twice. Possessive quantifiers would say the same more
# shortly, but Python 3.11 before 3.11.5 matches too much with them (CPython issue 106052).
_NO_BRACE = re.compile(rb'[^"{}]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^"{}]*)*', re.DOTALL)
"""Everything up to the next brace that counts, whole strings included; stops before a string that is not whole."""
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
"""Everything up to the end of a string; stops before a backslash that has nothing after it yet."""


class FrameTooLong(Exception):
    """``encode_frame`` was given a body that no four-digit length can announce. ``size`` is in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a body of {size} bytes does not fit into a frame of {MAX_RESPONSE_BYTES}")
        self.size = size


def encode_frame(body: bytes) -> bytes:
    """Return header and body as the one piece that must leave in one send.

    ``body`` must be ASCII. Trailing spaces are added until the four digits of the length do not occur in it:
    PHP and Perl delete every occurrence of the length from what they read. Raises ``FrameTooLong``.
    """
    size = len(body)
    while size <= MAX_RESPONSE_BYTES:
        header = b"%04d" % size
        if header not in body:
            return header + body.ljust(size)
        size += 1
    raise FrameTooLong(len(body))


class FrameReader:
    """Cuts a stream of bytes into the bodies of frames (JSON objects, not yet decoded)."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._max = max_frame_bytes
        self._buffer = bytearray()
        self._error: FramingError | None = None
        self._reset()

    def _reset(self) -> None:
        self._body_start = -1  # -1: the header is not complete yet
        self._cap = 0  # bytes that this body may have
        self._scanned = 0  # everything before has been looked at
        self._depth = 0
        self._in_string = False

    @property
    def mid_frame(self) -> bool:
        """True if part of a frame is here: its rest must come within the frame timeout."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Store bytes from the peer; what comes after an error is thrown away."""
        if self._error is None:
            self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return the next complete body, or None when more bytes are needed.

        Raises ``FramingError`` (again at every further call: a broken stream cannot be resumed).
        """
        if not self._buffer:
            if self._error is not None:
                raise self._error
            return None
        try:
            if self._body_start < 0 and (body := self._only_frame()) is not None:
                return body
            return self._next_frame()
        except FramingError as error:
            self._error = error
            self._buffer.clear()
            raise

    def _next_frame(self) -> bytes | None:
        if self._body_start < 0 and not self._read_header():
            return None
        end = self._find_end()
        size = (end or len(self._buffer)) - self._body_start
        if size > self._cap:
            raise self._too_long(size)
        if end is None:
            return None
        body = bytes(self._buffer[self._body_start : end])
        following = _NOT_WHITE_SPACE.search(self._buffer, end)
        if following:
            del self._buffer[: following.start()]
        else:
            self._buffer.clear()
        self._reset()
        return body

    def _only_frame(self) -> bytes | None:
        """Return the body if one frame as the libraries mostly send it is all that is here; else None.

        An object that is valid JSON ends where a search for its end would find that, so none is needed.
        """
        frame = bytes(self._buffer)
        size = len(frame) - _SENT_DIGITS
        if size > self._max or not (frame.startswith(b"%04d{" % size) and frame.endswith(b"}")):
            return None
        body = frame[_SENT_DIGITS:]
        try:
            _json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return None
        self._buffer.clear()
        return body

    def _read_header(self) -> bool:
        start = _NOT_WHITE_SPACE.search(self._buffer)
        if start is None:
            self._buffer.clear()
            return False
        del self._buffer[: start.start()]
        digits = _HEADER.match(self._buffer)
        assert digits is not None  # the pattern matches nothing as well
        length, end = digits.group(), digits.end()
        if len(length) > MAX_HEADER_DIGITS:
            raise FramingError(f"A frame's length has at most {MAX_HEADER_DIGITS} digits.")
        if end == len(self._buffer):
            return False
        if self._buffer[end] != ord("{"):
            raise FramingError(
                "A frame is its length in decimal digits (or nothing) and then one JSON object; "
                f"neither a digit nor {{ came as byte {end + 1}."
            )
        self._body_start = self._scanned = end
        self._cap = self._cap_for(length)
        return True

    def _cap_for(self, length: bytes) -> int:
        if not length:
            return self._max
        announced = int(length)
        if announced > self._max:
            raise self._too_long(announced)
        return min(self._max, announced * _MAX_BYTES_PER_CHARACTER)

    def _too_long(self, size: int) -> FramingError:
        if size > self._max:
            return FramingError(
                f"A request may have {self._max} bytes; this one has at least {size}.",
                code="request_too_long",
            )
        return FramingError("The JSON object is longer than the frame's length says.")

    def _find_end(self) -> int | None:
        """Follow strings and braces from where the last call stopped to the brace that closes the object."""
        buffer = self._buffer
        limit = min(len(buffer), self._body_start + self._cap)
        while self._scanned < limit:
            if self._in_string:
                self._skip_string(limit)
                continue
            run = _NO_BRACE.match(buffer, self._scanned, limit)
            assert run is not None  # the pattern matches nothing as well
            end = run.end()
            if end == limit:
                self._scanned = limit
                break
            token = buffer[end]
            self._scanned = end + 1
            if token == ord("{"):
                self._depth += 1
            elif token == ord("}"):
                self._depth -= 1
                if self._depth == 0:
                    return self._scanned
            else:
                self._in_string = True
        return None

    def _skip_string(self, limit: int) -> None:
        run = _IN_STRING.match(self._buffer, self._scanned, limit)
        assert run is not None  # the pattern matches nothing as well
        if run.end() == limit:
            self._scanned = limit
        elif self._buffer[run.end()] == ord('"'):
            self._scanned = run.end() + 1
            self._in_string = False
        else:
            self._scanned = limit + 1  # a last backslash: whatever it escapes is no end of the string
