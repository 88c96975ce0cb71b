"""A listener with a handler that does as it is told, and what clients send it and read."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
import trio.testing

from oxd_protocol.messages import Response
from oxd_server.entrances.sockets import address_of, open_listeners
from oxd_server.entrances.tcp import CommandHandler, FrameListener
from oxd_server.entrances.tcp_peer import ListenerLimits
from oxd_server.observe.call import Caller

__all__ = ["SECONDS", "Commands", "Listening", "frame", "listening", "names"]

SECONDS = 20


def frame(command: str, **params: object) -> bytes:
    body = json.dumps({"command": command, "params": params}).encode()
    return b"%04d%s" % (len(body), body)


@dataclass
class Commands:
    """A handler that remembers what it ran; `slow` waits until it is told to go on."""

    ran: list[str] = field(default_factory=list)
    arrived: trio.Event = field(default_factory=trio.Event)
    release: trio.Event = field(default_factory=trio.Event)

    async def __call__(self, name: str, params: dict[str, object], caller: Caller) -> Response:
        self.ran.append(name)
        if name == "slow":
            self.arrived.set()
            await self.release.wait()
        if name == "break":
            raise ValueError("a handler that breaks its promise")
        return Response("ok", {"name": name, **params})


@dataclass
class Listening:
    listener: FrameListener
    commands: Commands
    port: int
    opened: list[trio.SocketStream] = field(default_factory=list)

    async def connect(self) -> trio.SocketStream:
        """Open a connection that is closed at the end of the test at the latest."""
        self.opened.append(await trio.open_tcp_stream("127.0.0.1", self.port))
        return self.opened[-1]


@asynccontextmanager
async def listening(commands: Commands | None = None, **limits: object) -> AsyncIterator[Listening]:
    values = {"max_connections": 10, "max_request_bytes": 5000, "frame_timeout": None, "idle_timeout": None,
              "write_timeout": 5.0, **limits}  # fmt: skip
    commands = commands or Commands()
    handle: CommandHandler = commands
    listener = FrameListener(handle, ListenerLimits(**values))  # type: ignore[arg-type]
    (ear,) = open_listeners(["127.0.0.1"], 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.accept, ear, nursery)
        server = Listening(listener, commands, address_of(ear)[1])
        try:
            yield server
        finally:
            for stream in server.opened:
                stream.socket.close()
        nursery.cancel_scope.cancel()


async def names(stream: trio.SocketStream, count: int | None = None) -> list[str]:
    """Read so many answers, or all to the end; return the names of the commands or the error codes."""
    received = b""
    found: list[str] = []
    with trio.fail_after(SECONDS):
        while count is None or len(found) < count:
            while len(received) < 4 or len(received) < 4 + int(received[:4]):
                data = await stream.receive_some(65536)
                if not data:
                    assert received == b""
                    assert count is None
                    return found
                received += data
            size = 4 + int(received[:4])
            data_of = json.loads(received[4:size])["data"]
            found.append(data_of.get("name") or data_of["error"])
            received = received[size:]
    return found
