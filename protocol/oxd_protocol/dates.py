"""Dates in all the shapes that deployed software writes them in."""

import math
import re
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["read_date"]

_DIGITS: Final = re.compile(r"-?[0-9]{1,20}")


def read_date(value: Any, per_second: int = 1) -> int | None:
    """Return a date as a number since 1970: of seconds, or of parts of which ``per_second`` make a second.

    Such a number itself, its digits and ISO 8601 are dates, the latter in UTC where it names no zone. What lies before
    1970, as the year 1 and -1 that stand for "unknown", is 0. None for anything else.
    """
    if isinstance(value, str):
        return _of_text(value.strip(), per_second)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return max(0, int(value))


def _of_text(text: str, per_second: int) -> int | None:
    if _DIGITS.fullmatch(text):
        return max(0, int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, round(moment.timestamp() * per_second))
