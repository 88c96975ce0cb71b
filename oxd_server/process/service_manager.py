"""What systemd is told about this process: that it is ready, reads its configuration again, or stops (sd_notify(3)).

The protocol is a datagram with lines of `NAME=value` to the Unix socket that `NOTIFY_SOCKET` names. systemd documents
it as stable and meant to be spoken without its library; the libraries for it are older than what they are for.
"""

import socket
import time
from collections.abc import MutableMapping
from typing import Final

import msgspec
import structlog
import trio

__all__ = ["NOBODY", "ServiceManager", "service_manager_from"]

_VARIABLE: Final = "NOTIFY_SOCKET"
_SEND_SECONDS: Final = 5.0


class ServiceManager(msgspec.Struct, frozen=True):
    """Whoever started this process and wants to know how it does; without an address, nobody.

    Nothing here stops the server: a service manager that cannot be told is a line in the log.
    """

    address: str | None = None

    async def ready(self) -> None:
        """Say that commands are answered, at the start or after a reload."""
        await self._tell("READY=1")

    async def reloading(self) -> None:
        """Say that the configuration is being read again; ``ready`` says when that is done."""
        await self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    async def stopping(self) -> None:
        """Say that the server is about to end."""
        await self._tell("STOPPING=1")

    async def main_process(self, pid: int) -> None:
        """Say that the service goes on in another process, which this one has started."""
        await self._tell(f"MAINPID={pid}")

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to speak to the same service manager."""
        return {} if self.address is None else {_VARIABLE: self.address}

    async def _tell(self, state: str) -> None:
        if self.address is None:
            return
        try:
            with trio.fail_after(_SEND_SECONDS), trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                await sock.sendto(state.encode("ascii"), _socket_address(self.address))
        except (OSError, trio.TooSlowError) as error:
            log = structlog.get_logger("oxd_server.process.service_manager")
            log.warning("service_manager_unreachable", state=state.partition("=")[0], reason=str(error))


NOBODY: Final = ServiceManager()
"""The service manager of a process that has none."""


def service_manager_from(environment: MutableMapping[str, str]) -> ServiceManager:
    """Return the service manager of this process; its children shall not speak for it."""
    return ServiceManager(environment.pop(_VARIABLE, None) or None)


def _socket_address(address: str) -> str:
    # sd_notify(3): a leading @ is a name in the abstract namespace, whose first byte is zero.
    return f"\0{address[1:]}" if address.startswith("@") else address
