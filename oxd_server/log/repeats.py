"""Lines that repeat are counted: a fault or an attack that goes on for hours fills no disk.

Of lines that say the same of the same, some are written in each span of time. The others are counted, and when the
span ends one line (`repeated`) tells how many there were.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

__all__ = ["REPEATED", "Repeats"]

REPEATED: Final = "repeated"
SPAN_SECONDS: Final = 10.0
WRITTEN_IN_A_SPAN: Final = 10
_MOST_KEPT: Final = 1000

_SAME: Final = ("command", "error", "status", "limit", "oxd_id", "op", "op_host", "entrance")
"""What two lines of one event must have in common to say the same."""


class _Span(msgspec.Struct):
    """What is counted of one kind of line until ``until``."""

    until: float
    level: str
    said: dict[str, Any]
    written: int = 0
    counted: int = 0


class Repeats:
    """Decides which lines are written. ``clock`` gives seconds; ``tell`` writes, at a level, what a span came to."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._spans: dict[tuple[Any, ...], _Span] = {}

    def admit(self, event: str, level: str, fields: Mapping[str, Any]) -> bool:
        """Return whether the line is written; if not, it has been counted."""
        said = {name: fields[name] for name in _SAME if fields.get(name) is not None}
        if peer := fields.get("peer"):
            said["address"] = peer.rpartition(":")[0]
        key = (event, *said.values())
        if len(self._spans) >= _MOST_KEPT and key not in self._spans:
            # Somebody makes up ever new callers or sites: then the event alone counts.
            said, key = {}, (event,)
        now = self._clock()
        span = self._spans.get(key)
        if span is None or span.until <= now:
            self._close(key)
            span = self._spans[key] = _Span(now + SPAN_SECONDS, level, said)
        if span.written < WRITTEN_IN_A_SPAN:
            span.written += 1
            return True
        span.counted += 1
        return False

    def tell_ended(self) -> None:
        """Tell of the spans that have ended, and forget them."""
        now = self._clock()
        # They were begun in the order of time, and all are of one length.
        while self._spans and (key := next(iter(self._spans))) is not None and self._spans[key].until <= now:
            self._close(key)

    def tell_all(self) -> None:
        """Tell of every span: nothing more comes."""
        for key in tuple(self._spans):
            self._close(key)

    def _close(self, key: tuple[Any, ...]) -> None:
        span = self._spans.pop(key, None)
        if span is not None and span.counted:
            self._tell(span.level, {"of": key[0], "count": span.counted, "seconds": SPAN_SECONDS, **span.said})
