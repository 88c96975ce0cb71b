"""Loads the server in ways that it has to bear, and looks what it costs a well-behaved client.

Thousands of idle connections, clients that send a byte a second, a login page that nobody finishes, clients that never
read, and many logins at once at a slow provider. Before each of them and while it lasts, a client in a process of its
own times its commands. ``./scripts/load`` starts this.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from oxd_server.process.figures import raise_open_files
from scripts.hardening.kit import (
    Broken,
    Client,
    Failed,
    Provider,
    Server,
    frame,
    median_ms,
    register_params,
    running,
    running_provider,
)

PATIENCE_SECONDS = 3.0  # of the server, for a frame to arrive and for an answer to be taken
MOST_MIB = 256.0
MOST_TIMES_SLOWER = 10.0
NOISE_MS = 5.0
MOST_BUSY_SECONDS = 1.0
_PROBE_PAUSE = 0.004
_BATCH = 200
_DEAF_PAUSE = 0.05
_RETRY_PAUSE = 0.2
_MOST_TRIES = 200


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    idle: int
    dribblers: int
    dribble_seconds: float
    flood_seconds: float
    deaf: int
    logins: int
    provider_delay: float
    probes: int
    config: dict[str, Any] = field(default_factory=dict)


LONG = Sizes(10_000, 1000, 15.0, 15.0, 50, 500, 1.0, 300)
SHORT = Sizes(2000, 200, 5.0, 4.0, 20, 400, 1.0, 150)


@dataclass(frozen=True)
class Figures:
    """What one kind of load came to; times in milliseconds."""

    name: str
    quiet_ms: float
    loaded_ms: float
    resident_mib: float
    notes: str
    problems: tuple[str, ...] = ()

    @property
    def is_bearable(self) -> bool:
        """Whether memory and the well-behaved client's latency stayed within their bounds."""
        slow = self.loaded_ms > self.quiet_ms * MOST_TIMES_SLOWER + NOISE_MS
        return not self.problems and not slow and self.resident_mib <= MOST_MIB


@dataclass
class Scene:
    """The server, two providers and a site at each; the second one is always well."""

    server: Server
    slow: Provider
    well: Provider
    slow_site: str
    well_site: str
    probe: bytes
    sizes: Sizes

    async def latency_ms(self, probe: bytes | None = None) -> float:
        """Return the median latency of the well-behaved client."""
        command = [sys.executable, "-m", "scripts.hardening.prober"]
        arguments = [str(self.server.port), str(self.sizes.probes), str(_PROBE_PAUSE)]
        done = await trio.run_process(
            [*command, *arguments], stdin=self.probe if probe is None else probe, capture_stdout=True
        )
        outcome = json.loads(done.stdout)
        if outcome["errors"]:
            raise Failed(f"{outcome['errors']} errors for a well-behaved client")
        return median_ms(outcome["seconds"])


async def load_run(folder: Path, sizes: Sizes, told: Callable[[Figures], None]) -> list[Figures]:
    """Run one kind of load after the other on a server in ``folder``; tell each one's figures as they come.

    Raises ``Failed``, in an exception group.
    """
    figures: list[Figures] = []
    raise_open_files()
    config = {"max_connections": 20_000, "frame_timeout_in_seconds": PATIENCE_SECONDS, **sizes.config}
    async with (
        trio.open_nursery() as nursery,
        running_provider(nursery) as slow,
        running_provider(nursery) as well,
        running(Server(folder, config)) as server,
    ):
        scene = await _scene(server, slow, well, sizes)
        for load in (idle_connections, dribblers, unfinished_logins, deaf_clients, slow_provider):
            figures.append(await load(scene))
            told(figures[-1])
        if (code := await server.stop()) != 0:
            raise Failed(f"the server left with {code}")
    return figures


async def _scene(server: Server, slow: Provider, well: Provider, sizes: Sizes) -> Scene:
    async with Client.connected(server.port) as client:
        slow_site = (await client.ok("register_site", **register_params(slow.issuer, "slow")))["oxd_id"]
        well_site = (await client.ok("register_site", **register_params(well.issuer, "well")))["oxd_id"]
        probe = frame("get_authorization_url", oxd_id=well_site)
        return Scene(server, slow, well, slow_site, well_site, probe, sizes)


async def idle_connections(scene: Scene) -> Figures:
    """Connections that say nothing."""
    count, before = scene.sizes.idle, scene.server.resident_mib()
    quiet = await scene.latency_ms()
    with ExitStack() as opened:
        for number in range(count):
            sock = opened.enter_context(socket.socket())
            sock.connect(("127.0.0.1", scene.server.port))
            if number % _BATCH == 0:
                await trio.sleep(0.01)  # let the server accept them: its backlog is finite
        await _until(lambda: scene.server.open_files() >= count, "the connections are not accepted")
        loaded, resident = await scene.latency_ms(), scene.server.resident_mib()
        held = scene.server.open_files()
    await _until(lambda: scene.server.open_files() < count // 10 + 50, "closed connections are kept")
    each = (resident - before) * 1024 / count
    notes = f"{held} files open, {each:.1f} KiB a connection, {before:.0f} MiB before"
    return Figures(f"{count} idle connections", quiet, loaded, resident, notes)


async def _until(condition: Callable[[], bool], problem: str) -> None:
    for _ in range(1200):
        if condition():
            return
        await trio.sleep(0.05)
    raise Failed(problem)


@asynccontextmanager
async def _in_background(work: Callable[[], Awaitable[None]], count: int) -> AsyncIterator[None]:
    """Run ``work`` in so many tasks while the block lasts."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(work)
        yield
        nursery.cancel_scope.cancel()


async def dribblers(scene: Scene) -> Figures:
    """Clients that send a byte a second, are told that this is too slow, and come again."""
    count, sizes, refused = scene.sizes.dribblers, scene.sizes, 0
    quiet = await scene.latency_ms()

    async def dribble() -> None:
        nonlocal refused
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", scene.server.port)
                async with stream:
                    for byte in scene.probe:
                        await stream.send_all(bytes([byte]))
                        with trio.move_on_after(1.0):
                            await stream.receive_some(1000)
                            refused += 1
                            break
            except (OSError, trio.BrokenResourceError):
                await trio.sleep(0.1)

    async with _in_background(dribble, count):
        await trio.sleep(sizes.dribble_seconds / 2)
        loaded = await scene.latency_ms()
        await trio.sleep(sizes.dribble_seconds / 2)
        resident = scene.server.resident_mib()
    return Figures(
        f"{count} clients, a byte a second", quiet, loaded, resident, f"{refused} told that it took too long"
    )


async def unfinished_logins(scene: Scene) -> Figures:
    """A flood of ``get_authorization_url`` at about half of what the server can do; no login is ever finished."""
    quiet, before = await scene.latency_ms(), scene.server.resident_mib()
    store_before = scene.server.store.stat().st_size
    rate = await _capacity(scene, min(scene.sizes.flood_seconds, 3.0)) / 2
    clients, done = 16, 0

    async def flood() -> None:
        nonlocal done
        async with Client.connected(scene.server.port) as client:
            next_at = trio.current_time()
            while True:
                await client.call("get_authorization_url", oxd_id=scene.slow_site)
                done += 1
                next_at += clients / rate
                await trio.sleep_until(next_at)

    async with _in_background(flood, clients):
        await trio.sleep(scene.sizes.flood_seconds / 2)
        loaded = await scene.latency_ms()
        await trio.sleep(scene.sizes.flood_seconds / 2)
        resident = scene.server.resident_mib()
    grown = scene.server.store.stat().st_size - store_before
    problems = (f"the store grew by {grown} bytes",) if grown else ()
    notes = f"{done} URLs at {rate:.0f}/s, memory {resident - before:+.1f} MiB, store {grown:+d} bytes"
    return Figures("logins that nobody finishes", quiet, loaded, resident, notes, problems)


async def _capacity(scene: Scene, seconds: float) -> float:
    done = 0

    async def ask() -> None:
        nonlocal done
        async with Client.connected(scene.server.port) as client:
            while True:
                await client.call("get_authorization_url", oxd_id=scene.slow_site)
                done += 1

    async with _in_background(ask, 4):
        await trio.sleep(seconds)
    return max(done / seconds, 10.0)


async def deaf_clients(scene: Scene) -> Figures:
    """Clients that send command after command and never read an answer: they are cut off, and come again."""
    quiet, cut_off = await scene.latency_ms(), 0

    async def send_only() -> None:
        nonlocal cut_off
        many = scene.probe * 50
        while True:
            try:
                async with await trio.open_tcp_stream("127.0.0.1", scene.server.port) as stream:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    while True:
                        await stream.send_all(many)
                        await trio.sleep(_DEAF_PAUSE)
            except (OSError, trio.BrokenResourceError):
                cut_off += 1
                await trio.sleep(_DEAF_PAUSE)

    async with _in_background(send_only, scene.sizes.deaf):
        await trio.sleep(PATIENCE_SECONDS + scene.sizes.dribble_seconds / 2)
        loaded, resident = await scene.latency_ms(), scene.server.resident_mib()
    notes = f"{cut_off} times cut off"
    return Figures(f"{scene.sizes.deaf} clients that never read", quiet, loaded, resident, notes)


@dataclass
class _Logins:
    """What became of many logins at once."""

    succeeded: int = 0
    busy_seconds: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


async def slow_provider(scene: Scene) -> Figures:
    """Many logins at once at a provider that takes its time; the probe's commands go to another provider."""
    callbacks = await _callbacks(scene, scene.slow, scene.slow_site, scene.sizes.logins)
    probe = await _user_info_probe(scene)
    quiet = await scene.latency_ms(probe)
    logins, begun = _Logins(), trio.current_time()
    scene.slow.delay = scene.sizes.provider_delay
    loaded: list[float] = []

    async def probe_meanwhile() -> None:
        loaded.append(await scene.latency_ms(probe))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe_meanwhile)
        async with trio.open_nursery() as at_once:
            for callback in callbacks:
                at_once.start_soon(_log_in, scene, callback, logins)
        took = trio.current_time() - begun
    scene.slow.delay = 0.0
    busy = sorted(logins.busy_seconds) or [0.0]
    notes = (
        f"{logins.succeeded} of {len(callbacks)} logged in within {took:.1f} s; {len(logins.busy_seconds)} times "
        f"server_busy, told in {statistics.median(busy) * 1000:.0f} ms (median), {busy[-1] * 1000:.0f} ms (longest)"
    )
    problems = [f"{len(logins.others)} other answers: {logins.others[:3]}"] if logins.others else []
    if statistics.median(busy) > MOST_BUSY_SECONDS:
        problems.append("server_busy comes late")
    name = f"{len(callbacks)} logins at once, provider takes {scene.sizes.provider_delay:g} s"
    return Figures(name, quiet, loaded[0], scene.server.resident_mib(), notes, tuple(problems))


async def _callbacks(scene: Scene, provider: Provider, site: str, count: int) -> list[dict[str, str]]:
    async with Client.connected(scene.server.port) as client:
        urls = [(await client.ok("get_authorization_url", oxd_id=site))["authorization_url"] for _ in range(count)]
    return [provider.consent(url) for url in urls]


async def _user_info_probe(scene: Scene) -> bytes:
    (callback,) = await _callbacks(scene, scene.well, scene.well_site, 1)
    async with Client.connected(scene.server.port) as client:
        tokens = await client.ok(
            "get_tokens_by_code", oxd_id=scene.well_site, code=callback["code"], state=callback["state"]
        )
    return frame("get_user_info", oxd_id=scene.well_site, access_token=tokens["access_token"])


async def _log_in(scene: Scene, callback: dict[str, str], logins: _Logins) -> None:
    """Ask for the tokens; whoever is told that the server is busy asks again a little later."""
    params = {"oxd_id": scene.slow_site, "code": callback["code"], "state": callback["state"]}
    for _ in range(_MOST_TRIES):
        try:
            async with Client.connected(scene.server.port) as client:
                begun = trio.current_time()
                answer = await client.call("get_tokens_by_code", **params)
        except Broken:
            logins.others.append("the connection broke")
            return
        if answer["status"] == "ok":
            logins.succeeded += 1
            return
        if answer["data"]["error"] != "server_busy":
            logins.others.append(f"{answer['data']['error']}: {answer['data']['error_description']}")
            return
        logins.busy_seconds.append(trio.current_time() - begun)
        await trio.sleep(_RETRY_PAUSE)
    logins.others.append("busy for ever")


def show(one: Figures) -> None:
    """Print one line, and what is behind it."""
    factor = one.loaded_ms / one.quiet_ms
    print(
        f"{one.name:46}{one.quiet_ms:9.2f}{one.loaded_ms:10.2f}{factor:7.1f}x{one.resident_mib:9.0f}"
        f"{'' if one.is_bearable else '   TOO MUCH'}\n    {one.notes}",
        *[f"\n    {problem}" for problem in one.problems],
        flush=True,
    )


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/load", description=__doc__)
    parser.add_argument("--long", action="store_true", help="10,000 idle connections and more of everything")
    options = parser.parse_args()
    print(f"{'load':46}{'quiet ms':>9}{'loaded ms':>10}{'':8}{'MiB':>9}")
    with tempfile.TemporaryDirectory(prefix="oxd-load-") as name:
        figures = trio.run(partial(load_run, Path(name), LONG if options.long else SHORT, show))
    print(f"bounds: {MOST_MIB:.0f} MiB; {MOST_TIMES_SLOWER:.0f} times the quiet latency and {NOISE_MS:.0f} ms")
    if not all(one.is_bearable for one in figures):
        print("FAILED", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
