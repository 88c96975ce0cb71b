"""A program that moves file descriptors to 3 and the numbers after it, and then becomes another program.

It runs in the new process, where nothing else is open yet: `python place_descriptors.py FD,FD... COMMAND ARGUMENT...`.
"""

import fcntl
import os
import sys
from collections.abc import Sequence

__all__ = ["command"]

_START = 3


def command(descriptors: Sequence[int], then: Sequence[str]) -> list[str]:
    """Return the command line of this program; it needs no package, so Python starts without any."""
    return [sys.executable, "-I", "-S", __file__, ",".join(map(str, descriptors)), *then]


def _place(descriptors: Sequence[int]) -> None:
    end = _START + len(descriptors)
    # First out of the way: one may stand where another is to go.
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, end) for descriptor in descriptors]
    for target, source in enumerate(moved, _START):
        os.dup2(source, target)
    for descriptor in descriptors:
        if descriptor >= end:
            os.close(descriptor)


if __name__ == "__main__":
    _place([int(number) for number in sys.argv[1].split(",")])
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command of whoever started this
