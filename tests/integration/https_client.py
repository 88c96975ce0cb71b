"""A running HTTPS front, and its clients: one that behaves, and raw TLS for those that do not."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import trio

from tests.integration.oxd_process import ServerProcess, running_server

LISTENS = "https_listening"
CERT = Path("data") / "https-localhost.crt"
KEY = Path("data") / "https-localhost.key"
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Front:
    """A server whose HTTPS front runs, and a client that trusts its certificate."""

    server: ServerProcess
    port: int
    folder: Path
    context: ssl.SSLContext
    client: httpx2.AsyncClient

    @property
    def url(self) -> str:
        """The address of the front."""
        return f"https://localhost:{self.port}"

    async def post(
        self, command: str, params: Any = None, *, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """Send a command with a JSON body, and a token if there is one."""
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        path = f"/{command.replace('_', '-')}"
        return await self.client.post(path, json=params, headers={**bearer, **(headers or {})})

    async def call(self, command: str, *, token: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return the envelope of its answer."""
        return envelope_of(await self.post(command, params, token=token))

    async def open_stream(self) -> trio.SSLStream[trio.SocketStream]:
        """Open a TLS connection after its handshake."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        secure = trio.SSLStream(stream, self.context, server_hostname="localhost", https_compatible=True)
        with trio.fail_after(ANSWER_SECONDS):
            await secure.do_handshake()
        return secure

    async def exchange(self, request: bytes) -> bytes:
        """Send raw bytes over TLS and return everything that comes until the server closes."""
        stream = await self.open_stream()
        try:
            await stream.send_all(request)
            return await receive_all(stream)
        finally:
            await trio.aclose_forcefully(stream)


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Return everything until the peer closes."""
    received = b""
    with trio.fail_after(ANSWER_SECONDS):
        try:
            async for chunk in stream:
                received += chunk
        except trio.BrokenResourceError:
            return received
    return received


def envelope_of(response: httpx2.Response) -> dict[str, Any]:
    """Return the envelope of an answer, after checking that it is one."""
    assert response.headers["content-type"] == "application/json"
    assert response.content.isascii()
    envelope: dict[str, Any] = response.json()
    assert envelope.keys() == {"status", "data"}, envelope
    if envelope["status"] == "error":
        assert envelope["data"].keys() == {"error", "error_description", "details"}, envelope
    else:
        assert envelope["status"] == "ok"
        assert isinstance(envelope["data"], dict)
    return envelope


def status_of(answer: bytes) -> int:
    """Return the status of a raw HTTP answer."""
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def raw_request(command: str, params: Any, *headers: str) -> bytes:
    """Return the bytes of a plain request."""
    body = json.dumps(params).encode()
    head = [f"POST /{command} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@asynccontextmanager
async def running_front(
    folder: Path,
    config: Mapping[str, Any] | None = None,
    default_site: Mapping[str, Any] | None = None,
    **https: Any,
) -> AsyncIterator[Front]:
    """Run a server with its front on a free port of loopback; ``https`` are further keys of that section."""
    folder.mkdir(exist_ok=True)
    section = {"enabled": True, "port": 0, "bind_addresses": ["127.0.0.1"], **https}
    async with (
        running_server(folder, {"https": section, **(config or {})}, default_site) as server,
        front_of(server, folder, https.get("cert_path") or folder / CERT) as front,
    ):
        yield front


@asynccontextmanager
async def front_of(server: ServerProcess, folder: Path, cert: str | Path) -> AsyncIterator[Front]:
    """Wait until a server's front listens; yield it with a client that trusts its certificate."""
    port = int((await server.wait_for_log(LISTENS))["port"])
    context = ssl.create_default_context(cafile=cert)
    client = httpx2.AsyncClient(
        verify=context, trust_env=False, timeout=ANSWER_SECONDS, base_url=f"https://localhost:{port}"
    )
    async with client:
        yield Front(server, port, folder, context, client)
