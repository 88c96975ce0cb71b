"""Several worker processes behind one listening socket and one store.

The supervisor binds the sockets, starts the workers with them, and does nothing else but see to it that they run: one
that ends unasked is logged and replaced, signals are passed on. A worker is an ordinary server that was handed its
sockets. Each worker holds one end of a pipe: when the supervisor is gone, however it went, the pipe ends, and the
worker stops as if it had been told to.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
import trio

from oxd_server.process.listen_fds import Inherited, hand_over
from oxd_server.process.service_manager import ServiceManager

__all__ = ["Supervisor", "stop_with_supervisor"]

_PASSED_ON: Final = (signal.SIGHUP, signal.SIGUSR1)
_RESTART_DELAY: Final = 0.1
_MAX_RESTART_DELAY: Final = 5.0
_HEALTHY_SECONDS: Final = 10.0
_KILL_AFTER_SECONDS: Final = 5.0


async def stop_with_supervisor(lifeline: int) -> None:
    """Wait until the supervisor is gone, then stop this process as SIGTERM does."""
    async with trio.lowlevel.FdStream(lifeline) as pipe:
        await pipe.receive_some(1)
    signal.raise_signal(signal.SIGTERM)


@dataclass
class Supervisor:
    """Keeps ``count`` workers running. ``shutdown_timeout`` is in seconds; ``variables`` are for them."""

    arguments: Sequence[str]
    count: int
    command_sockets: tuple[int, ...]
    https_sockets: tuple[int, ...]
    shutdown_timeout: float
    manager: ServiceManager
    metrics_sockets: tuple[int, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    _running: dict[int, trio.Process] = field(default_factory=dict)
    _stopping: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self._log = structlog.get_logger("oxd_server.process.workers")

    async def run(self, signals: AsyncIterator[int], announce: Callable[[], None]) -> None:
        """Start the workers, pass signals on, and return when all have ended after SIGTERM or SIGINT."""
        read_end, write_end = os.pipe()
        try:
            async with trio.open_nursery() as nursery:
                for number in range(self.count):
                    nursery.start_soon(self._keep_running, number, read_end)
                announce()
                await self.manager.ready()
                await self._pass_on(signals)
                await self.manager.stopping()
                nursery.start_soon(self._stop)
        finally:
            os.close(write_end)
            os.close(read_end)

    async def _keep_running(self, number: int, lifeline: int) -> None:
        delay = _RESTART_DELAY
        while not self._stopping.is_set():
            started = trio.current_time()
            code = await self._run_one(number, lifeline)
            if self._stopping.is_set():
                return
            if trio.current_time() - started > _HEALTHY_SECONDS:
                delay = _RESTART_DELAY
            self._log.error("worker_ended", worker=number, exit_code=code)
            await trio.sleep(delay)
            delay = min(2 * delay, _MAX_RESTART_DELAY)

    async def _run_one(self, number: int, lifeline: int) -> int:
        # -P: what lies in the current folder is not imported.
        command = [sys.executable, "-P", "-m", "oxd_server", "serve", *self.arguments]
        inherited = Inherited(
            self.command_sockets, self.https_sockets, lifeline, worker=number, metrics_sockets=self.metrics_sockets
        )
        command, variables, descriptors = hand_over(command, inherited)
        process = await trio.lowlevel.open_process(
            command, env={**os.environ, **self.variables, **variables}, pass_fds=descriptors
        )
        self._running[number] = process
        try:
            self._log.info("worker_started", worker=number, pid=process.pid)
            return await process.wait()
        finally:
            del self._running[number]

    async def _pass_on(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number not in _PASSED_ON:
                self._stopping.set()
                return
            if number == signal.SIGHUP:
                await self.manager.reloading()
            self._send(signal.Signals(number))
            if number == signal.SIGHUP:
                await self.manager.ready()

    async def _stop(self) -> None:
        """Have every worker finish; one that takes longer than it may is killed."""
        self._log.info("stopping", workers=len(self._running))
        with trio.move_on_after(self.shutdown_timeout + _KILL_AFTER_SECONDS):
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
