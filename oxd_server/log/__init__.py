"""The log: one line an event on stderr, and no secret in it, whoever logged it."""

import logging
import sys
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from oxd_server.log.names import is_secret_name
from oxd_server.log.plain import plain_text
from oxd_server.log.redaction import REDACTED, redact, redact_text

__all__ = ["REDACTED", "configure_logging", "is_secret_name", "redact", "redact_text"]

_NOISY_LIBRARIES: Final = ("httpx2", "httpcore2", "h11", "trio", "asyncio")
_OF_MANY_LINES: Final = ("exception", "stack")


def configure_logging(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Send structlog's events, and the warnings of libraries, to `stream` (stderr), one line each.

    `level` is a name as in the configuration; `format` is json, console, or auto: console on a terminal.
    The lines of libraries below a warning are left out whatever the level: they show URLs with their queries.
    """
    out = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    on_terminal = out.isatty()
    console = format == "console" or (format == "auto" and on_terminal)
    ending = _ending(console, colors=on_terminal)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_beginning(), *ending],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(max(number, logging.WARNING), out, ending)


def _beginning() -> list[Processor]:
    return [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]


def _ending(console: bool, colors: bool) -> list[Processor]:
    """From an event to a line. Tracebacks become text first, so that they are looked through as well."""
    renderer: Processor = structlog.processors.JSONRenderer()
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    stages: list[Processor] = [
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    return [*stages, _escape_controls, renderer] if console else [*stages, renderer]


def _escape_controls(logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    """Keep what was logged from moving the cursor or making up lines; JSON does so by itself."""
    return {key: _escaped(value, key in _OF_MANY_LINES) for key, value in event_dict.items()}


def _escaped(value: Any, is_of_many_lines: bool) -> Any:
    if not isinstance(value, str):
        return value
    # The lines of a traceback are indented: none of them can pass for an event.
    return "\n".join(f"    {plain_text(line)}" for line in value.split("\n")) if is_of_many_lines else plain_text(value)


def _configure_libraries(level: int, out: TextIO, ending: list[Processor]) -> None:
    """Give the standard library's logging the same lines, with the same redaction."""
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_beginning()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Handler)]
    root.addHandler(handler)
    root.setLevel(level)
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(level)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours among the root logger's handlers, so that configuring twice does not log twice."""
