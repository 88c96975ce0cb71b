"""The head of an HTTP answer: its status, its headers, and how its body ends. Pure.

An OP that is asked again and again answers with the same heads, often to the letter. What a head means depends on its
bytes alone, so what short ones mean is kept for a while.

Specification: RFC 9112.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import h11

from oxd_protocol.discreet import Discreet
from oxd_server.sync.memo import remembered

__all__ = ["BLANK_LINE", "AnswerHead", "head_of"]

BLANK_LINE = re.compile(rb"\n\r?\n")
"""The end of a head. Section 2.2: "a recipient MAY recognize a single LF as a line terminator"."""

_LONGEST_CHUNK_HEAD = 64 * 1024
_NO_BODY = (204, 304)
# What the parser has to know of a request, to read its answer. All methods are alike: HEAD is not used, and after
# CONNECT there is no body.
_REQUEST = h11.Request(method=b"GET", target=b"/", headers=[(b"host", b"op")])


class AnswerHead(Discreet, frozen=True):
    """What a head says.

    Attributes:
        raw: the bytes of the head.
        status: below 200, another head follows.
        headers: by lower-case name.
        length: of the body in bytes; None: it comes in chunks, or ends with the connection.
        persists: whether the connection may be used for another request after the body.
    """

    shows = ("status", "length", "persists")

    raw: bytes
    status: int
    headers: Mapping[str, str]
    length: int | None
    persists: bool

    def body_parser(self) -> h11.Connection:
        """A parser that reads on after this head."""
        return _parser_after(self.raw)[0]


def head_of(raw: bytes) -> AnswerHead:
    """What a head says, which ends with a blank line.

    Raises:
        h11.RemoteProtocolError: it is none.
    """
    return _known_head(raw)


def _parser_after(raw: bytes) -> tuple[h11.Connection, object]:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_CHUNK_HEAD)
    parser.send(_REQUEST)
    parser.receive_data(raw)
    return parser, parser.next_event()


def _parsed(raw: bytes) -> AnswerHead:
    _, event = _parser_after(raw)
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    headers = _joined(event.headers)
    length = _length(event.status_code, headers)
    ends_by_itself = length is not None or "transfer-encoding" in headers
    # Section 9.3; what HTTP/1.0 servers keep open where they are asked to, nobody asks for.
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    persists = ends_by_itself and event.http_version >= b"1.1" and "close" not in options
    return AnswerHead(raw, event.status_code, MappingProxyType(headers), length, persists)


_known_head = remembered(_parsed, most=128, longest=2048)


def _length(status: int, headers: Mapping[str, str]) -> int | None:
    """The length of the body (section 6.3), where the head tells it. The parser has checked both headers."""
    if status in _NO_BODY:
        return 0
    if "transfer-encoding" in headers or "content-length" not in headers:
        return None
    return int(headers["content-length"])


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by name; what stands in several lines is joined (RFC 9110 section 5.2)."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
