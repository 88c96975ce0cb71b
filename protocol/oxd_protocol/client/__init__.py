"""What a client of the socket sends and reads: a command's frame, and its answer. No I/O happens here.

``blocking`` and ``with_trio`` do it over sockets.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from oxd_protocol.discreet import Discreet
from oxd_protocol.errors import FramingError
from oxd_protocol.framing import FrameReader, FrameTooLong, encode_frame

__all__ = ["DEFAULT_PORT", "DEFAULT_TIMEOUT", "RECEIVE_BYTES", "Exchange", "OxdUnreachable", "Pending"]

DEFAULT_PORT: Final = 8099
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds from the first attempt to connect to the last byte of the answer."""
RECEIVE_BYTES: Final = 65_536
_MAX_ANSWER_BYTES: Final = 1_000_000


class OxdUnreachable(Exception):
    """The server cannot be reached, does not answer in time, or answers something that is no envelope."""


class Exchange(Discreet, frozen=True):
    """One command and its answer: the frames as they went over the wire, and the envelope."""

    shows = ("command",)

    command: str
    sent: bytes
    received: bytes
    envelope: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.envelope.get("status") == "ok"

    @property
    def data(self) -> dict[str, Any]:
        """The answer's ``data``, or an empty object. Of an error: ``error``, ``error_description``, ``details``."""
        data = self.envelope.get("data")
        return data if isinstance(data, dict) else {}


class Pending:
    """A command whose answer is awaited: send ``sent``, then feed what arrives to ``receive_data``."""

    def __init__(self, command: str, params: Mapping[str, Any]) -> None:
        """Encode the command. Raises ``OxdUnreachable`` for one that does not fit into a frame."""
        self._command = command
        try:
            self.sent = encode_frame(json.dumps({"command": command, "params": params}).encode("ascii"))
        except FrameTooLong as error:
            raise OxdUnreachable(f"The command is too long: {error}") from error
        self._reader = FrameReader(_MAX_ANSWER_BYTES)
        self._received = b""

    def receive_data(self, data: bytes) -> Exchange | None:
        """Return the exchange when the answer is whole, None before; ``b""`` says that the server has closed.

        Raises ``OxdUnreachable`` when the server closed before an answer or what it sent is no envelope.
        """
        if not data:
            raise OxdUnreachable("The server closed the connection without an answer")
        self._received += data
        self._reader.receive_data(data)
        try:
            answer = self._reader.next_frame()
        except FramingError as error:
            raise OxdUnreachable(f"The answer is no frame: {error}") from error
        if answer is None:
            return None
        return Exchange(self._command, self.sent, self._received, _envelope(answer))


def _envelope(answer: bytes) -> dict[str, Any]:
    try:
        envelope: dict[str, Any] = json.loads(answer)  # an object: a frame's body begins with a brace
    except (ValueError, RecursionError) as error:
        raise OxdUnreachable("The answer is not JSON") from error
    return envelope
