"""Outages of OPs: a warning when one begins and one when it ends, however many requests fail in between."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from oxd_server.op.observed import OpRequest

__all__ = ["Outages"]

_MOST_KEPT: Final = 1000
_NO_ANSWER: Final = ("timeout", "dns", "refused", "tls", "proxy")
_ANSWERED: Final = ("ok", "client_error")
_ERRORS_IN_A_ROW: Final = 3
"""One error of the OP's own (5xx) may be about one request; so many in a row are about the OP."""


class _Failing(msgspec.Struct):
    since: float
    failures: int = 0
    told: bool = False


class Outages:
    """Follows the requests to each host; of those that fail, the ``_MOST_KEPT`` that began to do so last."""

    def __init__(self, clock: Callable[[], float], log: Any = None) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._failing: dict[str, _Failing] = {}
        self._log = log or structlog.get_logger("oxd_server.op")

    def __len__(self) -> int:
        """How many hosts are known not to answer."""
        return sum(failing.told for failing in self._failing.values())

    def see(self, request: OpRequest) -> None:
        """Learn how a request ended."""
        if request.outcome in _ANSWERED:
            if self._failing and (failing := self._failing.pop(request.host, None)) is not None:
                self._tell_end(request.host, failing)
        elif request.outcome in _NO_ANSWER or request.outcome == "server_error":
            self._count(request)

    def _count(self, request: OpRequest) -> None:
        failing = self._failing.get(request.host)
        if failing is None:
            if len(self._failing) >= _MOST_KEPT:
                del self._failing[next(iter(self._failing))]
            failing = self._failing[request.host] = _Failing(self._clock())
        failing.failures += 1
        if not failing.told and (request.outcome in _NO_ANSWER or failing.failures >= _ERRORS_IN_A_ROW):
            failing.told = True
            self._log.warning("op_outage_began", op=request.host, reason=request.outcome)

    def _tell_end(self, host: str, failing: _Failing) -> None:
        if failing.told:
            seconds = round(self._clock() - failing.since, 3)
            self._log.warning("op_outage_ended", op=host, seconds=seconds, failures=failing.failures)
