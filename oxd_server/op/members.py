"""Members of JSON documents that others wrote, read as leniently as can be: what cannot be made use of is not there.

Servers send a text for a list, "true" for true, numbers as texts and lifetimes that never end. Nothing that nobody
reads, and nothing that a step can do without, makes an answer unusable. Pure.
"""

import re
from collections.abc import Mapping
from math import isfinite

__all__ = ["date", "flag", "lifetime", "number", "text", "text_or_number", "texts", "with_numbers", "words"]

MAX_LIFETIME = 2**31 - 1
"""In seconds, 68 years: what is longer does not fit into the integers of the libraries that are told."""
MAX_DATE = 10**12
"""In seconds since 1970."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,25}(\.[0-9]{0,25})?")


def text(value: object) -> str | None:
    """A text that is not empty, else None."""
    return value if isinstance(value, str) and value else None


def text_or_number(value: object) -> str | None:
    """A text that is not empty, or the digits of a whole number as one, else None."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list; a text alone is words with spaces between them, anything else is no list."""
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(item for item in value if isinstance(item, str) and item) if isinstance(value, list) else ()


def words(value: object) -> str | None:
    """A text of words, such as a scope, which some servers send as a list."""
    return " ".join(texts(value)) or None


def flag(value: object) -> bool | None:
    """True or false, as JSON has them or as their names in a text; else None."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value if isinstance(value, bool) else None


def number(value: object) -> int | float | None:
    """A finite number, or the digits of one in a text; else None."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or isfinite(value) else None


def lifetime(value: object) -> int | None:
    """Seconds from now on; None where none is said, and where a negative one says that there is no end."""
    seconds = number(value)
    return None if seconds is None or seconds < 0 else int(min(seconds, MAX_LIFETIME))


def date(value: object) -> int | None:
    """Seconds since 1970; None where it is no date that can be."""
    seconds = number(value)
    return int(seconds) if seconds is not None and 0 <= seconds <= MAX_DATE else None


def with_numbers(document: Mapping[str, object], *names: str) -> dict[str, object]:
    """The document; of these members, those that hold digits in a text hold whole numbers."""
    told = dict(document)
    for name in names:
        if type(value := document.get(name)) is not int and (found := number(value)) is not None:
            told[name] = int(found)
    return told
