"""Several worker processes behind one listening socket and one store.

The supervisor binds the sockets, starts the workers with them, and does nothing else but see to it that they run: one
that ends unasked is logged and replaced, signals are passed on. A worker is an ordinary server that was handed its
sockets. Each worker holds one end of a pipe: when the supervisor is gone, however it went, the pipe ends, and the
worker stops as if it had been told to.
"""

import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog
import trio
from msgspec.structs import replace

from oxd_server.process.listen_fds import Inherited
from oxd_server.process.service_manager import NOBODY
from oxd_server.process.signals import until_ended, while_connected
from oxd_server.process.starting import start, tell_ready, this_version

__all__ = ["Supervisor", "stop_with_supervisor"]

_RESTART_DELAY: Final = 0.1
_MAX_RESTART_DELAY: Final = 5.0
_HEALTHY_SECONDS: Final = 10.0
_KILL_AFTER_SECONDS: Final = 5.0


async def stop_with_supervisor(lifeline: int) -> None:
    """Wait until the supervisor is gone, then stop this process as SIGTERM does."""
    async with trio.lowlevel.FdStream(lifeline) as pipe:
        await pipe.receive_some(1)
    signal.raise_signal(signal.SIGTERM)


class Supervisor:
    """Keeps ``count`` workers running."""

    def __init__(
        self,
        arguments: Sequence[str],
        count: int,
        sockets: Inherited,
        *,
        shutdown_timeout: float,
        handover_timeout: float,
        variables: Mapping[str, str],
    ) -> None:
        """Timeouts are in seconds; ``variables`` are for the workers."""
        self._arguments = arguments
        self._count = count
        self._sockets = sockets
        self._shutdown_timeout = shutdown_timeout
        self._handover_timeout = handover_timeout
        self._variables = variables
        self._running: dict[int, trio.Process] = {}
        self._stopping = trio.Event()
        self._settled = False
        self._serving = trio.Event()
        self._ready: defaultdict[int, trio.Event] = defaultdict(trio.Event)
        self._log = structlog.get_logger("oxd_server.process.workers")

    async def run(
        self, signals: AsyncIterator[int], announce: Callable[[], None], upgrade: Callable[[], Awaitable[bool]]
    ) -> None:
        """Start the workers, pass signals on, and return when all have ended after SIGTERM or SIGINT.

        ``announce`` is called when the first of them serves; who started this process is told when all do. SIGUSR2 runs
        ``upgrade``. When a successor serves, the workers take nobody new, and end with those who are connected.

        Raises ``ChildProcessError`` for a worker that ends before that.
        """
        read_end, write_end = os.pipe()
        try:
            async with trio.open_nursery() as nursery:
                for number in range(self._count):
                    nursery.start_soon(self._keep_running, number, read_end)
                starting = trio.CancelScope()
                nursery.start_soon(self._announce, starting, announce)
                reactions = {signal.SIGHUP: self._reload, signal.SIGUSR1: self._report}
                ending = await until_ended(signals, reactions, upgrade)
                starting.cancel()
                self._stopping.set()
                if ending == signal.SIGUSR2:
                    self._send(signal.SIGUSR2)
                    await while_connected(lambda: bool(self._running), signals, self._handover_timeout)
                else:
                    await self._sockets.manager.stopping()
                nursery.start_soon(self._stop)
        finally:
            os.close(write_end)
            os.close(read_end)

    async def _announce(self, scope: trio.CancelScope, announce: Callable[[], None]) -> None:
        with scope:
            await self._serving.wait()
            announce()
            await self._sockets.manager.ready()
            if self._sockets.ready is not None:
                for number in range(self._count):
                    await self._ready[number].wait()
                tell_ready(self._sockets)
            self._settled = True

    async def _keep_running(self, number: int, lifeline: int) -> None:
        delay = _RESTART_DELAY
        while not self._stopping.is_set():
            started = trio.current_time()
            code = await self._run_one(number, lifeline)
            if self._stopping.is_set():
                return
            if not self._settled:
                raise ChildProcessError(f"worker {number} ended before it was ready (exit code {code})")
            if trio.current_time() - started > _HEALTHY_SECONDS:
                delay = _RESTART_DELAY
            self._log.error("worker_ended", worker=number, exit_code=code)
            await trio.sleep(delay)
            delay = min(2 * delay, _MAX_RESTART_DELAY)

    async def _run_one(self, number: int, lifeline: int) -> int:
        command = [*this_version(), "serve", *self._arguments]
        handed = replace(self._sockets, lifeline=lifeline, worker=number, manager=NOBODY)
        started = await start(command, handed, self._variables)
        self._running[number] = started.process
        try:
            self._log.info("worker_started", worker=number, pid=started.process.pid)
            if await started.is_ready():
                self._ready[number].set()
                self._serving.set()
            return await started.process.wait()
        finally:
            del self._running[number]

    async def _reload(self) -> None:
        await self._sockets.manager.reloading()
        self._send(signal.SIGHUP)
        await self._sockets.manager.ready()

    async def _report(self) -> None:
        self._send(signal.SIGUSR1)

    async def _stop(self) -> None:
        """Have every worker finish; one that takes longer than it may is killed."""
        self._log.info("stopping", workers=len(self._running))
        with trio.move_on_after(self._shutdown_timeout + _KILL_AFTER_SECONDS):
            while self._running:
                self._send(signal.SIGTERM)
                async with trio.open_nursery() as nursery:
                    for process in tuple(self._running.values()):
                        nursery.start_soon(partial(trio.Process.wait, process))
            return
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for process in self._running.values():
            process.send_signal(number)
