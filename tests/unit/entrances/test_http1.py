"""The HTTP server under good, bad and hostile bytes, over real sockets."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Handler, Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.streams import TcpStream

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SMALL = Limits(max_header_bytes=2000, max_body_bytes=1000)
SHORT = replace(SMALL, header_timeout=0.2, body_timeout=0.2, send_timeout=0.2, idle_timeout=0.2)


async def echo(request: HttpRequest) -> HttpResponse:
    """Answer what was understood."""
    text = f"{request.method} {request.path} ?{request.query} {request.body.decode('latin-1')}"
    return HttpResponse(200, [("Content-Type", "text/plain")], text.encode("latin-1"))


@asynccontextmanager
async def serving(handler: Handler = echo, limits: Limits = SMALL, **options: Any) -> AsyncIterator[int]:
    """A server on loopback; gives its port."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(partial(http1.serve, listeners, handler, limits, **options))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything until the server closes."""
    answer = b""
    with trio.fail_after(10):
        while data := await stream.receive_some(65536):
            answer += data
    return answer


async def converse(port: int, *parts: bytes) -> bytes:
    """Send the parts, one segment each, and read until the server closes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for part in parts:
            await stream.send_all(part)
            await trio.testing.wait_all_tasks_blocked()
        return await read_all(stream)


def bodies(answer: bytes) -> list[str]:
    """The bodies of a sequence of answers with Content-Length."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            answer = rest
            continue
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        found.append(rest[:length].decode("latin-1"))
        answer = rest[length:]
    return found


def status(answer: bytes) -> int:
    """The status of the first answer."""
    return int(answer.split(b" ", 2)[1])


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


@pytest.mark.parametrize(
    "raw",
    [
        GET[:9],
        GET,
        POST + b"Content-Length: 3\r\n\r\nab",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
        POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    ],
)
async def test_slow_requests(raw: bytes) -> None:
    """A head or a body that does not come to its end in time gets 408 and a close."""
    async with serving(limits=SHORT) as port:
        answer = (await converse(port, raw)).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert status(answer) == 408
        assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("raw", [GET[:9], GET, POST + b"Content-Length: 3\r\n\r\nab"])
async def test_requests_that_break_off(raw: bytes) -> None:
    """A peer that ends its sending side within a request gets 400."""
    async with serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(raw)
        await stream.send_eof()
        assert status(await read_all(stream)) == 400


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


@pytest.mark.parametrize("raw", [b"", GET + b"\r\n"])
async def test_idle_connection_is_closed_without_a_word(raw: bytes) -> None:
    """A connection on which nothing (more) arrives is closed after its time, without an error answer."""
    async with serving(limits=SHORT) as port:
        answer = await converse(port, raw)
        assert b"408" not in answer


@pytest.mark.parametrize("raw", [b"", b"GE", POST + b"Content-Length: 9\r\n\r\nabc", GET + b"\r\n"])
async def test_peer_that_vanishes_is_no_error(raw: bytes) -> None:
    """A peer may leave or reset at any point; the server goes on."""
    seen: list[Exception] = []
    async with serving(on_exception=lambda e, r: seen.append(e)) as port:
        for reset in (False, True):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            if reset:
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if raw:
                await stream.send_all(raw)
            await stream.aclose()
        assert bodies(await converse(port, LAST)) == ["GET /last ? "]
    assert seen == []


async def test_half_closed_peer_still_gets_its_answer() -> None:
    """A peer that has sent its request and shut its sending side is answered."""
    async with serving() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(GET + b"\r\n")
        await stream.send_eof()
        assert bodies(await read_all(stream)) == ["GET / ? "]


async def test_peer_that_does_not_read_is_given_up() -> None:
    """An answer that nobody reads ends with its time, not never."""
    done = trio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], b"x" * 50_000_000)

    async def serve_one(stream: trio.SocketStream) -> None:
        await http1.serve_connection(stream, handler, SHORT)
        done.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve_one, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(GET + b"\r\n")
            with trio.fail_after(10):
                await done.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [10, 5_000_000])
async def test_an_answer_gets_through_at_once_or_in_parts(size: int) -> None:
    """What the system takes whole is sent without waiting; the rest of a large answer follows as the peer reads."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], b"x" * size)

    ours, theirs = socket.socketpair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http1.serve_connection, TcpStream(ours), handler, SMALL)
        client = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        await client.send_all(LAST)
        assert [len(body) for body in bodies(await read_all(client))] == [size]
        await client.aclose()


async def test_the_rest_of_an_answer_has_its_time() -> None:
    """A peer that takes the beginning of an answer, and reads no further, is given up."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], b"x" * 5_000_000)

    ours, theirs = socket.socketpair()
    with theirs, trio.fail_after(10):
        theirs.sendall(GET + b"\r\n")
        await http1.serve_connection(TcpStream(ours), handler, SHORT)


async def test_waiting_connections_make_room() -> None:
    """At the limit, the connection that has waited longest goes, and the new one is served at once."""
    limits = Limits(max_connections=3, header_timeout=60, idle_timeout=60)
    async with serving(limits=limits) as port:
        waiting = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
        for stream in waiting:
            await stream.send_all(b"GET / HT")
        await trio.testing.wait_all_tasks_blocked()
        assert bodies(await converse(port, LAST)) == ["GET /last ? "]
        with trio.fail_after(5):
            assert await waiting[0].receive_some() == b""
        await waiting[2].send_all(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert (await waiting[2].receive_some()).startswith(b"HTTP/1.1 200")
        for stream in waiting:
            await stream.aclose()


async def test_busy_server_says_so() -> None:
    """At the limit, with every connection at work, a new one gets 503."""
    release, started = trio.Event(), trio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        started.set()
        await release.wait()
        return await echo(request)

    async with (
        serving(handler, Limits(max_connections=1)) as port,
        await trio.open_tcp_stream("127.0.0.1", port) as one,
    ):
        await one.send_all(LAST)
        await started.wait()
        assert status(await converse(port)) == 503
        release.set()
        assert bodies(await read_all(one)) == ["GET /last ? "]


async def test_stop_answers_what_runs_and_closes_what_waits() -> None:
    """After `stop`, running requests are answered with Connection: close, waiting connections are closed."""
    release, started, stop = trio.Event(), trio.Event(), trio.Event()

    async def handler(request: HttpRequest) -> HttpResponse:
        started.set()
        await release.wait()
        return await echo(request)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(http1.serve, listeners, handler, Limits(), stop=stop))
        idle = await trio.open_tcp_stream("127.0.0.1", port)
        busy = await trio.open_tcp_stream("127.0.0.1", port)
        await busy.send_all(GET + b"\r\n")
        await started.wait()
        stop.set()
        assert await read_all(idle) == b""
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
        release.set()
        answer = await read_all(busy)
        assert bodies(answer) == ["GET / ? "]
        assert b"Connection: close" in answer
        await idle.aclose()
        await busy.aclose()


async def test_request_does_not_show_its_secrets() -> None:
    """The repr of a request leaves out query, headers and body."""
    request = HttpRequest("POST", "/token", "code=s3cret", [("authorization", "s3cret")], b"s3cret")
    assert "s3cret" not in repr(request)
    assert request.header("Authorization") == "s3cret"
    assert request.header("x") is None


async def test_it_serves_tls(tls_contexts: Callable[[], tuple[ssl.SSLContext, ssl.SSLContext]]) -> None:
    """The same server runs on TLS; a peer that stops in mid-handshake, or speaks no TLS, hurts nobody else."""
    server_context, client_context = tls_contexts()
    tcp = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = tcp[0].socket.getsockname()[1]
    listeners = [trio.SSLListener(listener, server_context, https_compatible=True) for listener in tcp]
    async with trio.open_nursery() as nursery:
        await nursery.start(http1.serve, listeners, echo, replace(SMALL, header_timeout=1.0))
        silent = await trio.open_tcp_stream("127.0.0.1", port)
        await silent.send_all(b"\x16\x03\x01\x02")
        assert b"HTTP" not in await converse(port, LAST)
        inner = await trio.open_tcp_stream("127.0.0.1", port)
        async with trio.SSLStream(inner, client_context, server_hostname="localhost", https_compatible=True) as stream:
            await stream.send_all(POST + b"Content-Length: 3\r\n\r\nabc" + LAST)
            assert bodies(await read_all(stream)) == ["POST / ? abc", "GET /last ? "]
        assert await read_all(silent) == b""
        await silent.aclose()
        nursery.cancel_scope.cancel()


@pytest.fixture
def tls_contexts() -> Callable[[], tuple[ssl.SSLContext, ssl.SSLContext]]:
    """Server and client contexts around a certificate made for this test."""
    return make_contexts


def make_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-signed certificate for localhost, and a client that trusts it alone."""
    import datetime
    import tempfile

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
        now + datetime.timedelta(hours=1)
    )
    certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False).sign(
        key, hashes.SHA256()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem + key_pem)
        file.flush()
        server.load_cert_chain(file.name)
    return server, ssl.create_default_context(cadata=pem.decode())


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
