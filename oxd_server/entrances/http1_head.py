"""The head of an HTTP request. h11 parses it; where that is lax, what two parsers could read in two ways is refused.

Pure. Specification: RFC 9112.
"""

import re

import h11

from oxd_protocol.discreet import Discreet

__all__ = ["BARE_CR_OR_LF_OR_NUL", "Head", "Refused", "parse_head"]


class Refused(Exception):
    """The request cannot be served; answer with `status` and close."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Head(Discreet, frozen=True):
    """What a head says. `repr` leaves out what may hold secrets.

    Attributes:
        path: as sent: still percent-encoded.
        headers: their names are in lower case.
        id: the client's own name for its request, if it gave one and that is usable.
        content_length: in bytes; 0 if none was sent.
        is_chunked: the body comes in chunks instead.
        expects_continue: the client waits for 100 (Continue) before it sends the body.
        persists: another request may follow on the connection.
    """

    shows = ("method", "path", "http_version", "id", "content_length", "is_chunked", "expects_continue", "persists")

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    http_version: str
    id: str | None
    content_length: int
    is_chunked: bool
    expects_continue: bool
    persists: bool


BARE_CR_OR_LF_OR_NUL = re.compile(rb"(?<!\r)\n|\r(?!\n)|\x00")
_OBSOLETE_FOLD = re.compile(rb"\r\n[ \t]")
# Words of these letters only: they go into a log, and back into a header. Tokens (dots) and texts are none of them.
_USABLE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def parse_head(raw: bytes) -> Head:
    """The head in these bytes, which end in CRLFCRLF.

    Raises:
        Refused: it is malformed, or means nothing here.
    """
    _check_raw_head(raw)
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(raw)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(error.error_status_hint, "the head of the request is malformed") from error
    if not isinstance(event, h11.Request):
        raise Refused(400, "the head of the request is malformed")
    _check_framing(raw, event)
    target = event.target.decode("ascii")
    path, query = _split_target(target)
    content_length = next((int(value) for value in _values(event, b"content-length")), 0)
    is_chunked = bool(_values(event, b"transfer-encoding"))
    return Head(
        method=event.method.decode("ascii"),
        path=path,
        query=query,
        headers=_headers_of(event, _authority_of(target)),
        http_version=event.http_version.decode("ascii"),
        id=_usable_id(event),
        content_length=content_length,
        is_chunked=is_chunked,
        expects_continue=connection.they_are_waiting_for_100_continue and (is_chunked or content_length > 0),
        persists=_persists(event),
    )


def _values(event: h11.Request, name: bytes) -> list[bytes]:
    return [value for key, value in event.headers if key == name]


def _headers_of(event: h11.Request, authority: str | None) -> tuple[tuple[str, str], ...]:
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers)
    if authority is None:
        return headers
    # RFC 9112, section 3.2.2: for a target in absolute-form the server "MUST ignore the received Host header field (if
    # any) and instead use the host information of the request-target".
    return ("host", authority), *(header for header in headers if header[0] != "host")


def _usable_id(event: h11.Request) -> str | None:
    given = [value.decode("latin-1") for value in _values(event, b"x-request-id")]
    return given[0] if len(given) == 1 and _USABLE_ID.fullmatch(given[0]) else None


def _persists(event: h11.Request) -> bool:
    # Another protocol, which CONNECT and Upgrade ask for, is not spoken here, and its bytes may follow.
    if event.method == b"CONNECT" or _values(event, b"upgrade"):
        return False
    # RFC 9112, section 9.3: "If the "close" connection option is present [...] the connection will not persist after
    # the current response; else, if the received protocol is HTTP/1.1 (or later), the connection will persist".
    options = b",".join(_values(event, b"connection")).lower().split(b",")
    return event.http_version >= b"1.1" and b"close" not in [option.strip() for option in options]


def _check_raw_head(head: bytes) -> None:
    """Refuse heads whose lines another parser could split differently (`head` ends in CRLFCRLF)."""
    # RFC 9112 2.2: a recipient of a bare CR or LF "MUST consider that element to be invalid" or
    # replace it; and a recipient that sees a bare LF as a line end invites request smuggling.
    if BARE_CR_OR_LF_OR_NUL.search(head):
        raise Refused(400, "a line of the head does not end in CRLF")
    # RFC 9112 5.2: "A server that receives an obs-fold in a request message [...] MUST either
    # reject the message by sending a 400 (Bad Request) [...]".
    if _OBSOLETE_FOLD.search(head):
        raise Refused(400, "a header is continued on the next line (obsolete line folding)")
    if re.match(rb"[^\r]* HTTP/(?!1\.)[0-9]\.[0-9]\r\n", head):
        raise Refused(505, "only versions 1.1 and 1.0 of HTTP are spoken here")


def _check_framing(head: bytes, event: h11.Request) -> None:
    """Refuse messages whose length two parsers could read differently."""
    headers = _raw_headers(head)
    names = [name for name, _ in headers]
    lengths, codings = names.count(b"content-length"), names.count(b"transfer-encoding")
    # RFC 9112 6.3: differing lengths MUST be treated as an unrecoverable error. Equal ones may be merged;
    # no client sends them, so we do not.
    if lengths > 1 or any(name == b"content-length" and not value.isdigit() for name, value in headers):
        raise Refused(400, "Content-Length is not one number")
    # RFC 9112 6.1: "A server MAY reject a request that contains both Content-Length and
    # Transfer-Encoding"; and a coding in an HTTP/1.0 message makes its framing faulty.
    if codings and (lengths or event.http_version < b"1.1"):
        raise Refused(400, "Transfer-Encoding together with Content-Length or HTTP/1.0")
    # RFC 9112 3.2: "A server MUST respond with a 400 (Bad Request) status code to any request
    # message that contains more than one Host header field line".
    if names.count(b"host") > 1:
        raise Refused(400, "more than one Host header")


def _raw_headers(head: bytes) -> list[tuple[bytes, bytes]]:
    """Name (lower case) and value of every header line of a head, before h11 merged any."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [(name.lower(), value.strip()) for name, _, value in pairs if name]


_ABSOLUTE_FORM = re.compile(r"https?://([^/?]*)", re.IGNORECASE)


def _authority_of(target: str) -> str | None:
    """The host and port that a request target in absolute-form names; None for one in origin-form."""
    match = _ABSOLUTE_FORM.match(target)
    return match and match[1]


def _split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target in origin-form or absolute-form (RFC 9112 3.2)."""
    if "#" in target:
        raise Refused(400, "the request target holds a fragment")
    if match := _ABSOLUTE_FORM.match(target):
        target = target[match.end() :]
        target = target if target.startswith("/") else "/" + target
    if not target.startswith("/"):
        raise Refused(400, "the request target is not a path")
    path, _, query = target.partition("?")
    return path, query
