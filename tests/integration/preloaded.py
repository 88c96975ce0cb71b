"""Runs `oxd-server` in a process that has its libraries already: most of a start is reading them.

The tests start some five hundred servers and commands. Each process of the tests therefore keeps one helper: this
module, run as a program. The helper reads the server's modules once and forks for each command. What runs is the real
command, in a process of its own: arguments, environment, folder, descriptors and signals are those of the caller.
Tests of the start itself (what is imported from where, sockets handed over by systemd) start Python anew.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import trio

RUN_SECONDS = 60
ROOT = Path(__file__).resolve().parents[2]
_MOST_BYTES = 1024 * 1024
_DESCRIPTORS = 4  # what one request brings: where the exit code goes, and the command's 0, 1 and 2


class Preloaded:
    """A command that was started: as much of `trio.Process` as tests use."""

    def __init__(self, pid: int, reports: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._reports = reports

    def poll(self) -> int | None:
        """Return the exit code, None while the command runs."""
        if self.returncode is None:
            try:
                self._note(self._reports.recv(16, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return None
        return self.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit code: minus the signal that ended it, where one did."""
        while (code := self.poll()) is None:
            await trio.lowlevel.wait_readable(self._reports)
        return code

    def wait_blocking(self, seconds: float) -> int:
        """Like `wait`, for tests without a loop. Raises `TimeoutError`."""
        if self.returncode is None:
            self._reports.settimeout(seconds)
            self._note(self._reports.recv(16))
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if the command still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _note(self, report: bytes) -> None:
        assert report, "the helper has ended"
        self.returncode = int(report)
        self._reports.close()


def start(
    arguments: Sequence[str | Path],
    stdout: IO[bytes],
    stderr: IO[bytes],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Preloaded:
    """Start `oxd-server` with these arguments; nothing is on its standard input."""
    request = {
        "arguments": [str(one) for one in arguments],
        "env": _without_ours(os.environ if env is None else env),
        "cwd": str(cwd or Path.cwd()),
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, open(os.devnull, "rb") as nothing:
        descriptors = [theirs.fileno(), nothing.fileno(), stdout.fileno(), stderr.fileno()]
        socket.send_fds(_helper(), [json.dumps(request).encode()], descriptors)
    return Preloaded(int(ours.recv(16)), ours)


def _without_ours(variables: Mapping[str, str]) -> dict[str, str]:
    """What a person sets for the tests is no setting of the server, which would warn of it."""
    return {name: value for name, value in variables.items() if not name.startswith("OXD_TEST_")}


def run(
    *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `oxd-server` to its end. Raises `TimeoutError`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(arguments, out, err, env, cwd)
        try:
            code = process.wait_blocking(RUN_SECONDS)
        except TimeoutError:
            os.kill(process.pid, signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read().decode(), err.read().decode())


@functools.cache
def _helper() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        descriptor = theirs.fileno()
        command = [sys.executable, "-m", "tests.integration.preloaded", str(descriptor)]
        helper = subprocess.Popen(command, pass_fds=[descriptor], cwd=ROOT)

    def stop() -> None:
        ours.close()
        helper.wait()

    atexit.register(stop)
    return ours


# --- the helper -----------------------------------------------------------------------------------


def main() -> None:
    """Fork for each request; in each child, become the command."""
    import oxd_server.app
    import oxd_server.store.redis  # noqa: F401 - read here, so that no child has to
    from oxd_server.cli import main as oxd_server_main

    gc.freeze()  # a collection in a child would copy every page of what it shares with us
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        sys.argv = ["oxd-server", *request["arguments"]]
        sys.exit(oxd_server_main())


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request until the tests have gone. Returns the request in a child, None in the helper."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in running:
                    pid, report = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    with report:
                        _tell(report, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    continue
                message, descriptors, _, _ = socket.recv_fds(requests, _MOST_BYTES, _DESCRIPTORS)
                if not message:
                    return None
                request = json.loads(message)
                pid = os.fork()
                if pid == 0:
                    _become(request, descriptors)
                    return dict(request)
                report = socket.socket(fileno=descriptors[0])
                for descriptor in descriptors[1:]:
                    os.close(descriptor)
                _tell(report, pid)
                ended = os.pidfd_open(pid)
                running[ended] = pid, report
                selector.register(ended, selectors.EVENT_READ)


def _tell(report: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # whoever asked does not want to know any more
        report.send(b"%d" % number)


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    for place, descriptor in enumerate(descriptors[1:]):
        os.dup2(descriptor, place)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])


if __name__ == "__main__":
    main()
