"""The server's figures, as Prometheus reads them.

With several workers each keeps its figures in files of a folder, and any of them reads all of these together. The files
bear the worker's number, not the process's: a worker that takes the place of another one goes on with its figures, so
that nothing is lost, counted twice, or left lying about.
"""

import os
from collections.abc import Callable
from typing import Final, Literal

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from oxd_protocol.errors import HTTP_STATUS_PREFIX
from oxd_server import __version__
from oxd_server.observe.call import Call
from oxd_server.observe.sample import Sample
from oxd_server.op.observed import OpRequest

__all__ = ["FOLDER_VARIABLE", "Metrics"]

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where the library finds the folder of the workers' files."""

_MOST_HOSTS: Final = 100
_MOST_SITES: Final = 200
_MOST_KEPT: Final = 2000
_OTHER: Final = "other"
_UNKNOWN: Final = "unknown"
_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_OP_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_REMOVE: Final = "remove_site"
_SECONDS_PER_MILLISECOND: Final = 0.001

Mode = Literal["sum", "max", "mostrecent"]
_Counts = tuple[Callable[[], None], Callable[[float], None]]
"""Counts a command, and its seconds: finding them by their labels costs more than counting."""


class Metrics:
    """Counts, and writes the counts down."""

    media_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, worker: int | None = None) -> None:
        """``worker`` is the number of this one among several, whose folder ``FOLDER_VARIABLE`` names."""
        self._is_worker = worker is not None
        # The library would go by the process's id.
        by_number = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
        values.ValueClass = values.MutexValue if worker is None else by_number
        self._registry = CollectorRegistry()
        self._commands = self._counter("oxd_commands", "Commands that were answered.", "command", "outcome", "dialect")
        self._command_seconds = self._histogram(
            "oxd_command_seconds", "Time of a command in the server, without its requests to OPs.", _BUCKETS, "command"
        )
        self._op_requests = self._counter("oxd_op_requests", "Requests to OPs that ended.", "host", "outcome")
        self._op_seconds = self._histogram("oxd_op_request_seconds", "Time of a request to an OP.", _OP_BUCKETS, "host")
        self._refused = self._counter(
            "oxd_refused", "What an entrance refused before there was a command.", "entrance", "code"
        )
        self._connections = self._gauge("oxd_connections", "Connections that are open.", "sum", "entrance")
        self._in_flight = self._gauge("oxd_commands_in_flight", "Commands that are being run.", "sum")
        self._outages = self._gauge("oxd_op_outages", "OPs that do not answer.", "max")
        self._commits = self._counter("oxd_store_commits", "Transactions that the store has written.")
        self._cache_bytes = self._gauge("oxd_cache_bytes", "Memory of what is kept at hand.", "sum", "cache")
        self._resident = self._gauge("oxd_resident_memory_bytes", "Memory of the server's processes.", "sum")
        self._open_files = self._gauge("oxd_open_files", "Files and sockets that are open.", "sum")
        self._certificate = self._gauge(
            "oxd_certificate_expiry_timestamp_seconds", "When the HTTPS front's certificate expires.", "mostrecent"
        )
        self._secrets = self._gauge(
            "oxd_client_secret_expiry_timestamp_seconds",
            "When the client secret of a site expires that was used; 0: the site was removed.",
            "mostrecent",
            "oxd_id",
        )
        self._gauge("oxd_build_info", "The version of the server.", "max", "version").labels(__version__).set(1)
        self._of_commands: dict[tuple[str | None, str | None, str], _Counts] = {}
        self._hosts: set[str] = set()
        self._expiries: dict[str, int] = {}
        self._commits_seen = 0

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, mode: Mode, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

    def see_command(self, call: Call) -> None:
        """Count a command that has ended."""
        key = call.command, call.error, call.caller.dialect
        count, observe = self._of_commands.get(key) or self._of_command(*key)
        count()
        observe(max(call.seconds - call.op_seconds, 0.0))
        if call.secret_expires_at and call.oxd_id is not None:
            is_removed = call.command == _REMOVE and call.error is None
            self._see_secret(call.oxd_id, call.secret_expires_at, is_removed=is_removed)

    def _of_command(self, command: str | None, error: str | None, dialect: str) -> _Counts:
        name = command or _UNKNOWN
        counts = (
            self._commands.labels(name, _outcome(error), dialect).inc,
            self._command_seconds.labels(name).observe,
        )
        if len(self._of_commands) < _MOST_KEPT:
            self._of_commands[command, error, dialect] = counts
        return counts

    def _see_secret(self, oxd_id: str, expires_at: int, *, is_removed: bool) -> None:
        expires_at = 0 if is_removed else expires_at
        is_new = oxd_id not in self._expiries
        if self._expiries.get(oxd_id) == expires_at or (is_new and (is_removed or len(self._expiries) >= _MOST_SITES)):
            return
        self._expiries[oxd_id] = expires_at
        self._secrets.labels(oxd_id).set(expires_at * _SECONDS_PER_MILLISECOND)

    def see_op_request(self, request: OpRequest) -> None:
        """Count a request to an OP that has ended."""
        host = self._host(request.host)
        self._op_requests.labels(host, request.outcome).inc()
        self._op_seconds.labels(host).observe(request.seconds)

    def _host(self, host: str) -> str:
        if host not in self._hosts:
            if len(self._hosts) >= _MOST_HOSTS:
                return _OTHER
            self._hosts.add(host)
        return host

    def see_refusal(self, entrance: str, code: str) -> None:
        """Count what was refused before there was a command."""
        self._refused.labels(entrance, code).inc()

    def see_certificate(self, expires_at: float) -> None:
        """Note when the certificate expires, in seconds since 1970."""
        self._certificate.set(expires_at)

    def see(self, sample: Sample, op_outages: int) -> None:
        """Note what was looked up, and how many OPs do not answer."""
        for entrance, count in sample.connections.items():
            self._connections.labels(entrance).set(count)
        for cache, size in sample.cache_bytes.items():
            self._cache_bytes.labels(cache).set(size)
        self._in_flight.set(sample.commands_in_flight)
        self._outages.set(op_outages)
        self._resident.set(sample.resident_bytes)
        self._open_files.set(sample.open_files)
        self._commits.inc(sample.store_commits - self._commits_seen)
        self._commits_seen = sample.store_commits

    async def text(self) -> bytes:
        """Return the figures of all workers together, in Prometheus's text format."""
        return await trio.to_thread.run_sync(self._text)

    def _text(self) -> bytes:
        if not self._is_worker:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, os.environ[FOLDER_VARIABLE])  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _outcome(error: str | None) -> str:
    """Return the code, of an OP's own answers only their kind: an OP may make up as many as it likes."""
    if error is None:
        return "ok"
    return f"{error[: len(HTTP_STATUS_PREFIX) + 1]}xx" if error.startswith(HTTP_STATUS_PREFIX) else error
