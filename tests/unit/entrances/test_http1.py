"""The HTTP server under good, bad and hostile bytes, over real sockets."""

from contextlib import suppress

import pytest
import trio
import trio.testing

from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from tests.unit.entrances.http1_conversation import GET, LAST, POST, bodies, converse, echo, read_all, serving, status


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (LAST, ["GET /last ? "]),
        (GET + b"\r\n" + LAST, ["GET / ? ", "GET /last ? "]),
        (b"\r\n" + LAST, ["GET /last ? "]),
        (GET + b"\r\n\r\n" + LAST, ["GET / ? ", "GET /last ? "]),
        (b"GET /a%2fb?c=d&e HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, ["GET /a%2fb ?c=d&e ", "GET /last ? "]),
        (b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, ["GET /x ?y ", "GET /last ? "]),
        (b"GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, ["GET / ? ", "GET /last ? "]),
        (POST + b"Content-Length: 3\r\n\r\nabc" + LAST, ["POST / ? abc", "GET /last ? "]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + LAST, ["POST / ? abc", "GET /last ? "]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n" + LAST,
         ["POST / ? abc", "GET /last ? "]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LAST, ["POST / ? ", "GET /last ? "]),
        (b"GET /old HTTP/1.0\r\n\r\n", ["GET /old ? "]),
        (GET + b"Connection: close\r\n\r\n" + LAST, ["GET / ? "]),
        (POST + b"Content-Length: 0\r\n\r\n" + LAST, ["POST / ? ", "GET /last ? "]),
    ],
)  # fmt: skip
async def test_good_requests(raw: bytes, expected: list[str]) -> None:
    """Requests of every allowed shape are answered in order, whole and byte by byte."""
    async with serving() as port:
        assert bodies(await converse(port, raw)) == expected
        server, client = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http1.serve_connection, server, echo, Limits())
            with suppress(trio.BrokenResourceError):  # the server may close before the last byte
                for position in range(len(raw)):
                    await client.send_all(raw[position : position + 1])
            assert bodies(await read_all(client)) == expected


async def test_what_a_head_means_is_kept_and_nothing_else() -> None:
    """Requests with one and the same head have bodies, ids and connections of their own, and are refused alike."""
    seen: list[HttpRequest] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return await echo(request)

    post, big = POST + b"Content-Length: 3\r\n\r\n", POST + b"Content-Length: 1001\r\n\r\n"
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with serving(handler) as port:
        answer = await converse(port, post + b"abc" + post + b"def" + LAST)
        assert bodies(answer) == ["POST / ? abc", "POST / ? def", "GET /last ? "]
        answer = await converse(port, chunked + b"1\r\na\r\n0\r\n\r\n" + chunked + b"2\r\nbc\r\n0\r\n\r\n" + LAST)
        assert bodies(answer) == ["POST / ? a", "POST / ? bc", "GET /last ? "]
        for _ in range(2):
            assert status(await converse(port, big)) == 413
            assert status(await converse(port, GET + b"no colon\r\n\r\n")) == 400
    assert len({request.id for request in seen}) == len(seen) == 6
    assert len({request.client for request in seen}) == 2


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (GET + b"X: a\r\n b\r\n\r\n", 400),
        (GET + b"X: a\r\n\tb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400),
        (GET + b"X : a\r\n\r\n", 400),
        (GET + b"no colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (GET + b"Host: b\r\n\r\n", 400),
        (GET + b"Host: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (POST + b"Content-Length: +3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
        (POST + b"Content-Length: -3\r\n\r\nabc", 400),
        (POST + b"Content-Length: \xb2\r\n\r\nabc", 400),
        (POST + b"Content-Length:\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 501),
        (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\nGET /smuggled", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\nGET /smuggled", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\nGET /smuggled", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF1\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\r\n\r\n\r\n", 400),
        (GET + b"X: " + b"x" * 3000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 3000, 431),
        (POST + b"Content-Length: 1001\r\n\r\n", 413),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (POST + b"Content-Length: 999999999999999999999\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3E9\r\n" + b"x" * 1001 + b"\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0001;x=" + b"y" * 3000, 431),
    ],
)  # fmt: skip
async def test_bad_requests(raw: bytes, expected: int) -> None:
    """A request that is malformed, ambiguous or too large gets one error answer and a close."""
    called = False

    async def handler(request: HttpRequest) -> HttpResponse:
        nonlocal called
        called = True
        return await echo(request)

    async with serving(handler) as port:
        answer = await converse(port, raw)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert status(answer) == expected
        assert b"connection: close" in answer.lower()
        assert not called
        assert bodies(await converse(port, LAST)) == ["GET /last ? "]


async def test_flood_of_tiny_chunks_is_bounded() -> None:
    """Chunk extensions that cost far more than the data they carry are refused."""
    async with serving() as port:
        tiny = b"1;" + b"x" * 500 + b"\r\na\r\n"
        answer = await converse(port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + tiny * 200)
        assert status(answer) == 413


async def test_expect_continue() -> None:
    """A peer that waits for 100 gets it once, before its body, and the final answer after it."""
    async with serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 Continue\r\n")
        await stream.send_all(b"abc")
        assert bodies(await read_all(stream)) == ["POST / ? abc"]


async def test_expect_continue_is_not_sent_for_a_body_that_will_be_refused() -> None:
    """A body that is declared too large is refused before it is sent."""
    async with serving() as port:
        answer = await converse(port, POST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n")
        assert status(answer) == 413


async def test_head_gets_the_length_without_the_body() -> None:
    """HEAD is answered with the headers of GET and no body."""
    async with serving() as port:
        answer = await converse(port, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + LAST)
        first, _, rest = answer.partition(b"\r\n\r\n")
        assert b"Content-Length: 9" in first
        assert bodies(rest) == ["GET /last ? "]


async def test_refused_connections_get_their_answer_although_they_keep_sending() -> None:
    """The answer to an oversized body arrives even if the peer has not stopped sending."""
    async with serving() as port:
        answer = await converse(port, POST + b"Content-Length: 500000\r\n\r\n" + b"x" * 500_000)
        assert status(answer) == 413


async def test_handler_exception_is_reported_but_not_told() -> None:
    """An exception becomes 500 without its text; the callback sees it, and the connection lives."""
    seen: list[tuple[str, str]] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        if request.path == "/last":
            return await echo(request)
        raise ValueError("the secret is hunter2")

    async with serving(handler, on_exception=lambda e, r: seen.append((str(e), r.path))) as port:
        answer = await converse(port, GET + b"\r\n" + LAST)
        assert status(answer) == 500
        assert b"hunter2" not in answer
        assert bodies(answer)[1] == "GET /last ? "
        assert seen == [("the secret is hunter2", "/")]


@pytest.mark.parametrize("header", [("X", "a\r\nSet-Cookie: b"), ("X", "żółw"), ("bad name", "x")])
async def test_header_that_cannot_be_sent_is_an_internal_error(header: tuple[str, str]) -> None:
    """A handler cannot split the answer with a header: it becomes 500."""
    seen: list[Exception] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [header])

    async with serving(handler, on_exception=lambda e, r: seen.append(e)) as port:
        assert status(await converse(port, LAST)) == 500
        assert len(seen) == 1


async def test_error_body_is_made_by_the_caller() -> None:
    """Refusals are worded by the callable that was passed in."""

    def envelope(code: int, reason: str) -> HttpResponse:
        return HttpResponse(code, [("Content-Type", "application/json")], b'{"status":"error"}')

    async with serving(error_response=envelope) as port:
        answer = await converse(port, b"junk\r\n\r\n")
        assert status(answer) == 400
        assert bodies(answer) == ['{"status":"error"}']


async def test_a_refused_head_request_gets_no_body() -> None:
    """A refusal that answers HEAD has no body, like every answer to it, and the server goes on."""
    async with serving() as port:
        head = b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"
        answer = await converse(port, head)
        assert status(answer) == 400
        assert answer.endswith(b"\r\n\r\n")
        assert bodies(await converse(port, LAST)) == ["GET /last ? "]


async def test_a_mistake_of_the_server_ends_one_connection_only() -> None:
    """Whatever goes wrong with one connection outside of its handler is reported, and others are served."""
    seen: list[tuple[Exception, str]] = []

    def broken(code: int, reason: str) -> HttpResponse:
        raise ZeroDivisionError

    async with serving(error_response=broken, on_exception=lambda e, r: seen.append((e, r.method))) as port:
        assert await converse(port, b"junk\r\n\r\n") == b""
        assert [(type(exception), method) for exception, method in seen] == [(ZeroDivisionError, "")]
        assert bodies(await converse(port, LAST)) == ["GET /last ? "]


async def test_request_does_not_show_its_secrets() -> None:
    """The repr of a request leaves out query, headers and body."""
    request = HttpRequest("POST", "/token", "code=s3cret", [("authorization", "s3cret")], b"s3cret")
    assert "s3cret" not in repr(request)
    assert request.header("Authorization") == "s3cret"
    assert request.header("x") is None


@pytest.mark.parametrize(
    "header",
    [
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("date", "now"),
        ("X-Request-ID", "a"),
    ],
)
async def test_header_of_the_server_is_an_internal_error(header: tuple[str, str]) -> None:
    """What the server itself says of an answer, no handler says; nor may it answer with an interim status."""
    for response in (HttpResponse(200, [header]), HttpResponse(101, [])):

        async def handler(request: HttpRequest, response: HttpResponse = response) -> HttpResponse:
            return response

        async with serving(handler) as port:
            assert status(await converse(port, LAST)) == 500


@pytest.mark.parametrize("code", [204, 304])
async def test_answers_without_content(code: int) -> None:
    """Some statuses have no content and no length (RFC 9110, sections 15.3.5 and 15.4.5)."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(code, [], b"not sent")

    async with serving(handler) as port:
        answer = await converse(port, LAST)
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length" not in answer.lower()


async def test_upgrade_is_not_taken() -> None:
    """A request that offers another protocol is answered in this one, and the connection ends."""
    async with serving() as port:
        answer = await converse(port, GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert status(answer) == 200
    assert b"connection: close" in answer.lower()


async def test_status_without_a_name() -> None:
    """A status that nobody has named can be answered."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(799, [], b"odd")

    async with serving(handler) as port:
        assert (await converse(port, LAST)).startswith(b"HTTP/1.1 799 Unknown\r\n")
