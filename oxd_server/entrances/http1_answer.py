"""The bytes of an HTTP answer: one join. Pure. Specification: RFC 9112."""

import re
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus

__all__ = ["CONTINUE", "answer_bytes", "phrase"]

# RFC 9110, sections 5.1 and 5.5. What is laxer lets a value end its line, and begin another.
_HEADER = re.compile(
    r"(?!(?i:content-length|transfer-encoding|connection|date|x-request-id):)"  # the server's own
    r"[-!#$%&'*+.^_`|~0-9a-zA-Z]+: (?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?"
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WITHOUT_CONTENT = (204, 304)


@cache
def phrase(status: int) -> str:
    """What a status is called."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def answer_bytes(
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    request_id: str,
    date: str,
    close: bool,
    omit_body: bool,
) -> bytes:
    """Status line, headers and body.

    Args:
        status: a final one (200 or more).
        headers: all but the server's own, which are added.
        body: the content.
        request_id: of the request that it answers.
        date: now, as RFC 9110 section 5.6.7 spells it.
        close: the connection ends with this answer.
        omit_body: it answers HEAD, and so has everything but the body.

    Raises:
        ValueError: something that cannot be sent: a header with the end of a line in it, or one of the server's own.
    """
    if not 200 <= status <= 999:
        raise ValueError(f"{status} is no status of an answer")
    lines = [f"{name}: {value}" for name, value in headers]
    for line in lines:
        if not _HEADER.fullmatch(line):
            raise ValueError(f"the header {line.partition(':')[0]!r} cannot be sent")
    lines += f"X-Request-Id: {request_id}", f"Date: {date}"
    if status not in _WITHOUT_CONTENT:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join((f"HTTP/1.1 {status} {phrase(status)}", *lines, "", "")).encode("latin-1")
    # RFC 9110, section 6.4.1: answers to HEAD, and those with 204 and 304, have no content.
    return head if omit_body or status in _WITHOUT_CONTENT else head + body
