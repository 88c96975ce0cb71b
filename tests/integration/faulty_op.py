"""An OP that misbehaves: the sandbox's provider behind a proxy that a test tells what to do wrong, path by path."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import httpx2
import trio

from oxd_server.sandbox import RunningSandbox
from tests.http_requests import read_request

DISCOVERY, REGISTRATION = "/.well-known/openid-configuration", "/register"
TOKEN, USERINFO, KEY_SET = "/token", "/userinfo", "/jwks"
_NOT_FORWARDED = {"host", "connection", "content-length", "transfer-encoding"}

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
Fault = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request that came in, and the two ways to answer it: as the provider does, or wrongly."""

    head: h11.Request
    body: bytes
    stream: trio.SocketStream
    provider: str
    http: httpx2.AsyncHTTPTransport

    @property
    def path(self) -> str:
        """The request's path without its query."""
        return self.head.target.decode().partition("?")[0]

    async def forward(self) -> Answer:
        """Ask the provider and return its answer."""
        headers = [(name, value) for name, value in self.head.headers if name.decode() not in _NOT_FORWARDED]
        url = self.provider + self.head.target.decode()
        request = httpx2.Request(self.head.method.decode(), url, headers=headers, content=self.body)
        response = await self.http.handle_async_request(request)
        body = await response.aread()
        kept = [(name, value) for name, value in response.headers.raw if name.decode().lower() not in _NOT_FORWARDED]
        return response.status_code, kept, body

    async def reply(self, answer: Answer) -> None:
        """Send an answer and close."""
        status, headers, body = answer
        lines = [f"HTTP/1.1 {status} -".encode(), *(name + b": " + value for name, value in headers)]
        lines += [b"Content-Length: %d" % len(body), b"Connection: close", b"", body]
        await self.stream.send_all(b"\r\n".join(lines))


@dataclass
class FaultyOp:
    """The OP; `issuer` is its address. `faults` are looked up by path; a path without one is answered correctly."""

    sandbox: RunningSandbox
    provider: str
    nursery: trio.Nursery
    http: httpx2.AsyncHTTPTransport
    issuer: str = ""
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    _accepting: trio.CancelScope | None = None

    async def accept(self) -> None:
        """Listen, on the same port as before if there was one; from then on the issuer is this address."""
        port = int(self.issuer.rpartition(":")[2]) if self.issuer else 0
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.issuer = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        self.sandbox.state.issuer = self.issuer
        self._accepting = await self.nursery.start(self._serve, listeners)

    def refuse(self) -> None:
        """Stop listening: whoever connects is refused."""
        assert self._accepting is not None
        self._accepting.cancel()

    async def answer_and_refuse(self, exchange: Exchange) -> None:
        """A fault: answer correctly, but be gone by then."""
        answer = await exchange.forward()
        self.refuse()
        await exchange.reply(answer)

    async def _serve(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[trio.CancelScope],
    ) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await trio.serve_listeners(self._answer, listeners, handler_nursery=self.nursery)

    async def _answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                head, body = await read_request(stream)
                exchange = Exchange(head, body, stream, self.provider, self.http)
                self.requests.append(f"{head.method.decode()} {exchange.path}")
                await self.faults.get(exchange.path, _correctly)(exchange)
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                pass


@asynccontextmanager
async def faulty_op(sandbox: RunningSandbox) -> AsyncIterator[FaultyOp]:
    """Put an OP in front of the sandbox, which takes over its address as issuer until the end."""
    issuer = sandbox.state.issuer
    async with httpx2.AsyncHTTPTransport(trust_env=False) as http, trio.open_nursery() as nursery:
        op = FaultyOp(sandbox, sandbox.issuer, nursery, http)
        await op.accept()
        try:
            yield op
        finally:
            sandbox.state.issuer = issuer
            nursery.cancel_scope.cancel()


async def _correctly(exchange: Exchange) -> None:
    await exchange.reply(await exchange.forward())


# --- what can go wrong -----------------------------------------------------------------------


async def silent(exchange: Exchange) -> None:
    """Accept and never answer."""
    await exchange.stream.receive_some(1)  # until the other side gives up


async def hangs_up(exchange: Exchange) -> None:
    """Close without a byte of an answer."""


async def html(exchange: Exchange) -> None:
    """Answer with a web page, as a captive portal or a wrong address does."""
    await exchange.reply((200, [(b"Content-Type", b"text/html")], b"<!doctype html><title>Welcome</title>"))


async def fails(exchange: Exchange) -> None:
    """Answer that something broke."""
    await exchange.reply((500, [(b"Content-Type", b"text/plain")], b"out of order"))


async def breaks_off(exchange: Exchange) -> None:
    """Close in the middle of an answer."""
    await exchange.stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"issuer": "')


async def garbage(exchange: Exchange) -> None:
    """Answer with something that is no HTTP."""
    await exchange.stream.send_all(b"\x00\x01\x02 what is this?\r\n\r\n")


def altered(**changes: Any) -> Fault:
    """Answer as the provider does, but with some members of its JSON exchanged; None leaves one out."""

    async def answer(exchange: Exchange) -> None:
        status, headers, body = await exchange.forward()
        members = {name: value for name, value in (json.loads(body) | changes).items() if value is not None}
        await exchange.reply((status, headers, json.dumps(members).encode()))

    return answer


def held(arrived: trio.Event, release: trio.Event) -> Fault:
    """Say that the request is there, and answer it correctly when told to."""

    async def answer(exchange: Exchange) -> None:
        arrived.set()
        await release.wait()
        await _correctly(exchange)

    return answer
