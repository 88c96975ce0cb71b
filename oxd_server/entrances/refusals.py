"""What an entrance refuses by itself, before there is a command: each has a line in the log, and is counted."""

from collections.abc import Callable
from typing import Final

import structlog

__all__ = ["Refusals"]

_SHOWN_OF_PATH: Final = 100


def _nobody_counts(entrance: str, code: str) -> None:
    del entrance, code


class Refusals:
    """Is told of what is refused. ``count`` is told the entrance and the code: a wire code, or an HTTP status."""

    def __init__(self, count: Callable[[str, str], None] = _nobody_counts) -> None:
        self._count = count
        self._log = structlog.get_logger("oxd_server.entrances")

    def connection(self, peer: str, limit: str) -> None:
        """A connection to the socket: ``limit`` is used up."""
        self._count("socket", "server_busy")
        self._log.info("connection_refused", limit=limit, peer=peer)

    def frame(self, peer: str, code: str, reason: str) -> None:
        """What came over the socket and is no request."""
        self._count("socket", code)
        self._log.info("frame_refused", error=code, reason=reason, peer=peer)

    def request(self, status: int, reason: str, client: str, request_id: str, path: str | None = None) -> None:
        """A request to the HTTPS front; its path is known if its head could be read."""
        self._count("https", str(status))
        shown = None if path is None else path[:_SHOWN_OF_PATH]
        self._log.info("request_refused", status=status, reason=reason, peer=client, path=shown, request_id=request_id)
