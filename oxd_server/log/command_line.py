"""The line of a command: one struct, so that a line costs little."""

from datetime import datetime

import msgspec

__all__ = ["COMMAND", "CommandLine"]

COMMAND = "command"


class CommandLine(msgspec.Struct, frozen=True, gc=False, tag_field="event", tag=COMMAND):
    """What is told of a command. What is not known is left out; durations are in milliseconds.

    No field may hold a secret: those that come from outside have been through redaction.
    """

    level: str
    timestamp: datetime
    request_id: str
    entrance: str
    peer: str
    command: str
    dialect: str
    outcome: str
    duration_ms: float
    op_ms: float
    oxd_id: str | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    limit: str | msgspec.UnsetType = msgspec.UNSET
    error_id: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    host: str | msgspec.UnsetType = msgspec.UNSET
    worker: int | msgspec.UnsetType = msgspec.UNSET
