"""The journal of systemd, with its own fields: whoever reads it can look for a site, a command, a request.

A line becomes one entry (systemd.journal-fields(7)). Its members are fields that begin with `OXD_`, such as
`OXD_REQUEST_ID`.
"""

import errno
import re
from pathlib import Path
from typing import Any, Final

import msgspec
from logging_journald import JournaldTransport

from oxd_server.log.plain import plain_text

__all__ = ["JournalOutput"]

IDENTIFIER: Final = "oxd-server"
_PREFIX: Final = "OXD_"
_PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Those of syslog(3)."""
_NOT_IN_NAMES: Final = re.compile(r"[^A-Z0-9]+")
_IN_OTHER_FIELDS: Final = ("level", "timestamp", "host")


class JournalOutput:
    """Sends lines of JSON to the journal's socket."""

    def __init__(self, path: Path | None = None) -> None:
        """``path`` is that of the socket; None: where systemd has it. Raises ``OSError``."""
        place = path or JournaldTransport.SOCKET_PATH
        if not place.is_socket():
            raise FileNotFoundError(errno.ENOENT, "systemd's journal (log_format) is not here", str(place))
        # Not connected: a journal that was restarted has another socket at the same path.
        self._transport = JournaldTransport(place, connected=False)
        self._read = msgspec.json.Decoder(dict[str, Any]).decode

    def write(self, lines: bytes) -> None:
        """Send the lines, an entry each. Raises ``OSError``."""
        for line in lines.splitlines():
            self._transport.send(_entry(self._read(line)).items())

    def reopen(self) -> None:
        """Do nothing: the journal keeps its files itself."""


def _entry(event: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in event.items() if name not in _IN_OTHER_FIELDS}
    in_words = " ".join(f"{name}={value}" for name, value in told.items() if name not in ("event", "exception"))
    fields = {_PREFIX + _NOT_IN_NAMES.sub("_", name.upper()): value for name, value in told.items()}
    return {
        "MESSAGE": plain_text(f"{event['event']} {in_words}".rstrip()),
        "PRIORITY": _PRIORITIES[event["level"]],
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **fields,
    }
