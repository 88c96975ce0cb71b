"""The cases about size: start-up, memory, look-ups and registrations with many sites; writers; idle connections."""

from __future__ import annotations

import random
import statistics
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site, database, schema
from scripts.benchmarks.commands import OWN_CLIENT, REDIRECT_URI, SITE
from scripts.benchmarks.processes import (
    HERE,
    Measured,
    Plan,
    WrongAnswer,
    apply_load,
    call,
    frame,
    free_port,
    running_server,
    server_command,
    stop,
    store_path,
    write_config,
)
from scripts.benchmarks.scale import Scale

Row = dict[str, Any]

_STARTS = 3
_START_SECONDS = 60.0
_POLL_SECONDS = 0.005
_LOOK_UPS = 1000
_LOOKED_UP_AGAIN = 10
_TURNS = 5
_WRITERS = 64


def build_store(folder: Path, count: int, op_host: str) -> list[str]:
    """Fill the store of a server with its files in `folder`; return the oxd_ids, in their order."""
    numbers = random.Random(count)  # the same sites every time
    oxd_ids = sorted(str(uuid.UUID(int=numbers.getrandbits(128), version=4)) for _ in range(count))
    connection = schema.open_database(store_path(folder), 5.0)
    connection.execute("BEGIN")
    for oxd_id in oxd_ids:
        database.add_site(connection, _site(oxd_id, op_host))
    connection.execute("COMMIT")
    connection.close()
    return oxd_ids


def _site(oxd_id: str, op_host: str) -> Site:
    return Site(
        oxd_id=oxd_id,
        op_host=op_host,
        client=ClientMetadata(
            redirect_uris=(REDIRECT_URI,),
            response_types=("code",),
            grant_types=("authorization_code",),
            scope="openid profile email",
            client_name=f"oxd-{oxd_id}",
            application_type="web",
        ),
        client_id=f"client-{oxd_id}",
        client_secret=f"secret-{oxd_id}",
    )


def measure_sizes(folder: Path, issuer: str, settings: dict[str, Any], scale: Scale) -> Iterator[Row]:
    """Measure, for each number of stored sites: start-up, memory after it, look-ups and registrations.

    The servers take turns, so that what else the machine does falls on all of them.
    """
    with ExitStack() as running:
        stocked = [_open_stocked(running, folder, size, issuer, settings) for size in scale.store_sizes]
        turns = [[_measure_turn(one, issuer, scale) for one in stocked] for _ in range(_TURNS)]
        for number, one in enumerate(stocked):
            figures = [turn[number] for turn in turns]
            # Other programs only ever add to what a turn costs: the best one is the least disturbed.
            yield {**one.row, **{key: min(each[key] for each in figures) for key in figures[0]}}


@dataclass(frozen=True)
class _Stocked:
    """A server with its sites, some of which will be looked up, and what its start came to."""

    server: Measured
    chosen: list[str]
    row: Row


def _open_stocked(running: ExitStack, folder: Path, size: int, issuer: str, settings: dict[str, Any]) -> _Stocked:
    home = folder / f"sites-{size}"
    oxd_ids = build_store(home, size, issuer)
    starts = [_measure_start(home, oxd_ids[0], settings) for _ in range(_STARTS)]
    server = running.enter_context(running_server(home, settings))
    call(server.port, "register_site", op_host=issuer, **SITE, **OWN_CLIENT)
    chosen = random.Random(1).sample(oxd_ids, min(len(oxd_ids), _LOOK_UPS))
    first = apply_load(server, _look_ups(chosen, len(chosen)))
    row = {
        "case": "stored sites",
        "sites": size,
        "start_seconds": statistics.median(seconds for seconds, _ in starts),
        "memory_kib": statistics.median(memory for _, memory in starts),
        "first_look_up_cpu_us": first.cpu_per_command * 1e6,
        "first_look_up_p50_ms": statistics.median(first.latencies) * 1e3,
    }
    return _Stocked(server, chosen, row)


def _look_ups(oxd_ids: list[str], count: int) -> Plan:
    requests = [frame("get_rp", {"oxd_id": oxd_id}) for oxd_id in oxd_ids]
    return Plan(requests=requests, count=count, connections=1)


def _measure_turn(one: _Stocked, issuer: str, scale: Scale) -> dict[str, float]:
    """Look up the same number of sites in every store, which are in the cache by now, and register some."""
    again = apply_load(one.server, _look_ups(one.chosen[-_LOOKED_UP_AGAIN:], _LOOK_UPS))
    plan = Plan(requests=[_registration(issuer)], count=scale.writers // 2, connections=8)
    registered = apply_load(one.server, plan)
    return {
        "look_up_cpu_us": again.cpu_per_command * 1e6,
        "look_up_p50_ms": statistics.median(again.latencies) * 1e3,
        "register_cpu_us": registered.cpu_per_command * 1e6,
        "register_p50_ms": statistics.median(registered.latencies) * 1e3,
    }


def _measure_start(folder: Path, oxd_id: str, settings: dict[str, Any]) -> tuple[float, float]:
    """Seconds from the start of the process to the first answer, and the memory in KiB after it."""
    port = free_port()
    command = server_command(write_config(folder, {**settings, "port": port}))
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                call(port, "get_rp", oxd_id=oxd_id)
                break
            except ConnectionRefusedError:
                if time.perf_counter() - started > _START_SECONDS or process.poll() is not None:
                    raise WrongAnswer("the server did not start") from None
                time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - started
        return seconds, Measured("oxd-server", process, port).memory_kib()
    finally:
        stop(process)


def _registration(issuer: str) -> str:
    return frame("register_site", {"op_host": issuer, **SITE, **OWN_CLIENT})


def measure_writers(folder: Path, issuer: str, settings: dict[str, Any], scale: Scale) -> Iterator[Row]:
    """Measure one writer and sixty-four at once, on this disk and on one whose commits take 5 ms."""
    for disk, launcher in (("this disk", None), ("a disk with commits of 5 ms", HERE / "slow_disk.py")):
        home = folder / f"writers-{launcher is not None}"
        with running_server(home, settings, launcher=launcher) as server:
            call(server.port, "register_site", op_host=issuer, **SITE, **OWN_CLIENT)
            rates = {writers: [] for writers in (1, _WRITERS)}  # type: dict[int, list[float]]
            for _ in range(scale.rounds):
                for writers, found in rates.items():
                    count = scale.writers // 4 if writers == 1 else scale.writers
                    plan = Plan(requests=[_registration(issuer)], count=count, connections=writers)
                    found.append(apply_load(server, plan).throughput)
        one, many = (statistics.median(found) for found in rates.values())
        yield {"case": "writers", "disk": disk, "one_per_second": one, "many_per_second": many, "ratio": many / one}
