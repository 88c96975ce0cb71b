"""What is told of each request to an OP, for logs and figures: whose it was, how it ended, how long it took. Pure."""

from collections.abc import Callable
from typing import Literal

import msgspec

from oxd_server.op.errors import OpUnreachable

__all__ = [
    "Begin",
    "Observe",
    "OpRequest",
    "Outcome",
    "nobody_follows",
    "nobody_looks",
    "outcome_of",
    "outcome_of_failure",
]

Outcome = Literal["ok", "client_error", "server_error", "timeout", "dns", "refused", "tls", "proxy", "other"]
"""How a request ended: by the status of the answer (below 400, 4xx, 5xx), or by why there is none."""


class OpRequest(msgspec.Struct, frozen=True):
    """One request, from the moment that somebody wants it to the last byte of its answer.

    Attributes:
        host: as it stands in the URL, with the port where one is named.
        outcome: how it ended. `other` is an answer that is no HTTP, is too large or breaks off, a connection that
            breaks before an answer, and a request that was cancelled.
        seconds: how long it took, with the wait for a slot, a second attempt and redirects that were followed.
    """

    host: str
    outcome: Outcome
    seconds: float


Observe = Callable[[OpRequest], None]
"""Told of each request as soon as it has ended, in the task that made it, so that a command's requests can be summed
up. It must neither wait nor raise. Requests that were not made (refused, or no slot was free) are not told."""


Begin = Callable[[str, str, dict[str, str]], Observe]
"""Told of each request when it begins: its method, its host and its headers, to which it may add. Returns what is told
of its end."""


def nobody_looks(request: OpRequest) -> None:
    """Observe nothing."""


def nobody_follows(method: str, host: str, head: dict[str, str]) -> Observe:
    """Observe no beginning."""
    del method, host, head
    return nobody_looks


def outcome_of(status: int) -> Outcome:
    """How a request ended that was answered with this status."""
    if status < 400:
        return "ok"
    return "client_error" if status < 500 else "server_error"


def outcome_of_failure(error: BaseException) -> Outcome:
    """How a request ended that raised this."""
    return error.cause if isinstance(error, OpUnreachable) else "other"
