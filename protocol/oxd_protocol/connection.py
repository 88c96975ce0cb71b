"""One connection's state: which frame runs next, and how long to wait for more bytes. Sans-I/O; the clock is passed in.

Frames run one after the other and are answered in order (pipelining). There is one oddity, the duplicate rule: the
PHP library writes every frame twice and the Perl library three times, and then they read one answer and close.
Running a copy would register a second client or spend a refresh token twice; answering it would put two answers into
one read. So, while a connection has carried nothing but copies of its first frame:

1. a further copy is held for a moment (``DUPLICATE_WAIT``), counted from when it could run;
2. if the peer closes meanwhile, the copy is dropped: it never ran;
3. if the peer does not, or sends anything else, the copy runs, and the rule is off for the rest of the connection.

A client that keeps its connection and repeats a command pays the wait once at most.
"""

import enum
from dataclasses import dataclass
from typing import Final

from oxd_protocol.errors import FramingError
from oxd_protocol.framing import FrameReader

__all__ = ["CLOSED", "DUPLICATE_WAIT", "Closed", "Connection", "Wait"]

DUPLICATE_WAIT: Final = 0.020
"""Seconds that a copy of the first frame waits for the peer to close; peers that do close within 0.4 ms."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Read from the peer until ``until`` (a time on the caller's clock; None: for as long as it takes)."""

    until: float | None


class Closed(enum.Enum):
    """The type of ``CLOSED``: nothing more will come or is worth waiting for."""

    CLOSED = "closed"


CLOSED: Final = Closed.CLOSED
_WAIT_FOREVER: Final = Wait(None)


class Connection:
    """What one peer sent and what is to be done about it.

    ``frame_timeout`` and ``idle_timeout`` are in seconds, None for no limit. The first bounds the time from a
    frame's first byte to its last, the second the time between an answer and the next frame's first byte.
    """

    def __init__(
        self, max_frame_bytes: int, *, frame_timeout: float | None = None, idle_timeout: float | None = None
    ) -> None:
        self._reader = FrameReader(max_frame_bytes)
        self._frame_timeout = frame_timeout
        self._idle_timeout = idle_timeout
        self._deadline: float | None = None
        self._waiting_mid_frame: bool | None = None  # what _deadline was computed for; None: nothing yet
        self._eof = False
        # The duplicate rule. _first is None before the first frame; _rule_on turns False once, for good.
        self._rule_on = True
        self._first: bytes | None = None
        self._copies = 0
        self._hold_until: float | None = None
        self._following: bytes | None = None

    def receive_data(self, data: bytes) -> None:
        """Store bytes from the peer; ``b""`` says that the peer has closed its side."""
        if data:
            self._reader.receive_data(data)
        else:
            self._eof = True

    def next_event(self, now: float) -> bytes | Wait | Closed:
        """Return the body of the next frame to run, or how long to read, or ``CLOSED``.

        Call it again after each answer and after each ``receive_data`` or passed deadline. Raises ``FramingError``
        when the stream is broken or a frame did not arrive in time: answer with it, then close.
        """
        frame = self._next_under_rule(now) if self._rule_on else self._next()
        if frame is None:
            return CLOSED if self._eof else self._wait(now)
        if isinstance(frame, bytes):
            self._waiting_mid_frame = None
        return frame

    def _next(self) -> bytes | None:
        if self._copies:
            self._copies -= 1
            return self._first
        if self._following is not None:
            frame, self._following = self._following, None
            return frame
        return self._reader.next_frame()

    def _next_under_rule(self, now: float) -> bytes | Wait | None:
        if self._first is None:
            self._first = self._reader.next_frame()
            return self._first
        if self._collect_copies():
            self._rule_on = False
            return self._next()
        if self._copies == 0:
            return None
        if self._eof:
            return None  # the copies were never meant to run
        if self._hold_until is None:
            self._hold_until = now + DUPLICATE_WAIT
        if now < self._hold_until:
            return Wait(self._hold_until)
        self._rule_on = False
        return self._next()

    def _collect_copies(self) -> bool:
        """Count the copies that have arrived; True if something else has arrived as well."""
        try:
            while (frame := self._reader.next_frame()) is not None:
                if frame != self._first:
                    self._following = frame
                    return True
                self._copies += 1
        except FramingError:
            return True  # the reader raises it again when its turn comes
        return False

    def _wait(self, now: float) -> Wait | Closed:
        mid_frame = self._reader.mid_frame
        if mid_frame is not self._waiting_mid_frame:
            self._waiting_mid_frame = mid_frame
            timeout = self._frame_timeout if mid_frame else self._idle_timeout
            self._deadline = None if timeout is None else now + timeout
        if self._deadline is None:
            return _WAIT_FOREVER
        if now < self._deadline:
            return Wait(self._deadline)
        if mid_frame:
            raise FramingError(
                f"Only part of a frame arrived within {self._frame_timeout:g} seconds. "
                "Does its length match the JSON object?"
            )
        return CLOSED
