"""The line of every command."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET

from oxd_server.log import COMMAND, CommandLine, Log, redact_text
from oxd_server.log.known import known_secrets
from oxd_server.observe.call import Call

__all__ = ["command_log"]

_LONGEST_NAME: Final = 100
_MICROSECONDS: Final = 1_000_000


def command_log(log: Log) -> Callable[[Call], None]:
    """Return what writes a line for each command that has ended; refusals that repeat are counted."""
    host, worker = log.names.get("host", UNSET), log.names.get("worker", UNSET)

    def tell(call: Call) -> None:
        if not log.tells_commands or (call.error is not None and not _is_written(log, call)):
            return
        log.gather(
            CommandLine(
                "info",
                datetime.now(UTC),
                call.request_id,
                call.entrance,
                call.caller.peer,
                call.command or _shown(call.name[:_LONGEST_NAME]),
                call.caller.dialect,
                "ok" if call.error is None else "error",
                # In milliseconds, to the microsecond: cutting off costs a third of rounding.
                int(call.seconds * _MICROSECONDS) / 1000,
                int(call.op_seconds * _MICROSECONDS) / 1000,
                call.oxd_id or UNSET,
                call.error or UNSET,
                call.limit or UNSET,
                call.error_id or UNSET,
                UNSET if call.description is None else _shown(call.description),
                host,
                worker,
            )
        )

    return tell


def _is_written(log: Log, call: Call) -> bool:
    same = {"command": call.command, "error": call.error, "limit": call.limit, "oxd_id": call.oxd_id}
    return call.error_id is not None or log.admits(COMMAND, {**same, "peer": call.caller.peer})


def _shown(text: str) -> str:
    """Return a text that others had a part in as the log may show it."""
    return redact_text(text, known_secrets()).encode("utf-8", "replace").decode()
