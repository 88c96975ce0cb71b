"""What one server process shows of itself: the lines of its commands, and the outages of OPs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from oxd_server.log import Log
from oxd_server.observe.call import Calls, current_call
from oxd_server.observe.command_log import command_log
from oxd_server.observe.outages import Outages
from oxd_server.op.observed import OpRequest

__all__ = ["Sight"]


class Sight:
    """Is told of everything that an operator may want to know, and passes it on."""

    def __init__(self, output: Log | None = None) -> None:
        """``output`` takes the lines of commands; without it there are none."""
        self._output = output
        self._outages = Outages(trio.current_time)
        self.calls = Calls([] if output is None else [command_log(output)])

    def see_op_request(self, request: OpRequest) -> None:
        """Learn of a request to an OP that has ended, in the task of the command that made it."""
        call = current_call()
        if call is not None:
            call.op_seconds += request.seconds
        self._outages.see(request)

    def set_log_level(self, level: str) -> None:
        """Log events of this level and above from now on."""
        if self._output is not None:
            self._output.set_level(level)

    def reopen_log(self) -> None:
        """Go on in a new log file, if the log is a file: the old one has been moved away."""
        if self._output is not None:
            try:
                self._output.reopen()
            except OSError as error:
                structlog.get_logger("oxd_server.log").error("log_file_not_reopened", reason=str(error))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Have the lines of commands written together inside the block, which costs less than one by one."""
        async with trio.open_nursery() as nursery:
            if self._output is not None:
                nursery.start_soon(self._output.run)
            yield
            nursery.cancel_scope.cancel()
