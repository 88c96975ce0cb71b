"""What operators' programs read of a server: its figures, and whether it is ready."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from oxd_server.app.building import Edition
from oxd_server.config import Config
from oxd_server.entrances.https import Figures, HttpsFront
from oxd_server.entrances.monitor import METRICS, READY, Monitor, monitor_listeners, text_of, told_of
from oxd_server.entrances.tcp import FrameListener
from oxd_server.log import Log
from oxd_server.observe.readiness import Readiness
from oxd_server.observe.sample import Sample
from oxd_server.observe.sight import Sight
from oxd_server.process.figures import open_files, resident_kib
from oxd_server.process.listen_fds import Inherited, listeners_of

if TYPE_CHECKING:
    from oxd_server.observe.metrics import Metrics
    from oxd_server.observe.traces import Traces

__all__ = ["front_readings", "make_monitor", "make_sight", "readings_of", "sample_of", "shared_figures"]

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it, mode 0700
_KIB: Final = 1024


def make_sight(config: Config, inherited: Inherited, output: Log | None) -> Sight:
    """Return what is told of everything. Figures are made if the configuration, traces if anybody asks for them."""
    return Sight(output, _metrics(inherited) if config.metrics.enabled else None, _traces())


def _metrics(inherited: Inherited) -> "Metrics":
    # Imported late: a server without figures starts faster without the library.
    from oxd_server.observe.metrics import Metrics

    return Metrics(inherited.worker)


def _traces() -> "Traces | None":
    # Who wants traces has set the library up, and so imported it, before the server: `opentelemetry-instrument` does.
    if "opentelemetry.trace" not in sys.modules:
        return None
    from oxd_server.observe.traces import Traces

    return Traces.if_wanted()


def readings_of(sight: Sight, readiness: Readiness) -> dict[str, Figures]:
    """Return what can be read, by its usual path."""
    readings = {READY: told_of(readiness.problem)}
    if sight.metrics is not None:
        readings[METRICS] = text_of(sight.metrics.media_type, sight.metrics.text)
    return readings


def front_readings(config: Config, readings: Mapping[str, Figures]) -> dict[str, Figures]:
    """Return what can be read at the HTTPS front: figures only where the configuration says so."""
    path = config.metrics.https_path
    figures = {} if path is None or METRICS not in readings else {path: readings[METRICS]}
    return {READY: readings[READY], **figures}


def make_monitor(config: Config, inherited: Inherited, readings: Mapping[str, Figures]) -> Monitor | None:
    """Return what answers on the port of the metrics, if there is one. Raises ``OSError`` if it cannot be bound."""
    if not config.metrics.enabled:
        return None
    return Monitor(listeners_of(inherited.metrics_sockets) or monitor_listeners(config), readings)


def sample_of(edition: Edition, servers: Sequence[FrameListener], front: HttpsFront | None) -> Sample:
    """Look up what nobody tells of."""
    op = edition.services.op
    return Sample(
        connections={
            "socket": sum(server.connections for server in servers),
            "https": 0 if front is None else front.connections,
        },
        commands_in_flight=edition.dispatcher.in_flight,
        cache_bytes={
            "discovery": op.discovery.bytes,
            "uma_discovery": op.uma_discovery.bytes,
            "key_sets": op.key_sets.bytes,
            **edition.services.store.cache_bytes,
        },
        store_commits=edition.services.store.commits,
        resident_bytes=(resident_kib() or 0) * _KIB,
        open_files=open_files() or 0,
    )


@contextmanager
def shared_figures(config: Config) -> Iterator[dict[str, str]]:
    """Make the folder in which workers keep their figures; yield the variables that tell them of it."""
    if not config.metrics.enabled:
        yield {}
        return
    from oxd_server.observe.metrics import FOLDER_VARIABLE

    # They are written with every command: in memory where that is to be had, and gone when the server ends.
    folder = tempfile.mkdtemp(prefix="oxd-metrics-", dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None)
    try:
        yield {FOLDER_VARIABLE: folder}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
