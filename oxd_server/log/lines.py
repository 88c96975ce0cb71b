"""Where the lines of the log go, and when: most at once, those of commands gathered, so that they cost little."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import trio

__all__ = ["LineWriter", "LogFile", "Output", "StreamOutput"]

_GATHER_SECONDS: Final = 0.05
_MOST_GATHERED: Final = 20_000
_PIPE_BYTES: Final = 4096
"""A pipe takes so many bytes as one piece (pipe(7), PIPE_BUF): lines of several workers do not run into each other."""


class Output(Protocol):
    """Takes whole lines."""

    def write(self, lines: bytes) -> None:
        """Write the lines, the last with its end. Raises ``OSError``."""

    def reopen(self) -> None:
        """Go on in a new file if this is one. Raises ``OSError``, and then the old one is still written to."""


class StreamOutput:
    """A stream that somebody else opened, such as stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # A file takes any number of lines as one piece. After every piece the event loop has to be waited for again.
        self._whole = _is_file(stream)

    def write(self, lines: bytes) -> None:
        """Write the lines, as many at a time as stay in one piece."""
        start = 0
        while start < len(lines):
            end = len(lines)
            if end - start > _PIPE_BYTES and not self._whole:
                # At least one line, however long.
                end = (lines.rfind(b"\n", start, start + _PIPE_BYTES) + 1) or (lines.find(b"\n", start) + 1)
            self._stream.write(lines[start:end].decode("utf-8", "replace"))
            self._stream.flush()
            start = end

    def reopen(self) -> None:
        """Do nothing: who opened the stream decides where it leads."""


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # it lies in memory
        return False


class LogFile:
    """A file that is appended to, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it if it is not there. Raises ``OSError``."""
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        # Several workers append to one file: with O_APPEND no write lands inside another one (open(2)).
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, lines: bytes) -> None:
        """Append the lines."""
        while lines:
            lines = lines[os.write(self._descriptor, lines) :]

    def reopen(self) -> None:
        """Open the path anew: whoever rotates logs has moved the file that we write to."""
        opened, self._descriptor = self._descriptor, self._open()
        os.close(opened)


class LineWriter:
    """Writes lines to an output. Those that are gathered are written by ``run``, or before the next other line.

    A line may come from any thread. What cannot be written is lost: a full disk does not stop a command.
    """

    def __init__(self, output: Output, render: Callable[[list[Any]], bytes]) -> None:
        """``render`` makes the lines of what is gathered."""
        self._output = output
        self._render = render
        self._gathered: list[Any] = []
        self._is_run = False
        self._turn = threading.Lock()
        self.lost = 0
        """How many lines could not be written, or were too many at once."""

    def gather(self, line: object) -> None:
        """Have something written within a moment."""
        if len(self._gathered) >= _MOST_GATHERED:
            self.lost += 1
            return
        self._gathered.append(line)
        if not self._is_run:
            self.write_gathered()

    def write(self, line: str) -> None:
        """Write a line now, after those that were gathered before it."""
        with self._turn:
            self._put(line.encode("utf-8", "backslashreplace"))

    def write_gathered(self) -> None:
        """Write what was gathered."""
        with self._turn:
            self._put(b"")

    def reopen(self) -> None:
        """Go on in a new file. Raises ``OSError``, and then the old one is still written to."""
        with self._turn:
            self._put(b"")
            self._output.reopen()

    async def run(self, each_time: Callable[[], None]) -> None:
        """Write what is gathered, in a thread, until cancelled; call ``each_time`` in between, in this one."""
        threads = trio.CapacityLimiter(1)
        self._is_run = True
        try:
            while True:
                await trio.sleep(_GATHER_SECONDS)
                if self._gathered:
                    await trio.to_thread.run_sync(self.write_gathered, limiter=threads)
                each_time()
        finally:
            self._is_run = False
            self.write_gathered()

    def _put(self, line: bytes) -> None:
        """Write what was gathered, and a line after it."""
        gathered, self._gathered = self._gathered, []
        lines = self._render(gathered) + line if gathered else line
        try:
            if lines:
                self._output.write(lines)
        except OSError:
            self.lost += len(gathered) + (1 if line else 0)
