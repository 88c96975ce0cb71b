"""What the HTTPS front tells of a caller: who, in which dialect, under which name, within which trace."""

from __future__ import annotations

from oxd_protocol.messages import Response
from oxd_server.entrances.dialects.choice import AUTO, Dialects
from oxd_server.entrances.http1_messages import HttpRequest
from oxd_server.entrances.https import respond
from oxd_server.observe.call import Caller

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class NoMarks:
    """Knows no site's dialect."""

    async def of_site(self, oxd_id: str) -> str | None:
        return None

    async def of_client(self, op_host: str, client_id: str) -> str | None:
        return None


async def caller_of(dialect: str, *headers: tuple[str, str]) -> Caller:
    """Return what the command's handler is told of who sent this request."""
    told: list[Caller] = []

    async def handle(name: str, params: dict[str, object], caller: Caller) -> Response:
        told.append(caller)
        return Response("ok", {})

    request = HttpRequest(
        "POST", "/get-rp", headers=[("authorization", "Bearer x"), *headers], body=b'{"oxd_id":"a"}',
        client="192.0.2.1:50000", id="r-1",
    )  # fmt: skip
    await respond(handle, {}, Dialects(dialect, NoMarks()), request)
    (caller,) = told
    return caller


async def test_who_calls() -> None:
    """The peer, the dialect of the answer, the request's id, and the caller's trace if it has one."""
    assert await caller_of(AUTO, ("traceparent", TRACE)) == Caller("192.0.2.1:50000", "3", "r-1", TRACE)
    assert await caller_of("4") == Caller("192.0.2.1:50000", "4", "r-1", None)
