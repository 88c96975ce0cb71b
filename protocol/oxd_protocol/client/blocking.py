"""A client for programs without an event loop: one command, one connection, one answer."""

import socket
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from oxd_protocol.client import DEFAULT_PORT, DEFAULT_TIMEOUT, RECEIVE_BYTES, Exchange, OxdUnreachable, Pending

__all__ = ["BlockingClient"]


class BlockingClient(msgspec.Struct, frozen=True):
    """Where the server listens and how long a command may take (seconds)."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    timeout: float = DEFAULT_TIMEOUT

    def call(self, command: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send one command and return the answer's envelope (``status``, ``data``). Raises ``OxdUnreachable``."""
        return self.exchange(command, params).envelope

    def exchange(self, command: str, params: Mapping[str, Any]) -> Exchange:
        """Send one command and read its answer, error answers included. Raises ``OxdUnreachable``."""
        pending = Pending(command, params)
        until = time.monotonic() + self.timeout
        try:
            with socket.create_connection((self.host, self.port), self.timeout) as connection:
                connection.sendall(pending.sent)
                while True:
                    # A time-out of 0 would mean "do not wait at all".
                    connection.settimeout(max(until - time.monotonic(), 0.001))
                    exchange = pending.receive_data(connection.recv(RECEIVE_BYTES))
                    if exchange is not None:
                        return exchange
        except TimeoutError as error:
            raise OxdUnreachable(f"No answer to {command} within {self.timeout:g} seconds") from error
        except OSError as error:
            raise OxdUnreachable(f"No oxd server answers on {self.host} port {self.port}") from error
