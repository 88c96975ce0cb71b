"""A client for programs on trio: one command, one connection, one answer. Needs ``oxd-protocol[trio]``."""

import os
from collections.abc import Mapping
from os import PathLike
from typing import Any

import msgspec
import trio

from oxd_protocol.client import DEFAULT_PORT, DEFAULT_TIMEOUT, RECEIVE_BYTES, Exchange, OxdUnreachable, Pending

__all__ = ["OxdClient"]


class OxdClient(msgspec.Struct, frozen=True):
    """Where the server listens, by TCP or at a Unix socket, and how long a command may take (seconds)."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    timeout: float = DEFAULT_TIMEOUT
    unix_socket_path: str | PathLike[str] | None = None

    async def call(self, command: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send one command and return the answer's envelope (``status``, ``data``). Raises ``OxdUnreachable``."""
        return (await self.exchange(command, params)).envelope

    async def exchange(self, command: str, params: Mapping[str, Any]) -> Exchange:
        """Send one command and read its answer, error answers included. Raises ``OxdUnreachable``."""
        pending = Pending(command, params)
        with trio.move_on_after(self.timeout):
            return await self._send_and_receive(pending)
        raise OxdUnreachable(f"No answer to {command} within {self.timeout:g} seconds")

    async def _send_and_receive(self, pending: Pending) -> Exchange:
        try:
            async with await self._connect() as stream:
                await stream.send_all(pending.sent)
                while (exchange := pending.receive_data(await stream.receive_some(RECEIVE_BYTES))) is None:
                    pass
                return exchange
        except (OSError, trio.BrokenResourceError) as error:
            raise OxdUnreachable(f"No oxd server answers {self._place}") from error

    async def _connect(self) -> trio.SocketStream:
        if self.unix_socket_path is None:
            return await trio.open_tcp_stream(self.host, self.port)
        return await trio.open_unix_socket(self.unix_socket_path)

    @property
    def _place(self) -> str:
        if self.unix_socket_path is None:
            return f"on {self.host} port {self.port}"
        return f"at {os.fspath(self.unix_socket_path)}"
