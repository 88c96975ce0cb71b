"""Both clients, blocking and with trio, against servers that answer well, badly and never."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from oxd_protocol.client import Exchange, OxdUnreachable
from oxd_protocol.client.blocking import BlockingClient
from oxd_protocol.client.with_trio import OxdClient

Send = Callable[..., Awaitable[Exchange]]

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


async def with_trio(port: int, command: str, params: dict[str, Any], timeout: float = 30) -> Exchange:
    """Send a command by the client for trio."""
    return await OxdClient("127.0.0.1", port, timeout).exchange(command, params)


async def blocking(port: int, command: str, params: dict[str, Any], timeout: float = 30) -> Exchange:
    """Send a command by the blocking client, in a thread."""
    client = BlockingClient("127.0.0.1", port, timeout)
    return await trio.to_thread.run_sync(client.exchange, command, params)


@pytest.fixture(params=[with_trio, blocking])
def send(request: pytest.FixtureRequest) -> Send:
    """Each of the two clients."""
    chosen: Send = request.param
    return chosen


@pytest.mark.parametrize("parts", [(OK,), (OK[:2], OK[2:20], OK[20:]), tuple(OK[i : i + 1] for i in range(len(OK)))])
async def test_answers(send: Send, parts: tuple[bytes, ...]) -> None:
    """The envelope comes back however the answer is cut, with the frames as they went."""
    async with answering(*parts) as (port, received):
        exchange = await send(port, "get_rp", {"oxd_id": "é"})
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
        assert envelope == await trio.to_thread.run_sync(BlockingClient("127.0.0.1", port).call, "x", {})
        assert envelope == {"status": "error", "data": {"error": "bad_request"}}


async def test_data_that_is_no_object(send: Send) -> None:
    """What no oxd server answers is no data."""
    async with answering(b'0028{"status":"ok","data":"text"}') as (port, _):
        exchange = await send(port, "x", {})
        assert (exchange.ok, exchange.data) == (True, {})


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed"),
        (b"0099{", "closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no frame"),
        (b"0003{x}", "not JSON"),
        (b"0003[1]", "no frame"),
    ],
)
async def test_bad_answers(send: Send, answer: bytes, text: str) -> None:
    """Nothing, half a frame, something else and no JSON are one kind of error, with a sentence each."""
    async with answering(answer) as (port, _):
        with pytest.raises(OxdUnreachable, match=text):
            await send(port, "x", {})


async def test_no_server(send: Send) -> None:
    """A port that nobody listens on."""
    with pytest.raises(OxdUnreachable, match=r"No oxd server answers on .* port 1"):
        await send(1, "x", {})


async def test_silent_server(send: Send) -> None:
    """A server that never answers is given up after the timeout."""
    async with answering(hang=True) as (port, _):
        with pytest.raises(OxdUnreachable, match="No answer to x within"):
            await send(port, "x", {}, 0.1)


async def test_command_that_is_too_long(send: Send) -> None:
    """A command that no frame can carry is refused before anything is sent."""
    with pytest.raises(OxdUnreachable, match="too long"):
        await send(1, "x", {"a": "b" * 10_000})
