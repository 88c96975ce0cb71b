"""The connections of `Transport`: which are kept, which are given up, and what is sent once more."""

import socket
import struct
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from oxd_server.op.errors import OpUnreachable
from tests.unit.op.replies import addresses, hang_up, raw_bytes


async def test_connection_is_reused(op, transport):
    """Two requests one after the other share a connection."""
    url = op.on("GET", "/", {})
    await transport.send("GET", url, step="s")
    await transport.send("GET", url, step="s")
    assert op.connections == 1


async def test_answer_that_ends_with_its_connection(op, transport):
    """A body without a length goes on to the end of the connection, which is not used again."""
    op.raw("GET", "/", raw_bytes(b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}'))
    url = op.on("GET", "/", {"b": 2})
    assert (await transport.send("GET", url, step="s")).json_object() == {"a": 1}
    assert (await transport.send("GET", url, step="s")).json_object() == {"b": 2}
    assert op.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["with a length", "in chunks"],
)
async def test_bytes_after_an_answer_belong_to_none(op, transport, answer):
    """What comes after an answer is not taken for the next one: the connection is given up."""
    op.raw("GET", "/", raw_bytes(answer + answer.replace(b"{}", b"[]"), then_hang=True))
    url = op.on("GET", "/", {"a": 1})
    assert (await transport.send("GET", url, step="s")).body == b"{}"
    assert (await transport.send("GET", url, step="s")).json_object() == {"a": 1}
    assert op.connections == 2


async def test_get_is_repeated_once(op, transport):
    """A GET whose connection breaks before an answer is sent once more."""
    op.raw("GET", "/", hang_up)
    url = op.on("GET", "/", {"a": 1})
    assert (await transport.send("GET", url, step="s")).json_object() == {"a": 1}
    assert len(op.requests) == 2


async def test_get_is_not_repeated_twice(op, transport):
    """A GET whose connection breaks again is given up."""
    with pytest.raises(OpUnreachable, match="twice"):
        await transport.send("GET", op.raw("GET", "/", hang_up), step="s")
    assert len(op.requests) == 2


async def test_post_is_never_repeated(op, transport):
    """A POST whose connection breaks is not sent again: the OP may have acted on it."""
    with pytest.raises(OpUnreachable, match="broke"):
        await transport.send("POST", op.raw("POST", "/", hang_up), step="s")
    assert len(op.requests) == 1


async def test_refused_connection(transport):
    """Where nobody listens the OP is unreachable."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(OpUnreachable) as caught:
            await transport.send("POST", f"http://127.0.0.1:{port}/", step="s")
    assert (caught.value.host, caught.value.cause) == (f"127.0.0.1:{port}", "refused")
    assert "nobody listens" in caught.value.reason


async def test_cancelled_request_frees_its_connection(op, open_transport):
    """A cancelled request gives its place in the pool back."""
    op.raw("GET", "/hang", raw_bytes(b"", then_hang=True))
    async with open_transport(max_connections=1) as transport:
        async with trio.open_nursery() as nursery:

            async def ask():
                await transport.send("GET", op.base + "/hang", step="s")

            nursery.start_soon(ask)
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).status == 200


async def test_kept_connection_that_the_op_closed(op, transport):
    """A kept connection that was closed meanwhile is not used: a POST over it would be lost."""

    async def answer_and_leave(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    op.raw("POST", "/", answer_and_leave)
    url = op.on("POST", "/", {"a": 1})
    assert (await transport.send("POST", url, step="s")).body == b"{}"
    await wait_all_tasks_blocked(0.05)
    assert (await transport.send("POST", url, step="s")).json_object() == {"a": 1}


async def test_kept_connections_expire(op, open_transport):
    """A connection is kept for so long and no longer; then it is closed."""
    url = op.on("GET", "/", {})
    async with open_transport(idle_connection_seconds=0.0) as transport:
        for _ in range(3):
            assert (await transport.send("GET", url, step="s")).status == 200
    assert op.connections == 3


async def test_so_many_connections_are_kept(op, open_transport):
    """Of connections that are not needed any more the oldest is closed when there are more than are kept."""
    url = op.on("GET", "/", {})
    other = url.replace("127.0.0.1", "localhost")
    async with open_transport(addresses("127.0.0.1"), max_idle_connections=1) as transport:
        for each in (url, other, other, url):
            assert (await transport.send("GET", each, step="s")).status == 200
    assert op.connections == 3


async def test_answer_before_the_request_was_read(op, transport):
    """An OP may answer and close before it has read all of a request: the answer counts."""

    async def refuse(stream):
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    url = op.raw("POST", "/", refuse)
    assert (await transport.send("POST", url, step="s", form={"a": "x"})).status == 413


@pytest.mark.parametrize("size", [1, 5_000_000])
async def test_connection_that_is_reset(transport, size):
    """A connection that the OP resets, while the request goes out or after it, broke; a POST is not repeated."""
    connections = 0

    async def reset(stream):
        nonlocal connections
        connections += 1
        await stream.receive_some(1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, reset, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        with pytest.raises(OpUnreachable, match=r"broke before an answer$"):
            await transport.send("POST", url, step="s", form={"a": "x" * size})
        nursery.cancel_scope.cancel()
    assert connections == 1
