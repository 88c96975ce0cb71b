"""The client of our own socket, against servers that answer well, badly and never."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from oxd_server.oxd_client import OxdClient, OxdUnreachable

OK = b'0035{"status":"ok","data":{"oxd_id":1}}'


@asynccontextmanager
async def answering(*parts: bytes, hang: bool = False) -> AsyncIterator[tuple[int, bytearray]]:
    """A server that reads one segment, sends these parts and closes (or hangs); gives its port and what it got."""
    received = bytearray()

    async def serve(stream: trio.SocketStream) -> None:
        received.extend(await stream.receive_some())
        for part in parts:
            await stream.send_all(part)
        if hang:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        yield listeners[0].socket.getsockname()[1], received
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("parts", [(OK,), (OK[:2], OK[2:20], OK[20:]), tuple(OK[i : i + 1] for i in range(len(OK)))])
async def test_answers(parts: tuple[bytes, ...]) -> None:
    """The envelope comes back however the answer is cut, with the frames as they went."""
    async with answering(*parts) as (port, received):
        exchange = await OxdClient("127.0.0.1", port).exchange("get_rp", {"oxd_id": "é"})
        assert exchange.envelope == {"status": "ok", "data": {"oxd_id": 1}}
        assert exchange.ok
        assert exchange.data == {"oxd_id": 1}
        assert exchange.sent == bytes(received)
        assert exchange.received == OK
        assert b"\\u00e9" in received


async def test_call_returns_error_envelopes() -> None:
    """An error answer is an answer."""
    error = b'{"status":"error","data":{"error":"bad_request"}}'
    async with answering(b"%04d" % len(error) + error) as (port, _):
        envelope = await OxdClient("127.0.0.1", port).call("x", {})
        assert envelope == {"status": "error", "data": {"error": "bad_request"}}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed"),
        (b"0099{", "closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no frame"),
        (b"0003{x}", "not JSON"),
    ],
)
async def test_bad_answers(answer: bytes, text: str) -> None:
    """Nothing, half a frame, something else and no JSON are one kind of error, with a sentence each."""
    async with answering(answer) as (port, _):
        with pytest.raises(OxdUnreachable, match=text):
            await OxdClient("127.0.0.1", port).call("x", {})


async def test_no_server() -> None:
    """A port that nobody listens on."""
    with pytest.raises(OxdUnreachable, match=r"No oxd server answers on .* port 1"):
        await OxdClient("127.0.0.1", 1).call("x", {})


async def test_silent_server() -> None:
    """A server that never answers is given up after the timeout."""
    async with answering(hang=True) as (port, _):
        with pytest.raises(OxdUnreachable, match="No answer to x within"):
            await OxdClient("127.0.0.1", port, timeout=0.1).call("x", {})


async def test_command_that_is_too_long() -> None:
    """A command that no frame can carry is refused before anything is sent."""
    with pytest.raises(OxdUnreachable, match="too long"):
        await OxdClient().call("x", {"a": "b" * 10_000})
