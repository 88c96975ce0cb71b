"""Starting another server process: what runs, what it is handed, and how it says that it is ready.

A new process holds the end of a pipe. It writes one byte when it serves. If it ends before that, so does the pipe.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import trio
from msgspec.structs import replace

from oxd_server.process.listen_fds import Inherited, hand_over

__all__ = ["Started", "own_command", "start", "tell_ready", "this_version"]

_READY: Final = b"1"


class Started(NamedTuple):
    """A process that was started, and the end of the pipe that it says it is ready on."""

    process: trio.Process
    pipe: int

    async def is_ready(self) -> bool:
        """Wait until it is ready; False if it ended instead. Only once."""
        async with trio.lowlevel.FdStream(self.pipe) as pipe:
            return await pipe.receive_some(1) == _READY


def this_version() -> list[str]:
    """Return how to run what runs here, once more."""
    return [sys.executable, "-P", "-m", "oxd_server"]  # -P: what lies in the current folder is not imported


def own_command() -> list[str]:
    """Return what this process was started as: the program at that path may have become a newer one."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py" or not os.access(program, os.X_OK):
        return this_version()
    return [str(program.absolute())]


async def start(command: Sequence[str], inherited: Inherited, variables: Mapping[str, str] | None = None) -> Started:
    """Start a process that is handed ``inherited``, with further environment variables.

    Raises ``OSError`` when it cannot be started.
    """
    read_end, write_end = os.pipe()
    try:
        command, handed, descriptors = hand_over(command, replace(inherited, ready=write_end))
        environment = {**os.environ, **(variables or {}), **handed}
        process = await trio.lowlevel.open_process(command, env=environment, pass_fds=descriptors)
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return Started(process, read_end)


def tell_ready(inherited: Inherited) -> None:
    """Tell whoever started this process that it serves, if somebody wants to know."""
    if inherited.ready is not None:
        with suppress(BrokenPipeError):  # nobody wants to know any more
            os.write(inherited.ready, _READY)
        os.close(inherited.ready)
