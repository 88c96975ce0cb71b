"""The connections of the HTTP server: their limits in time and number, peers that leave or stall, the stop, TLS."""

import socket
import ssl
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from oxd_server.entrances import http1
from oxd_server.entrances.certificates import ensure_self_signed, make_server_context
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.streams import TcpStream
from tests.unit.entrances.http1_conversation import (
    GET,
    LAST,
    POST,
    SHORT,
    SMALL,
    bodies,
    converse,
    echo,
    read_all,
    serving,
    status,
)


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


async def test_it_serves_tls(tmp_path: Path) -> None:
    """The same server runs on TLS; a peer that stops in mid-handshake, or speaks no TLS, hurts nobody else."""
    certificate, key = ensure_self_signed(tmp_path, datetime.now(UTC))
    server_context = make_server_context(certificate, key)
    client_context = ssl.create_default_context(cafile=certificate)
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
