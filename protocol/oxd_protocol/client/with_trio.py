"""A client for programs on trio: one command, one connection, one answer. Needs ``oxd-protocol[trio]``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from oxd_protocol.client import DEFAULT_PORT, DEFAULT_TIMEOUT, RECEIVE_BYTES, Exchange, OxdUnreachable, Pending

__all__ = ["OxdClient"]


@dataclass(frozen=True)
class OxdClient:
    """Where the server listens and how long a command may take (seconds)."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    timeout: float = DEFAULT_TIMEOUT

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
            async with await trio.open_tcp_stream(self.host, self.port) as stream:
                await stream.send_all(pending.sent)
                while (exchange := pending.receive_data(await stream.receive_some(RECEIVE_BYTES))) is None:
                    pass
                return exchange
        except (OSError, trio.BrokenResourceError) as error:
            raise OxdUnreachable(f"No oxd server answers on {self.host} port {self.port}") from error
