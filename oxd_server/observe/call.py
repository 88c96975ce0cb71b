"""One command on its way through the server: who sent it, and what is told of it when it has ended."""

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Any, Final, NamedTuple

__all__ = ["NOBODY", "Call", "Caller", "Calls", "current_call"]

_BEGINNING_BYTES: Final = 4


class Caller(NamedTuple):
    """Who sends commands, and how.

    ``peer`` is an address with its port. ``dialect`` is that of the answers. ``request_id`` is the entrance's name for
    the command; without one it gets one. ``trace`` is the caller's own trace (W3C Trace Context, ``traceparent``).
    """

    peer: str = ""
    dialect: str = "3"
    request_id: str | None = None
    trace: str | None = None

    @property
    def address(self) -> str:
        """The peer's address without its port."""
        return self.peer.rpartition(":")[0]


NOBODY: Final = Caller()


class Call:
    """A command that is being run. Its facts are filled in by whoever learns them; times are in seconds.

    ``command`` is None until it is known to be one of ours: ``name`` is what was asked for, whatever that is. ``limit``
    is what a busy server or a busy OP has reached; ``error_id`` names the traceback in the log. ``secret_expires_at``
    is when the site's client secret expires, in milliseconds since 1970; 0: never.
    """

    command: str | None = None
    oxd_id: str | None = None
    error: str | None = None
    limit: str | None = None
    error_id: str | None = None
    description: str | None = None
    secret_expires_at = 0
    op_seconds = 0.0
    seconds = 0.0
    span: Any = None

    def __init__(self, caller: Caller, entrance: str, name: str, request_id: str) -> None:
        self.caller = caller
        self.entrance = entrance
        self.name = name
        self.request_id = request_id
        self.token: Token[Call | None] = _current.set(self)
        self.started = time.perf_counter()


class Calls:
    """Follows every command from its beginning to its end, and tells those who want to know.

    Those who are told see the command's secrets noted still: what they write goes through redaction.
    """

    def __init__(
        self,
        ended: Sequence[Callable[[Call], None]] = (),
        began: Callable[[Call], None] | None = None,
        left: Callable[[Call], None] | None = None,
    ) -> None:
        """``ended`` are told of commands that were answered, ``began`` and ``left`` also of those that are given up."""
        self._ended = tuple(ended)
        self._began = began
        self._left = left
        # One process has one beginning: the number alone tells its commands apart.
        self._beginning = secrets.token_hex(_BEGINNING_BYTES)
        self._numbers = itertools.count(1)

    def begin(self, caller: Caller, entrance: str, name: str) -> Call:
        """Return the command's facts; until ``leave`` they are those of ``current_call``."""
        call = Call(caller, entrance, name, caller.request_id or f"{self._beginning}-{next(self._numbers)}")
        if self._began is not None:
            self._began(call)
        return call

    def end(self, call: Call, error: str | None) -> None:
        """Tell what the command came to: ``error`` is the code of its answer, None if that is ok."""
        call.error = error
        if not self._ended:
            return
        call.seconds = time.perf_counter() - call.started
        for tell in self._ended:
            tell(call)

    def leave(self, call: Call) -> None:
        """Go back to what ran before the command, also after one that was given up."""
        if self._left is not None:
            self._left(call)
        _current.reset(call.token)


_current: Final[ContextVar[Call | None]] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """Return the command that this task runs, None if it runs none."""
    return _current.get()
