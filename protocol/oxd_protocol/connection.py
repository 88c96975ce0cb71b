"""One connection's state: which frame runs next, and how long to wait for more bytes. Sans-I/O; the clock is passed in.

Frames run one after the other and are answered in order (pipelining). There is one oddity, the duplicate rule.

The PHP library writes every frame twice and the Perl library three times; then they read one answer and close. Running
a copy would register a second client or use a refresh token twice, which logs the user out. Answering it would put two
answers into one read, and the library fails. But a client that keeps its connection may repeat a command and mean it.
Nothing in the bytes tells the two apart. Time does, and the peer's close:

* The libraries write their copies before they read. So a copy that was here before the answer to the first frame left
  is a copy: no library pipelines equal frames. It waits for the close as long as a busy machine may need to get there
  (``COPY_WAIT``).
* One that arrives later is most likely a repeated command. It may still be a copy whose writer lost the processor
  between two writes. So it waits for a moment (``REPEAT_WAIT``), longer where running it by mistake would change
  something (``CHANGE_WAIT``).
* If the peer closes meanwhile, the copies never run. If anything else arrives, they were meant, and run at once. If
  the time is up, they run. In the last two cases the rule is off for the rest of the connection.

The rule holds while a connection has carried nothing but copies of its first frame. A client that keeps its connection
and repeats a command that changes nothing waits ``REPEAT_WAIT`` at most, once.
"""

import enum
from typing import Final

import msgspec

from oxd_protocol.catalog import find_command
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.framing import FrameReader
from oxd_protocol.messages import decode_request

__all__ = ["CHANGE_WAIT", "CLOSED", "COPY_WAIT", "REPEAT_WAIT", "Closed", "Connection", "Wait"]

COPY_WAIT: Final = 5.0
"""Seconds that a copy waits for the peer to close if it was here before the answer to the first frame left."""
REPEAT_WAIT: Final = 0.25
"""Seconds that a copy waits that came later, of a command that changes nothing."""
CHANGE_WAIT: Final = 2.0
"""Seconds that a copy waits that came later, of a command that changes something."""


class Wait(msgspec.Struct, frozen=True):
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
        self._came_early: bool | None = None  # was a copy here before the answer to the first frame left?
        self._copies = 0
        self._hold_until: float | None = None
        self._following: bytes | None = None

    @property
    def expects_copies(self) -> bool:
        """Whether the next answer is the first one.

        Then pass on what has arrived before you send it, so that the copies among it are known for what they are.
        """
        return self._first is not None and self._came_early is None

    def receive_data(self, data: bytes) -> None:
        """Store bytes from the peer; ``b""`` says that the peer has closed its side."""
        if data:
            self._reader.receive_data(data)
        else:
            self._eof = True

    def next_event(self, now: float) -> bytes | Wait | Closed:
        """Return the body of the next frame to run, or how long to read, or ``CLOSED``.

        Call it again after each answer and after each ``receive_data`` or passed deadline. What the peer sent before
        an answer left should be received before that call (see ``expects_copies``). Raises ``FramingError``
        when the stream is broken or a frame did not arrive in time: answer with it, then close.
        """
        if self._rule_on:
            frame = self._next_under_rule(now)
        elif self._copies or self._following is not None:
            frame = self._next_held()
        else:
            frame = self._reader.next_frame()
        if frame is None:
            return CLOSED if self._eof else self._wait(now)
        if isinstance(frame, bytes):
            self._waiting_mid_frame = None
        return frame

    def _next_held(self) -> bytes | None:
        """Return the next of the frames that were held back under the rule."""
        if self._copies:
            self._copies -= 1
            return self._first
        frame, self._following = self._following, None
        return frame if frame is not None else self._reader.next_frame()

    def _next_under_rule(self, now: float) -> bytes | Wait | None:
        if self._first is None:
            self._first = self._reader.next_frame()
            return self._first
        something_else = self._collect_copies()
        if self._came_early is None:
            self._came_early = self._copies > 0 or self._reader.mid_frame
        if something_else:
            self._rule_on = False
            return self._next_held()
        if self._copies == 0:
            return None
        if self._eof:
            return None  # the copies were never meant to run
        if self._hold_until is None:
            self._hold_until = now + self._copy_wait(self._first)
        if now < self._hold_until:
            return Wait(self._hold_until)
        self._rule_on = False
        return self._next_held()

    def _copy_wait(self, frame: bytes) -> float:
        """Return the seconds that copies of this first frame wait for the peer to close."""
        if self._came_early:
            return COPY_WAIT
        return CHANGE_WAIT if _changes_something(frame) else REPEAT_WAIT

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


def _changes_something(frame: bytes) -> bool:
    """Return whether the frame holds a command that changes something, here or at the OP."""
    try:
        command = find_command(decode_request(frame).command)
    except (CommandError, FramingError):
        return False  # it was refused, and will be again
    return command is not None and command.changes
