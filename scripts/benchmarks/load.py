"""A load generator: one process, raw sockets, a fixed number of requests. Not started by hand.

It reads a job (JSON) from stdin and prints the outcome (JSON). Every connection of the job has one request under way;
when its answer is complete the next one goes out, until all frames of the job are answered `rounds` times. An answer
whose status is not the expected one is counted, never passed over.
"""

import json
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_RECEIVE_BYTES = 65_536
_SILENCE_SECONDS = 30.0
_TICK_SECONDS = 0.01
_SETTLING_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """What to send and how. `requests` are the bytes of whole requests, sent in turn until `count` are answered."""

    address: tuple[str, int]
    requests: list[bytes]
    count: int
    connections: int
    reconnect: bool  # one connection per request
    http: bool  # over TLS, to an HTTPS front
    resume: bool  # each further connection resumes the TLS session of the one before
    expect: bytes  # what every answer holds
    pids: list[int]  # the processes whose CPU time counts
    opening: bytes  # sent first on connections that are kept, and not measured


@dataclass
class Lane:
    """One connection, and the request that is under way on it."""

    sock: socket.socket
    sent_at: float = 0.0
    received: bytes = b""


class Load:
    """Runs one job in a single thread."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._selector = selectors.EpollSelector()
        self._to_send: Iterator[bytes] = iter([job.requests[number % len(job.requests)] for number in range(job.count)])
        self._is_complete = _is_whole_http_answer if job.http else _is_whole_frame
        self._tls = _tls_context() if job.http else None
        self._session: ssl.SSLSession | None = None
        self._latencies: list[float] = []
        self._wrong: list[bytes] = []

    def run(self) -> dict[str, Any]:
        """Send everything; return seconds, CPU seconds, latencies in seconds and the answers that were not expected."""
        lanes = [Lane(self._open()) for _ in range(min(self._job.connections, self._job.count))]
        cpu = cpu_of_each_when_idle(self._job.pids)
        started = time.perf_counter()
        for lane in lanes:
            self._send_next(lane)
        while len(self._latencies) < self._job.count:
            for key, _ in self._wait():
                self._receive(key.data)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "cpu": [after - before for before, after in zip(cpu, cpu_of_each_when_idle(self._job.pids), strict=True)],
            "latencies": self._latencies,
            "wrong": len(self._wrong),
            "first_wrong": self._wrong[0][:500].decode("utf-8", "replace") if self._wrong else None,
        }

    def _open(self) -> socket.socket:
        """Connect, and let a connection that is kept get over its first command."""
        sock = self._connect()
        if not self._job.reconnect:
            sock.setblocking(True)
            sock.sendall(self._job.opening)
            received = b""
            while not self._is_complete(received):
                received += sock.recv(_RECEIVE_BYTES) or _closed(received)
            sock.setblocking(False)
        return sock

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._selector.select(_SILENCE_SECONDS)
        if not ready:
            raise TimeoutError(f"no answer for {_SILENCE_SECONDS:g} seconds")
        return ready

    def _connect(self) -> socket.socket:
        sock: socket.socket = socket.create_connection(self._job.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname="localhost", session=self._session)
        sock.setblocking(False)
        return sock

    def _send_next(self, lane: Lane) -> None:
        request = next(self._to_send, None)
        if request is None:
            lane.sock.close()
            return
        lane.received = b""
        lane.sent_at = time.perf_counter()
        lane.sock.send(request)  # far smaller than any socket buffer, so it goes out whole
        if lane.sock.fileno() not in self._selector.get_map():
            self._selector.register(lane.sock, selectors.EVENT_READ, lane)

    def _receive(self, lane: Lane) -> None:
        try:
            data = lane.sock.recv(_RECEIVE_BYTES)
        except ssl.SSLWantReadError:
            return
        lane.received += data or _closed(lane.received)
        if not self._is_complete(lane.received):
            return
        self._latencies.append(time.perf_counter() - lane.sent_at)
        if self._job.expect not in lane.received:
            self._wrong.append(lane.received)
        if self._job.resume:
            assert isinstance(lane.sock, ssl.SSLSocket)
            self._session = lane.sock.session
        if self._job.reconnect:
            self._reconnect(lane)
        self._send_next(lane)

    def _reconnect(self, lane: Lane) -> None:
        self._selector.unregister(lane.sock)
        lane.sock.close()
        if len(self._latencies) + self._under_way() < self._job.count:
            lane.sock = self._connect()

    def _under_way(self) -> int:
        return len(self._selector.get_map())


def cpu_clock(pid: int) -> float:
    """Return the CPU seconds, user and system, of a process so far."""
    # clock_getcpuclockid(3) makes this id of a pid; it is exact, where /proc/<pid>/stat counts hundredths of a second.
    return time.clock_gettime((~pid << 3) | 2)


def cpu_when_idle(pids: list[int]) -> float:
    """Return the CPU seconds of processes that have come, or come now, to the end of their work."""
    return sum(cpu_of_each_when_idle(pids))


def cpu_of_each_when_idle(pids: list[int]) -> list[float]:
    """Return the CPU seconds of each.

    The system adds what a process uses only when it stops running or the next tick comes.
    """
    before, now = [-1.0], [0.0]
    deadline = time.perf_counter() + _SETTLING_SECONDS
    while now != before and time.perf_counter() < deadline:
        time.sleep(_TICK_SECONDS)
        before, now = now, list(map(cpu_clock, pids))
    return now


def _closed(received: bytes) -> bytes:
    raise ConnectionError(f"closed in the middle of an answer, after {received[:200]!r}")


def _is_whole_frame(received: bytes) -> bool:
    return len(received) >= 4 and len(received) >= 4 + int(received[:4])


def _is_whole_http_answer(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.partition(b":")[2])


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the servers measured make their own certificates on this machine
    context.verify_mode = ssl.CERT_NONE
    return context


def main() -> None:
    """Run the job on stdin."""
    raw = json.load(sys.stdin)
    raw["address"] = tuple(raw["address"])
    raw["requests"] = [request.encode("latin-1") for request in raw["requests"]]
    raw["expect"] = raw["expect"].encode()
    raw["opening"] = raw["opening"].encode()
    outcome = Load(Job(**raw)).run()
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
