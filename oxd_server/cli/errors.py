"""What the command line tells as one line instead of a traceback."""

from typing import Any

__all__ = ["CliError", "text_of_first"]


class CliError(Exception):
    """What was asked for cannot be done; the text is one line that says why."""


def text_of_first(group: BaseExceptionGroup[Any]) -> str:
    """Return what the first error in the group says."""
    error = group.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return text_of_first(error)
    return str(error) or type(error).__name__
