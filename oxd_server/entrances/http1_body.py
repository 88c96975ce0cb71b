"""The body of an HTTP request that comes in chunks: h11 parses, this module bounds and refuses. Pure.

Specification: RFC 9112, section 7.1.
"""

from typing import Final

import h11

from oxd_server.entrances.http1_head import Refused

__all__ = ["ChunkedBody", "too_large"]

_OVERHEAD: Final = 8
_LINES: Final = 65_536


def too_large(limit: int) -> Refused:
    """What is said of a body of more than `limit` bytes."""
    return Refused(413, f"a body may have {limit} bytes at most")


class ChunkedBody:
    """What has come of a body.

    Attributes:
        rest: what follows the body, once that is complete.
    """

    def __init__(self, head: bytes, max_line_bytes: int, max_bytes: int) -> None:
        """Begin the body of the request with this head, which has been parsed before."""
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=max_line_bytes)
        self._h11.receive_data(head)
        self._h11.next_event()
        self._limit = max_bytes
        self._body = bytearray()
        self._received = 0
        self._tail = b""  # the last bytes that h11 was given
        self.rest = b""

    def receive(self, data: bytes) -> bytes | None:
        """Take what came; return the body when it is complete.

        Raises:
            Refused: it is malformed or too large.
        """
        self._tail = self._tail[-4:] + data
        self._received += len(self._tail)
        self._h11.receive_data(data)
        while True:
            event = self._next_event()
            if type(event) is h11.EndOfMessage:
                self._take_rest()
                return bytes(self._body)
            if type(event) is h11.Data:
                self._body += event.data
            self._check_size()
            if event is h11.NEED_DATA:
                return None

    def _next_event(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, "the body of the request is malformed") from error

    def _check_size(self) -> None:
        # Chunk sizes cost bytes too, but a peer that sends far more of those than data (extensions, trailers) only
        # spends our time.
        if len(self._body) > self._limit or self._received > _OVERHEAD * self._limit + _LINES:
            raise too_large(self._limit)

    def _take_rest(self) -> None:
        self.rest = self._h11.trailing_data[0]
        # RFC 9112 7.1.2: the trailer section ends with an empty line, CRLF included; h11 takes bare LF too.
        if not self._tail[: len(self._tail) - len(self.rest)].endswith(b"\r\n\r\n"):
            raise Refused(400, "the last chunk does not end in CRLF")
