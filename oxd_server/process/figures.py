"""What the server holds and uses, told in the log when somebody sends SIGUSR1; and how many files it may open."""

import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog
import trio

__all__ = ["open_files", "raise_open_files", "report_on_signal", "resident_kib"]

FIGURES: Final = "figures"
"""The event of the log line that SIGUSR1 asks for."""

_FOLDER: Final = Path("/proc/self")


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, and return it: every connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some systems have a hard limit that they do not grant
            return soft
    return hard


async def report_on_signal(
    counts: Callable[[], Mapping[str, int]], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Log a line of figures for every SIGUSR1: ``counts`` and what the process and its tasks come to."""
    log = structlog.get_logger("oxd_server.process.figures")
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        task_status.started()
        async for _ in signals:
            tasks = trio.lowlevel.current_statistics().tasks_living
            log.info(FIGURES, **counts(), tasks=tasks, open_files=open_files(), resident_kib=resident_kib())


def open_files() -> int | None:
    """Return how many files are open, None where the system does not say."""
    try:
        return sum(1 for _ in (_FOLDER / "fd").iterdir())
    except OSError:
        return None


def resident_kib() -> int | None:
    """Return the resident memory in KiB, None where the system does not say."""
    try:
        pages = int((_FOLDER / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize() // 1024
