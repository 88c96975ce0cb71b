"""Whatever the bytes and however they are cut: the HTTP server answers well, or refuses, and never falls over."""

from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import assume, example, given
from hypothesis import strategies as st

from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse

pytestmark = pytest.mark.hardening

LIMITS = Limits(max_header_bytes=500, max_body_bytes=500, header_timeout=5, body_timeout=5, idle_timeout=5)
BODIES = st.binary(max_size=60)
CUTS = st.lists(st.integers(0, 2000), max_size=12)


def encoded(body: bytes, sizes: list[int] | None, last: bool) -> bytes:
    """A POST with this body: with Content-Length, or (with `sizes`) in chunks of these sizes, over and over."""
    connection = b"Connection: close\r\n" if last else b""
    head = b"POST /x HTTP/1.1\r\nHost: a\r\n" + connection
    if not sizes:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks, rest, turn = [], body, 0
    while rest:
        size = sizes[turn % len(sizes)]
        part, rest, turn = rest[:size], rest[size:], turn + 1
        chunks.append(b"%x\r\n%b\r\n" % (len(part), part))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks) + b"0\r\n\r\n"


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    """`raw` cut at these places."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(raw)}), len(raw)]
    return [raw[start:end] for start, end in pairwise(places)]


def converse(parts: list[bytes]) -> tuple[bytes, list[bytes]]:
    """What the server answers to these segments (end of stream after them), and the bodies its handler saw."""
    seen: list[bytes] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        seen.append(request.body)
        return HttpResponse(200, [], b"")

    async def main() -> bytes:
        server, client = trio.testing.memory_stream_pair()
        answer = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(http1.serve_connection, server, handler, LIMITS, now=lambda: 0.0))
            try:
                for part in parts:
                    await client.send_all(part)
                    await trio.testing.wait_all_tasks_blocked()
                await client.send_eof()
            except trio.BrokenResourceError:
                pass  # the server has closed already
            while data := await client.receive_some(65536):
                answer += data
        return answer

    clock = trio.testing.MockClock(autojump_threshold=0.05)
    return trio.run(main, clock=clock), seen


@given(
    st.lists(
        st.tuples(BODIES, st.none() | st.lists(st.integers(1, 20), min_size=1, max_size=4)), min_size=1, max_size=4
    ),
    CUTS,
)
@example([(b"", [1]), (b"ab", [1])], [1, 2, 3])
def test_requests_survive_every_cut(requests: list[tuple[bytes, list[int] | None]], cuts: list[int]) -> None:
    """Pipelined requests, by length or in chunks, are understood alike wherever the segments end."""
    raw = b"".join(
        encoded(body, sizes, last=number == len(requests)) for number, (body, sizes) in enumerate(requests, 1)
    )
    answer, seen = converse(pieces(raw, cuts))
    assert seen == [body for body, _ in requests]
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == len(requests)


@given(st.binary(max_size=1500), CUTS)
@example(b"\r\n\r\n", [1])
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12\r\n\r\nGET", [20])
def test_any_bytes_get_an_answer_or_a_close(junk: bytes, cuts: list[int]) -> None:
    """Any bytes at all lead to at most one refusal and a close, never to an exception or a hang."""
    answer, _ = converse(pieces(junk, cuts))
    assert answer.count(b"connection: close") + answer.count(b"Connection: close") <= 1
    assert not answer or answer.startswith(b"HTTP/1.1 ")


@given(st.binary(min_size=1, max_size=40), st.integers(0, 200), CUTS)
def test_junk_inside_a_valid_request(junk: bytes, place: int, cuts: list[int]) -> None:
    """Junk spliced into a valid request never makes the server run more requests than it answers."""
    valid = encoded(b"hello world", [3], last=False) + encoded(b"bye", None, last=True)
    answer, seen = converse(pieces(valid[:place] + junk + valid[place:], cuts))
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == len(seen)
    assert len(seen) <= 3


@given(st.integers(0, 400), st.sampled_from([b"\n", b"\r", b"\0", b"\r\n ", b"\r\n\t"]))
def test_bare_line_ends_never_pass(place: int, junk: bytes) -> None:
    """A bare CR, LF, a NUL or a folded line anywhere in a head is refused."""
    head = b"GET /some/path HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Long: " + b"abcdefgh " * 20 + b"z\r\n\r\n"
    place %= len(head) - 4
    broken = head[:place] + junk + head[place:]
    assume(not (junk.startswith(b"\r\n") and head[:place].endswith(b"\r\n")))  # that would end the head, rightly
    answer, seen = converse([broken])
    assert seen == []
    assert answer.startswith(b"HTTP/1.1 400 ")
