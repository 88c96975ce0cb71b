"""The head of an HTTP request, where h11 is lax: what two parsers could read in two ways is refused. Pure.

Specification: RFC 9112.
"""

import re

import h11

__all__ = ["BARE_CR_OR_LF_OR_NUL", "Refused", "authority_of", "check_framing", "check_raw_head", "split_target"]


class Refused(Exception):
    """The request cannot be served; answer with `status` and close."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


BARE_CR_OR_LF_OR_NUL = re.compile(rb"(?<!\r)\n|\r(?!\n)|\x00")
_OBSOLETE_FOLD = re.compile(rb"\r\n[ \t]")


def check_raw_head(head: bytes) -> None:
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


def check_framing(head: bytes, event: h11.Request) -> None:
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


def authority_of(target: str) -> str | None:
    """The host and port that a request target in absolute-form names; None for one in origin-form."""
    match = _ABSOLUTE_FORM.match(target)
    return match and match[1]


def split_target(target: str) -> tuple[str, str]:
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
