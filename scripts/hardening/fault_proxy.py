"""A proxy on loopback between the server and an OP, which does to their conversation what a bad day does.

It knows as much HTTP as that takes: it reads a request whole (head and Content-Length), asks the OP over a connection
of its own, and passes the answer on. ``fault`` says what goes wrong, at every path or only at ``only``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import trio

__all__ = ["Fault", "FaultProxy", "fault_proxy"]

_CHUNK = 65536
_DRIP_SECONDS = 0.1
_GIGABYTE = 2**30
_MAX_REQUEST = 1_000_000


class Fault(enum.Enum):
    """What goes wrong; the values are what a table says."""

    REFUSE = "refuses connections"
    RESET = "resets the connection"
    HANG_BEFORE = "hangs, reads nothing"
    HANG_AFTER = "hangs after the request"
    DRIP = "drips its answer"
    TRUNCATE = "breaks off its answer"
    CORRUPT = "garbles its answer"
    STATUS_500 = "answers 500"
    STATUS_503 = "answers 503, Retry-After"
    GIGABYTE = "answers a gigabyte"
    REDIRECT = "redirects elsewhere"
    ECHO = "answers 400 and repeats the request"


@dataclass
class FaultProxy:
    """``url`` is where it listens; the OP has to be told that this is its address.

    ``elsewhere`` counts connections to the place where REDIRECT points to: only a GET of what is public may go there.
    ``hanging`` counts the requests that hang now. ``recorded``, if there is a list, gets all requests and answers.
    """

    upstream: tuple[str, int]
    nursery: trio.Nursery
    url: str = ""
    fault: Fault | None = None
    only: str | None = None
    hanging: int = 0
    elsewhere: int = 0
    elsewhere_url: str = ""
    recorded: list[bytes] | None = field(default=None, repr=False)
    _one_more: trio.Event = field(default_factory=trio.Event, repr=False)
    _accepting: trio.CancelScope | None = None
    _open: set[trio.CancelScope] = field(default_factory=set)

    async def set(self, fault: Fault | None) -> None:
        """Change what goes wrong, and close the connections of before: they would hide it."""
        self.fault = fault
        for scope in self._open:
            scope.cancel()
        if fault is Fault.REFUSE and self.only is None:
            assert self._accepting is not None
            self._accepting.cancel()
            self._accepting = None
        elif self._accepting is None:
            await self.listen()

    async def listen(self) -> None:
        """Listen, on the same port as before if there was one."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        self._accepting = await self.nursery.start(self._accept, listeners)

    async def listen_elsewhere(self) -> None:
        """Listen where redirects lead to."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.elsewhere_url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"

        async def count(stream: trio.SocketStream) -> None:
            self.elsewhere += 1
            await stream.aclose()

        self.nursery.start_soon(trio.serve_listeners, count, listeners)

    async def _accept(
        self, listeners: list[trio.SocketListener], *, task_status: trio.TaskStatus[trio.CancelScope]
    ) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await trio.serve_listeners(self._serve, listeners, handler_nursery=self.nursery)

    async def _serve(self, stream: trio.SocketStream) -> None:
        scope = trio.CancelScope()
        self._open.add(scope)
        try:
            async with stream:
                with scope:
                    if self.only is None and self.fault is Fault.HANG_BEFORE:
                        await self._hang()
                    await self._exchange(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # one of the two sides is gone: that is what this is about
        finally:
            self._open.discard(scope)

    async def until_hanging(self, count: int) -> None:
        """Wait until so many requests hang."""
        while self.hanging < count:
            await self._one_more.wait()

    async def _hang(self) -> None:
        self.hanging += 1
        self._one_more.set()
        self._one_more = trio.Event()
        try:
            await trio.sleep_forever()
        finally:
            self.hanging -= 1

    async def _exchange(self, stream: trio.SocketStream) -> None:
        request = await _read_request(stream)
        if request is None:
            return
        self._record(request)
        path = request.split(b" ", 2)[1].decode().partition("?")[0]
        fault = self.fault if self.only in (None, path) else None
        match fault:
            case None:
                await stream.send_all(await self._ask(request))
            case Fault.REFUSE | Fault.RESET:
                _reset(stream)
            case Fault.HANG_BEFORE | Fault.HANG_AFTER:
                await self._hang()
            case Fault.DRIP:
                for byte in await self._ask(request):
                    await stream.send_all(bytes((byte,)))
                    await trio.sleep(_DRIP_SECONDS)
            case Fault.TRUNCATE:
                answer = await self._ask(request)
                await stream.send_all(_promising_more(answer))
            case Fault.CORRUPT:
                await stream.send_all(_garbled(await self._ask(request)))
            case Fault.STATUS_500:
                await stream.send_all(_answer("500 Internal Server Error", b"<h1>out of order</h1>"))
            case Fault.STATUS_503:
                await stream.send_all(_answer("503 Service Unavailable", b"later", b"Retry-After: 3600\r\n"))
            case Fault.GIGABYTE:
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _GIGABYTE)
                for _ in range(_GIGABYTE // _CHUNK):
                    await stream.send_all(b" " * _CHUNK)
            case Fault.REDIRECT:
                await stream.send_all(_answer("307 -", b"", f"Location: {self.elsewhere_url}\r\n".encode()))
            case Fault.ECHO:
                await stream.send_all(_answer("400 Bad Request", _repeated(request)))

    async def _ask(self, request: bytes) -> bytes:
        """The OP's whole answer; it is asked to close the connection after it."""
        host = ":".join(map(str, self.upstream)).encode()
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not re.match(rb"(?i)(host|connection):", line)]
        lines[1:1] = [b"Host: " + host, b"Connection: close"]
        async with await trio.open_tcp_stream(*self.upstream) as upstream:
            await upstream.send_all(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            answer = b"".join([bytes(chunk) async for chunk in upstream])
        self._record(answer)
        return answer

    def _record(self, message: bytes) -> None:
        if self.recorded is not None:
            self.recorded.append(message)


async def _read_request(stream: trio.SocketStream) -> bytes | None:
    """A request with its body; None if the peer left before it was whole."""
    received = bytearray()
    while len(received) < _MAX_REQUEST:
        end = received.find(b"\r\n\r\n")
        if end >= 0:
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", received[:end])
            if len(received) >= end + 4 + (int(length.group(1)) if length else 0):
                return bytes(received)
        data = await stream.receive_some(_CHUNK)
        if not data:
            return None
        received += data
    return None


def _reset(stream: trio.SocketStream) -> None:
    """Make the close that follows a reset."""
    linger = b"\1\0\0\0\0\0\0\0"
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)


def _answer(status: str, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), headers, body)


def _repeated(request: bytes) -> bytes:
    """The request as it came, and once more without the names that say what its parts are."""
    words = re.split(rb"[\s&=:]+", request)
    return b"I do not understand " + request + b" and neither " + b" ".join(map(unquote_to_bytes, words))


def _promising_more(answer: bytes) -> bytes:
    """Half of an answer, by the length in its head."""
    head, _, body = answer.partition(b"\r\n\r\n")
    longer = re.sub(rb"(?i)content-length: *\d+", b"Content-Length: %d" % (2 * len(body) + 100), head)
    return longer + b"\r\n\r\n" + body[: len(body) // 2]


def _garbled(answer: bytes) -> bytes:
    """An answer whose body has every seventh byte replaced, status 200."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.sub(rb"^HTTP/1\.1 \d+", b"HTTP/1.1 200", head)
    garbled = bytearray(body or b"{}")
    garbled[::7] = b"\xff" * len(garbled[::7])
    return re.sub(rb"(?i)content-length: *\d+", b"Content-Length: %d" % len(garbled), status) + b"\r\n\r\n" + garbled


@asynccontextmanager
async def fault_proxy(upstream: tuple[str, int]) -> AsyncIterator[FaultProxy]:
    """Run a proxy in front of the OP at this address; it is gone at the end."""
    async with trio.open_nursery() as nursery:
        proxy = FaultProxy(upstream, nursery)
        await proxy.listen()
        await proxy.listen_elsewhere()
        yield proxy
        nursery.cancel_scope.cancel()
