"""A server of HTTP/1.1 on loopback, and the conversations that tests have with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import trio.testing
from msgspec.structs import replace

from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Handler, Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse

__all__ = ["GET", "LAST", "POST", "SHORT", "SMALL", "bodies", "converse", "echo", "read_all", "serving", "status"]

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
