"""Peers that mean no good at the HTTPS front, and a well-behaved client beside them that notices nothing."""

from __future__ import annotations

import resource
import socket
import ssl
from pathlib import Path

import pytest
import trio

from tests.integration.https_client import Front, raw_request, receive_all, running_front, status_of
from tests.integration.logins import error_of

pytestmark = pytest.mark.hardening

QUICK = {"frame_timeout_in_seconds": 1}
IDLE_CONNECTIONS = 1000
HEADERS = "Host: localhost\r\n"
GOOD = raw_request("get-client-token", {}, "Connection: close")


async def well_behaved(front: Front) -> None:
    """A client that is served at once, whatever others do."""
    with trio.fail_after(10):
        assert error_of(await front.call("get_client_token")) == "bad_request"


SMUGGLING = {
    "two lengths": "POST /get-rp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}X",
    "two equal lengths": "POST /get-rp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": "POST /get-rp HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": "POST /get-rp HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
    "length and chunked": (
        "POST /get-rp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunked in HTTP/1.0": "POST /get-rp HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": "POST /get-rp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": "POST /get-rp HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
    "a bare line feed in a header": "POST /get-rp HTTP/1.1\r\nHost: a\nX: y\r\nContent-Length: 2\r\n\r\n{}",
    "a bare carriage return": "POST /get-rp HTTP/1.1\r\nHost: a\rX: y\r\nContent-Length: 2\r\n\r\n{}",
    "obsolete folding": "POST /get-rp HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\nContent-Length: 2\r\n\r\n{}",
    "a space before the colon": "POST /get-rp HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}",
    "two hosts": "POST /get-rp HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}",
    "no host": "POST /get-rp HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "a null byte": "POST /get-rp HTTP/1.1\r\nHost: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "a bad chunk size": "POST /get-rp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
}


async def test_requests_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    """Every smuggling shape gets one answer, an error, and the connection closes: what follows it is not run."""
    async with running_front(tmp_path) as front:
        for name, text in SMUGGLING.items():
            answer = await front.exchange(text.encode() + GOOD)
            assert status_of(answer) in (400, 501), (name, answer)
            assert answer.count(b"HTTP/1.1 ") == 1, (name, answer)
            await well_behaved(front)


async def test_huge_heads_are_refused(tmp_path: Path) -> None:
    """One endless header, or endlessly many, is refused at the limit and not read to its end."""
    async with running_front(tmp_path) as front:
        for flood in (b"X: " + b"y" * 1_000_000, b"X: y\r\n" * 100_000, b""):
            line = b"GET /health-check HTTP/1.1\r\n" if flood else b"GET /" + b"a" * 1_000_000
            stream = await front.open_stream()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send, stream, line + flood)
                answer = await receive_all(stream)
            assert answer == b"" or status_of(answer) == 431
            await trio.aclose_forcefully(stream)
            await well_behaved(front)


async def _send(stream: trio.abc.SendStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _drip(stream: trio.abc.SendStream, data: bytes) -> None:
    for number in range(len(data)):
        await _send(stream, data[number : number + 1])
        await trio.sleep(0.02)


@pytest.mark.parametrize("part", ["head", "body", "chunks"])
async def test_slow_senders_are_timed_out(tmp_path: Path, part: str) -> None:
    """A byte now and then does not keep a connection: each part of a request has its time as a whole."""
    requests = {
        "head": (b"", b"POST /get-rp HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 500),
        "body": (b"POST /get-rp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n", b"{" + b" " * 498),
        "chunks": (
            b"POST /get-rp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\n \r\n" * 100,
        ),
    }
    at_once, slowly = requests[part]
    async with running_front(tmp_path, QUICK) as front:
        stream = await front.open_stream()
        async with trio.open_nursery() as nursery:
            await stream.send_all(at_once + slowly[:1])
            nursery.start_soon(_drip, stream, slowly[1:])
            await well_behaved(front)
            answer = await receive_all(stream)
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)
        assert status_of(answer) == 408


def client_hello() -> bytes:
    """Return the first flight of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def test_tls_clients_that_stop_in_mid_handshake_are_dropped(tmp_path: Path) -> None:
    """A handshake has the time of a head, however it stalls; then it is closed, and meanwhile others are served."""
    hello = client_hello()
    async with running_front(tmp_path, QUICK) as front:
        for beginning in (b"", hello[:1], hello[:100], hello):
            stalled = [await trio.open_tcp_stream("127.0.0.1", front.port) for _ in range(50)]
            for stream in stalled:
                await _send(stream, beginning)
            await well_behaved(front)
            for stream in stalled:
                await receive_all(stream)  # it ends, which is the point
                await stream.aclose()
        await well_behaved(front)


async def test_a_dripping_handshake_is_dropped(tmp_path: Path) -> None:
    """A byte now and then does not keep a handshake alive."""
    async with running_front(tmp_path, QUICK) as front, trio.open_nursery() as nursery:
        stream = await trio.open_tcp_stream("127.0.0.1", front.port)
        nursery.start_soon(_drip, stream, client_hello())
        await well_behaved(front)
        await receive_all(stream)
        nursery.cancel_scope.cancel()
        await stream.aclose()


async def test_plain_http_on_the_tls_port_gets_closed(tmp_path: Path) -> None:
    """Who speaks HTTP without TLS there gets no HTTP answer, and is closed at once."""
    async with running_front(tmp_path) as front:
        async with await trio.open_tcp_stream("127.0.0.1", front.port) as stream:
            await stream.send_all(GOOD)
            assert b"HTTP" not in await receive_all(stream)
        await well_behaved(front)


async def test_a_thousand_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    """With every place taken by an idle connection, new clients are served: the longest idle ones give way."""
    _raise_file_limit(4 * IDLE_CONNECTIONS)
    async with running_front(tmp_path, {"idle_timeout_in_seconds": 600}) as front:
        idle: list[trio.SSLStream[trio.SocketStream]] = []
        limit = trio.CapacityLimiter(20)

        async def open_one() -> None:
            async with limit:
                stream = await front.open_stream()
                await stream.send_all(b"GET /health-check HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await stream.receive_some(1000)
                idle.append(stream)

        async with trio.open_nursery() as nursery:
            for _ in range(IDLE_CONNECTIONS):
                nursery.start_soon(open_one)
        for _ in range(10):
            await well_behaved(front)
            assert status_of(await front.exchange(GOOD)) == 200
        for stream in idle:
            await trio.aclose_forcefully(stream)
        await well_behaved(front)


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


async def test_peers_that_never_read_are_dropped(tmp_path: Path) -> None:
    """Who asks for much and reads nothing is dropped when the answer cannot leave in time."""
    async with running_front(tmp_path, QUICK) as front:
        raw = trio.socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await raw.connect(("127.0.0.1", front.port))
        stream = trio.SSLStream(trio.SocketStream(raw), front.context, server_hostname="localhost")
        await stream.do_handshake()
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with trio.move_on_after(20) as gave_up:
            while True:
                try:
                    await stream.send_all(request * 100)
                except trio.BrokenResourceError:
                    break
        assert not gave_up.cancelled_caught
        await trio.aclose_forcefully(stream)
        await well_behaved(front)
