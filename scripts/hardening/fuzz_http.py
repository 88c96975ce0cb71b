"""Fuzz target: the HTTPS front below its TLS, from the bytes of a connection to commands and answers.

Whatever bytes come, however they are cut: no exception, no answer 500, no command but those of the catalogue with an
object as params, no body above the limit, and the connection comes to an end.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import trio
import trio.testing

from oxd_protocol.catalog import find_command
from oxd_protocol.errors import CommandError
from oxd_protocol.messages import Response, error_response
from oxd_protocol.params import decode_params
from oxd_server.entrances import http1
from oxd_server.entrances.dialects.choice import AUTO, Dialects
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.entrances.https import documents, error, respond
from oxd_server.observe.call import Caller
from scripts.hardening.fuzz_input import captured, pieces

__all__ = ["DICTIONARY", "check", "seeds"]

LIMITS = Limits(max_header_bytes=1000, max_body_bytes=1000)
DICTIONARY = [
    b"POST /get-rp HTTP/1.1\r\n", b"GET /health-check HTTP/1.1\r\n", b"Host: a\r\n", b"Content-Length: 2\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Authorization: Bearer x\r\n",
    b"Connection: close\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"HTTP/1.0\r\n", b'{"list":true}', b"Upgrade: h2c\r\n",
]  # fmt: skip
_READABLE = documents("0", 8443)


class _NoMarks:
    """Knows no site."""

    async def of_site(self, oxd_id: str) -> str | None:
        return None

    async def of_client(self, op_host: str, client_id: str) -> str | None:
        return None


_DIALECTS = Dialects(AUTO, _NoMarks())


def seeds() -> list[bytes]:
    """Requests as real clients write them, by length, in chunks, and two on a connection."""
    requests = [_request(capture) for capture in captured("-https") if "headers" in capture]
    chunked = (
        b"POST /get-rp HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'7;a=b\r\n{"list"\r\n6\r\n:true}\r\n0\r\nT: x\r\n\r\n'
    )
    patient = (
        b"POST /get-rp HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nExpect: 100-continue\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    read = [b"%s %s HTTP/1.%d\r\nHost: a\r\n\r\n" % (method, path.encode(), minor)
            for method in (b"GET", b"HEAD") for path in _READABLE for minor in (0, 1)]  # fmt: skip
    short = [request for request in [*requests, *read, chunked, patient] if len(request) < 1500]
    return [b"\x00\x00" + request for request in [*short, *(one + chunked for one in short[:10])]]


def _request(capture: dict[str, Any]) -> bytes:
    body: bytes = capture["raw"].encode()
    kept = {name: value for name, value in capture["headers"].items() if name.lower() != "content-length"}
    head = [f"POST {capture['path']} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items())]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def check(data: bytes) -> None:
    """Run one input; anything raised is a finding."""
    _, cut = pieces(data)
    seen: list[HttpRequest] = []
    failures: list[Exception] = []
    clock = trio.testing.MockClock(autojump_threshold=0)
    answer = trio.run(_converse, cut, seen, failures, clock=clock)
    if failures:
        raise failures[0]
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer
    assert b"HTTP/1.1 500" not in answer, answer
    assert all(len(request.body) <= LIMITS.max_body_bytes for request in seen)
    assert answer.count(b"HTTP/1.1 ") >= len(seen), "a request without an answer"


async def _converse(parts: list[bytes], seen: list[HttpRequest], failures: list[Exception]) -> bytes:
    server, client = trio.testing.memory_stream_pair()

    async def handler(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return await respond(_run, _READABLE, _DIALECTS, request)

    serve = partial(
        http1.serve_connection,
        server,
        handler,
        LIMITS,
        error_response=error,
        on_exception=lambda exception, _: failures.append(exception),
        now=lambda: 0.0,
    )
    answer = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            for part in parts:
                await client.send_all(part)
                await trio.testing.wait_all_tasks_blocked()
            await client.send_eof()
        except trio.BrokenResourceError:
            pass  # the server has closed already
        while received := await client.receive_some(65536):
            answer += received
    return answer


async def _run(name: str, params: dict[str, object], _caller: Caller) -> Response:
    command = find_command(name)
    assert command is not None
    try:
        decode_params(command, params)
    except CommandError as refused:
        return error_response(refused)
    return Response("ok", {"oxd_id": "x"})
