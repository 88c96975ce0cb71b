"""A client of our own socket: one command, one connection, one answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from oxd_protocol.errors import FramingError
from oxd_protocol.framing import FrameReader, FrameTooLong, encode_frame

__all__ = ["Exchange", "OxdClient", "OxdUnreachable"]

_RECEIVE_SIZE = 65_536
_MAX_ANSWER_BYTES = 1_000_000


class OxdUnreachable(Exception):
    """The server cannot be reached, does not answer in time, or answers something that is no envelope."""


@dataclass(frozen=True)
class Exchange:
    """One command and its answer: the frames as they went over the wire, and the envelope."""

    command: str
    sent: bytes = field(repr=False)
    received: bytes = field(repr=False)
    envelope: dict[str, Any] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.envelope.get("status") == "ok"

    @property
    def data(self) -> dict[str, Any]:
        """The answer's `data`, or an empty object."""
        data = self.envelope.get("data")
        return data if isinstance(data, dict) else {}


@dataclass(frozen=True)
class OxdClient:
    """Where the server listens and how long a command may take (seconds)."""

    host: str = "127.0.0.1"
    port: int = 8099
    timeout: float = 30.0

    async def call(self, command: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send one command and return the answer's envelope (`status`, `data`). Raises OxdUnreachable."""
        return (await self.exchange(command, params)).envelope

    async def exchange(self, command: str, params: Mapping[str, Any]) -> Exchange:
        """Send one command and read its answer, error answers included. Raises OxdUnreachable."""
        try:
            sent = encode_frame(json.dumps({"command": command, "params": params}).encode("ascii"))
        except FrameTooLong as error:
            raise OxdUnreachable(f"The command is too long: {error}") from error
        with trio.move_on_after(self.timeout):
            received, answer = await self._send_and_receive(sent)
            return Exchange(command, sent, received, _envelope(answer))
        raise OxdUnreachable(f"No answer to {command} within {self.timeout:g} seconds")

    async def _send_and_receive(self, sent: bytes) -> tuple[bytes, bytes]:
        """The bytes that came back, and the body of the frame in them."""
        reader = FrameReader(_MAX_ANSWER_BYTES)
        received = b""
        try:
            async with await trio.open_tcp_stream(self.host, self.port) as stream:
                await stream.send_all(sent)
                while (answer := reader.next_frame()) is None:
                    data = await stream.receive_some(_RECEIVE_SIZE)
                    if not data:
                        raise OxdUnreachable("The server closed the connection without an answer")
                    received += data
                    reader.receive_data(data)
        except (OSError, trio.BrokenResourceError) as error:
            raise OxdUnreachable(f"No oxd server answers on {self.host} port {self.port}") from error
        except FramingError as error:
            raise OxdUnreachable(f"The answer is no frame: {error}") from error
        return received, answer


def _envelope(answer: bytes) -> dict[str, Any]:
    try:
        envelope = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise OxdUnreachable("The answer is not JSON") from error
    if not isinstance(envelope, dict):
        raise OxdUnreachable("The answer is no envelope")
    return envelope
