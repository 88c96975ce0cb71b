"""The log: one line an event on stderr or in a file, and no secret in it, whoever logged it."""

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from oxd_server.log.absent import absent
from oxd_server.log.command_line import COMMAND, CommandLine
from oxd_server.log.lines import LineWriter, LogFile, Output, StreamOutput
from oxd_server.log.names import is_secret_name
from oxd_server.log.plain import colours_wanted, plain_text
from oxd_server.log.redaction import REDACTED, redact, redact_text
from oxd_server.log.repeats import REPEATED, Repeats

# structlog takes rich along for a kind of traceback that this log has no use for: it shows the values of variables, and
# some are secrets. Without it, every command of ours starts faster, and a server needs 3.6 MB less.
with absent("rich"):
    import structlog
    from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = [
    "COMMAND",
    "REDACTED",
    "CommandLine",
    "Log",
    "configure_logging",
    "is_secret_name",
    "redact",
    "redact_text",
]

_NOISY_LIBRARIES: Final = ("httpx2", "httpcore2", "h11", "trio", "asyncio")
_OF_MANY_LINES: Final = ("exception", "stack")


class Log:
    """The log of this process, as it is configured: see ``configure_logging``."""

    def __init__(self, output: Output, console: bool, colors: bool, names: Mapping[str, Any]) -> None:
        self._ending = _ending(console, colors)
        self._console = console
        self._names = dict(names)
        self._encoder = msgspec.json.Encoder()
        self._writer = LineWriter(output, self._rendered)
        self._repeats = Repeats(time.monotonic, self._tell_repeats)
        self._lost = 0
        self.tells_commands = True
        """Whether the level lets the lines of commands through."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What every line says of who writes it."""
        return self._names

    def set_level(self, level: str) -> None:
        """Write events of this level and above from now on; ``level`` is a name as in the configuration.

        The lines of libraries below a warning are left out whatever the level: they show URLs with their queries.
        """
        number = logging.getLevelNamesMapping()[level.upper()]
        self.tells_commands = number <= logging.INFO
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                self._count_repeats,
                *self._beginning(),
                *self._ending,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=self._logger,
            cache_logger_on_first_use=False,
        )
        self._configure_libraries(max(number, logging.WARNING))

    def reopen(self) -> None:
        """Go on in a new file where the log is a file: it has been moved away. Raises ``OSError``."""
        self._writer.reopen()

    def admits(self, event: str, fields: Mapping[str, Any]) -> bool:
        """Return whether a line at info is to be written; if not, it has been counted as one that repeats."""
        return self._repeats.admit(event, "info", fields)

    def gather(self, line: CommandLine) -> None:
        """Write the line of a command within a moment."""
        self._writer.gather(line)

    async def run(self) -> None:
        """Write the lines of commands until cancelled; those that come before or after are written at once."""
        try:
            await self._writer.run(self._tell)
        finally:
            self._repeats.tell_all()

    def _tell(self) -> None:
        self._repeats.tell_ended()
        lost, self._lost = self._writer.lost - self._lost, self._writer.lost
        if lost:
            structlog.get_logger("oxd_server.log").warning("log_lines_lost", count=lost)

    def _tell_repeats(self, level: str, told: dict[str, Any]) -> None:
        log = structlog.get_logger("oxd_server.log")
        log.log(logging.getLevelNamesMapping()[level.upper()], REPEATED, **told)

    def _count_repeats(self, logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        # A line under whose id somebody will look for it is always written.
        event = str(event_dict.get("event"))
        if event == REPEATED or "error_id" in event_dict or self._repeats.admit(event, method, event_dict):
            return event_dict
        raise structlog.DropEvent

    def _rendered(self, lines: list[CommandLine]) -> bytes:
        return b"".join(map(self._shown, lines)) if self._console else self._encoder.encode_lines(lines)

    def _shown(self, line: CommandLine) -> bytes:
        event: Any = msgspec.to_builtins(line)
        for process in self._ending:
            event = process(None, line.level, event)
        return f"{event}\n".encode("utf-8", "backslashreplace")

    def _beginning(self) -> list[Processor]:
        stamps: list[Processor] = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ]
        return [*stamps, self._add_names] if self._names else stamps

    def _add_names(self, logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
        event_dict.update(self._names)
        return event_dict

    def _logger(self, *_: object) -> "_Lines":
        return _Lines(self._writer)

    def _configure_libraries(self, level: int) -> None:
        """Give the standard library's logging the same lines, with the same redaction."""
        handler = _Handler(self._writer)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_logger_name, *self._beginning()],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *self._ending],
            )
        )
        root = logging.getLogger()
        root.handlers = [other for other in root.handlers if not isinstance(other, _Handler)]
        root.addHandler(handler)
        root.setLevel(level)
        for name in _NOISY_LIBRARIES:
            logging.getLogger(name).setLevel(level)


def configure_logging(
    level: str = "info",
    format: str = "auto",
    stream: TextIO | None = None,
    *,
    file: Path | None = None,
    names: Mapping[str, Any] | None = None,
) -> Log:
    """Send structlog's events, and the warnings of libraries, to the file or to `stream` (stderr), one line each.

    Args:
        level: a name as in the configuration.
        format: json, console, auto (console on a terminal), or journal: entries of systemd's journal.
        stream: where the lines go without a file.
        file: is appended to, and made if it is not there.
        names: what every line says of who writes it, such as the name of the machine.

    Raises:
        OSError: the file or the journal cannot be opened.
        ModuleNotFoundError: the library for the journal is missing.
    """
    out = sys.stderr if stream is None else stream
    on_terminal = file is None and out.isatty()
    colors = colours_wanted(on_terminal, os.environ)
    console = format == "console" or (format == "auto" and on_terminal)
    output = StreamOutput(out) if file is None else LogFile(file)
    log = Log(_journal() if format == "journal" else output, console, colors, names or {})
    log.set_level(level)
    return log


def _journal() -> Output:
    # Imported late: few servers need it.
    from oxd_server.log.journal import JournalOutput

    return JournalOutput()


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


class _Lines:
    """What structlog hands every finished line to."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def msg(self, line: str) -> None:
        """Write the line."""
        self._writer.write(f"{line}\n")

    debug = info = warning = error = critical = msg


class _Handler(logging.Handler):
    """Ours among the root logger's handlers, so that configuring twice does not log twice."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a library."""
        self._writer.write(f"{self.format(record)}\n")
