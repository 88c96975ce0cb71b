"""`http_head`: what the head of an answer means, as h11 sees it, which reads the whole answer."""

import h11
import pytest

from oxd_server.op.http_head import BLANK_LINE, head_of

ANSWERS = {
    "with a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "twice the same length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "one length said twice": (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n", b"{}"),
    "no body at all": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "204 with a length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\n", b""),
    "in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "in chunks and with a length": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n",
    ),
    "to the end": (b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n", None),
    "of HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "of HTTP/1.0 kept alive": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "closing": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "closing among other options": (
        b"HTTP/1.1 200 OK\r\nconnection: x,\r\nConnection: y , Close\r\nContent-Length: 2\r\n\r\n", b"{}",
    ),
    "not closing": (b"HTTP/1.1 200 OK\r\nConnection: keep-alive, closed\r\nContent-Length: 2\r\n\r\n", b"{}"),
    "lines without CR": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n", b"{}"),
    "a folded line": (b"HTTP/1.1 200 OK\r\nX-A: b\r\n  c\r\nContent-Length: 2\r\n\r\n", b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("what", ANSWERS)
def test_head_means_what_the_parser_makes_of_the_answer(what):
    """Length, headers and whether the connection persists are as h11 finds them with the body before it."""
    raw, body = ANSWERS[what]
    head = head_of(raw)
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("host", "op")]))
    parser.receive_data(raw + (body or b""))
    if body is None:
        parser.receive_data(b"")
    response, *pieces = _events(parser)
    assert (head.status, set(head.headers)) == (response.status_code, {name.decode() for name, _ in response.headers})
    assert head.persists == (parser.their_state is h11.DONE and body is not None)
    read = sum(len(piece.data) for piece in pieces if isinstance(piece, h11.Data))
    assert head.length in (None, read)
    assert (head.length is None) == (body is None or body.endswith(b"0\r\n\r\n"))


def _events(parser):
    events: list[object] = []
    while not events or not isinstance(events[-1], h11.EndOfMessage):
        events.append(parser.next_event())
    return events


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"\r\n",
    ],
)
def test_head_that_is_none(raw):
    """What RFC 9112 forbids, and what nobody asked for, is no head; also when it comes again."""
    for _ in range(2):
        with pytest.raises(h11.RemoteProtocolError):
            head_of(raw)


def test_headers_are_joined_and_cannot_be_changed():
    """Lines of one name are joined in their order; who has the same head later has the same headers."""
    head = head_of(b"HTTP/1.1 200 OK\r\nVary: a\r\nX-A: \xe4\r\nvary: b\r\n\r\n")
    assert head.headers == {"vary": "a, b", "x-a": "ä"}
    with pytest.raises(TypeError):
        head.headers["vary"] = "c"  # type: ignore[index]


def test_short_heads_are_remembered_and_long_ones_are_not():
    """A head that is asked about again is the same object, up to a length."""
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    long = short.replace(b"OK", b"O" * 3000)
    assert head_of(short) is head_of(bytes(bytearray(short)))
    assert head_of(long) == head_of(long)
    assert head_of(long) is not head_of(long)


@pytest.mark.parametrize("raw", [b"a\r\nb\r\n\r\n", b"a\nb\n\n", b"a\r\nb\n\r\n", b"a\r\nb\r\n\n"])
def test_blank_line(raw):
    """A line may end with CR LF or LF alone."""
    found = BLANK_LINE.search(raw + b"{}\n\n")
    assert found is not None
    assert found.end() == len(raw)
