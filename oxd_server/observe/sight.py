"""What one server process shows of itself: the lines of its commands, outages of OPs, figures, traces."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog
import trio

from oxd_server.log import Log
from oxd_server.observe.call import Calls, current_call
from oxd_server.observe.command_log import command_log
from oxd_server.observe.outages import Outages
from oxd_server.observe.sample import Sample
from oxd_server.op.observed import Begin, OpRequest, nobody_follows

if TYPE_CHECKING:  # their libraries are read only where they are used
    from oxd_server.observe.metrics import Metrics
    from oxd_server.observe.traces import Traces

__all__ = ["Sight"]

_SAMPLE_SECONDS: Final = 5.0


class Sight:
    """Is told of everything that an operator may want to know, and passes it on."""

    def __init__(
        self, output: Log | None = None, metrics: "Metrics | None" = None, traces: "Traces | None" = None
    ) -> None:
        """``output`` takes lines of commands, ``metrics`` figures, ``traces`` spans; without them there are none."""
        self._output = output
        self.metrics = metrics
        self._outages = Outages(trio.current_time)
        told = ([] if output is None else [command_log(output)]) + ([] if metrics is None else [metrics.see_command])
        self.calls = Calls(told) if traces is None else Calls(told, traces.begin, traces.end)
        self.begin_op_request: Begin = nobody_follows if traces is None else traces.begin_op_request

    def see_op_request(self, request: OpRequest) -> None:
        """Learn of a request to an OP that has ended, in the task of the command that made it."""
        call = current_call()
        if call is not None:
            call.op_seconds += request.seconds
        if self.metrics is not None:
            self.metrics.see_op_request(request)
        self._outages.see(request)

    def set_log_level(self, level: str) -> None:
        """Log events of this level and above from now on."""
        if self._output is not None:
            self._output.set_level(level)

    def see_refusal(self, entrance: str, code: str) -> None:
        """Learn of what an entrance refused before there was a command."""
        if self.metrics is not None:
            self.metrics.see_refusal(entrance, code)

    def see_certificate(self, expires_at: float | None) -> None:
        """Learn when the HTTPS front's certificate expires, in seconds since 1970."""
        if self.metrics is not None and expires_at is not None:
            self.metrics.see_certificate(expires_at)

    async def _keep_sampling(self, sample: Callable[[], Sample]) -> None:
        """Look up now and then what nobody tells of, until cancelled."""
        while self.metrics is not None:
            self.metrics.see(sample(), len(self._outages))
            await trio.sleep(_SAMPLE_SECONDS)

    def reopen_log(self) -> None:
        """Go on in a new log file, if the log is a file: the old one has been moved away."""
        if self._output is not None:
            try:
                self._output.reopen()
            except OSError as error:
                structlog.get_logger("oxd_server.log").error("log_file_not_reopened", reason=str(error))

    @asynccontextmanager
    async def open(self, sample: Callable[[], Sample]) -> AsyncIterator[None]:
        """Inside the block, take samples, and write lines of commands together, which costs less than one by one."""
        async with trio.open_nursery() as nursery:
            if self._output is not None:
                nursery.start_soon(self._output.run)
            nursery.start_soon(self._keep_sampling, sample)
            yield
            nursery.cancel_scope.cancel()
