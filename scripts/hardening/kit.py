"""What the crash, load and soak runs share: a server process, a provider that can misbehave, a client, figures."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio

from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider import routes
from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.provider.model import CODE_SECONDS, Code, Grant, ProviderState
from oxd_server.sandbox.server import new_token
from oxd_server.sandbox.table import Table

__all__ = [
    "Broken",
    "Client",
    "Failed",
    "Provider",
    "Server",
    "Timer",
    "changed_params",
    "frame",
    "free_port",
    "median_ms",
    "protect_params",
    "register_params",
    "running",
    "running_provider",
]

START_SECONDS = 60.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 60.0
MANY = 1_000_000
_POLL_SECONDS = 0.005
_CONNECT_SECONDS = 10.0


class Broken(Exception):
    """The connection is gone: the server died, refused it or closed it."""


class Failed(Exception):
    """What must not happen has happened; the text says what."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def median_ms(seconds: Iterable[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(seconds) * 1000


async def _listens(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True


class Client:
    """One connection to the server; commands go one after the other."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = b""

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator[Client]:
        """Connect for as long as the block lasts. Raises ``Broken``."""
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
        except (OSError, trio.TooSlowError) as error:
            raise Broken from error
        async with stream:
            yield cls(stream)

    async def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its envelope. Raises ``Broken``."""
        await self.send(frame(command, **params))
        return await self.receive()

    async def ok(self, command: str, **params: Any) -> dict[str, Any]:
        """Send one command that must succeed and return its data. Raises ``Broken``, ``Failed``."""
        answer = await self.call(command, **params)
        if answer["status"] != "ok":
            raise Failed(f"{command}: {answer['data'].get('error')}: {answer['data'].get('error_description')}")
        return dict(answer["data"])

    async def send(self, data: bytes) -> None:
        """Send bytes as they are. Raises ``Broken``."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise Broken from error

    async def receive(self) -> dict[str, Any]:
        """Read one answer. Raises ``Broken``."""
        try:
            with trio.fail_after(ANSWER_SECONDS):
                header = await self._exactly(4)
                envelope: dict[str, Any] = json.loads(await self._exactly(int(header)))
                return envelope
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            raise Broken from error

    async def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            chunk = await self._stream.receive_some(65536)
            if not chunk:
                raise Broken
            self._received += chunk
        taken, self._received = self._received[:count], self._received[count:]
        return taken


def frame(command: str, **params: Any) -> bytes:
    """Encode one command as a client does."""
    body = json.dumps({"command": command, "params": params}).encode()
    return b"%04d%s" % (len(body), body)


def register_params(op_host: str, name: str, version: int = 0) -> dict[str, Any]:
    """Return the params of ``register_site``; every value that ``changed_params`` changes carries the version."""
    return {
        "op_host": op_host,
        **changed_params(name, version),
        "scope": ["openid", "profile", "uma_protection"],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
    }


def changed_params(name: str, version: int) -> dict[str, Any]:
    """Return params of ``update_site`` that all carry the version."""
    return {
        "client_name": f"{name}-v{version}",
        "contacts": [f"v{version}@example.org"],
        "authorization_redirect_uri": f"https://app.example.org/callback/v{version}",
        "redirect_uris": [f"https://app.example.org/callback/v{version}"],
        "post_logout_redirect_uri": f"https://app.example.org/goodbye/v{version}",
    }


def protect_params(version: int) -> dict[str, Any]:
    """Return params of ``uma_rs_protect`` that all carry the version."""
    conditions = [
        {"httpMethods": [method], "scopes": [f"https://app.example.org/v{version}"]} for method in ("GET", "PUT")
    ]
    return {"resources": [{"path": f"/v{version}", "conditions": conditions}], "overwrite": True}


@dataclass
class Server:
    """``oxd-server serve`` as a child process on a folder of its own; it may be started again after it has gone."""

    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: trio.Process | None = None

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.folder / "data" / "oxd.sqlite"

    @property
    def log(self) -> Path:
        """What the server wrote, all starts together."""
        return self.folder / "oxd-server.log"

    @property
    def pid(self) -> int:
        """The process id. Raises ``Failed`` if it does not run."""
        if self.process is None or self.process.poll() is not None:
            raise Failed(f"the server does not run:\n{self.log_tail()}")
        return self.process.pid

    def log_tail(self, size: int = 3000) -> str:
        """Return the end of the log."""
        return self.log.read_text("utf-8", "replace")[-size:] if self.log.exists() else ""

    async def spawn(self) -> None:
        """Start the process; it is not ready yet."""
        path = self.folder / "oxd-conf.json"
        defaults = {"port": self.port, "log_format": "json", "log_level": "warning"}
        storage = {"storage": "file", "storage_configuration": {"path": str(self.store)}}
        path.write_text(json.dumps({**defaults, **storage, **self.config}))
        command = [sys.executable, "-m", "oxd_server", "serve", "--config", str(path)]
        with self.log.open("ab") as output:
            self.process = await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    async def start(self) -> None:
        """Start the process and wait until it listens. Raises ``Failed``."""
        await self.spawn()
        with trio.move_on_after(START_SECONDS):
            while not await _listens(self.port):
                _ = self.pid  # it still runs, or Failed
                await trio.sleep(_POLL_SECONDS)
            return
        raise Failed(f"the server does not listen:\n{self.log_tail()}")

    async def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop and return its exit code; whoever does not leave in time is killed (-9)."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        with trio.move_on_after(STOP_SECONDS):
            return await self.process.wait()
        await self.kill()
        return -9

    def resident_mib(self) -> float:
        """Return its resident memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def open_files(self) -> int:
        """Return how many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self) -> float:
        """Return how much CPU time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    """Run the server for as long as the block lasts."""
    await server.start()
    try:
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()


@dataclass(frozen=True)
class _RotatedKeys(SigningKeys):
    """Keys that sign, and those that did so before and are still published."""

    before: SigningKeys

    def public_jwks(self) -> dict[str, Any]:
        return {"keys": [*super().public_jwks()["keys"], *self.before.public_jwks()["keys"]]}


class Provider:
    """The sandbox's provider in this process: it can be slow, be restarted on its port, and change its keys.

    What it knows outlives a restart. Its tables hold as much as a long run needs.
    """

    def __init__(self, state: ProviderState, port: int, nursery: trio.Nursery) -> None:
        self.state = state
        self.delay = 0.0
        self._port = port
        self._nursery = nursery
        self._serving: trio.CancelScope | None = None
        self._generation = 1

    @property
    def issuer(self) -> str:
        """What sites name as their ``op_host``."""
        return self.state.issuer

    async def up(self) -> None:
        """Listen."""
        listeners = await trio.open_tcp_listeners(self._port, host="127.0.0.1", backlog=1024)
        self._serving = await self._nursery.start(self._serve, listeners)

    def down(self) -> None:
        """Stop listening and cut every connection."""
        if self._serving is not None:
            self._serving.cancel()
            self._serving = None

    async def rotate_keys(self) -> None:
        """Sign with new keys from the next id_token on; the ones before are still published, those before them no more.

        OpenID Connect Core 10.1.1: a key set should retain "recently decommissioned signing keys".
        """
        self._generation += 1
        made = await trio.to_thread.run_sync(SigningKeys.generate, self._generation)
        self.state.keys = _RotatedKeys(made.by_alg, SigningKeys(self.state.keys.by_alg))

    def consent(self, url: str) -> dict[str, str]:
        """Be the user who logs in at this authorization URL and consents: return code, state and nonce."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        client = self.state.clients.get(query["client_id"])
        if client is None or query["redirect_uri"] not in client.listed("redirect_uris"):
            raise Failed("the provider does not know this client or its redirect URI")
        user, now = self.state.users["alice"], self.state.seconds()
        grant = Grant(client.client_id, user, client.get_allowed_scope(query["scope"]) or "", now, query["nonce"])
        code = new_token()
        self.state.codes.put(code, Code(grant, query["redirect_uri"], query.get("code_challenge")), CODE_SECONDS)
        return {"code": code, "state": query["state"], "nonce": query["nonce"]}

    async def _serve(
        self,
        listeners: list[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        limits = Limits(max_connections=5000, max_body_bytes=200_000)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(http1.serve, listeners, self._handle, limits))
                task_status.started(scope)

    async def _handle(self, request: HttpRequest) -> HttpResponse:
        if self.delay:
            await trio.sleep(self.delay)
        return await routes.handle(self.state, request)


@asynccontextmanager
async def running_provider(nursery: trio.Nursery, now: Callable[[], float] = time.time) -> AsyncIterator[Provider]:
    """Run a provider on a free port for as long as the block lasts; ``now`` gives seconds since 1970."""
    port = free_port()
    keys = await trio.to_thread.run_sync(SigningKeys.generate)
    state = ProviderState(f"http://127.0.0.1:{port}", keys, now, new_token)
    state.clients = Table(MANY, now)
    for name in ("codes", "access_tokens", "refresh_tokens", "uma_resources", "uma_tickets"):
        setattr(state, name, Table(20_000, now))
    running_one = Provider(state, port, nursery)
    await running_one.up()
    try:
        yield running_one
    finally:
        running_one.down()


@dataclass
class Timer:
    """Latencies of one kind of call, in seconds."""

    seconds: list[float] = field(default_factory=list)

    async def call(self, client: Client, command: str, **params: Any) -> dict[str, Any]:
        """Time one call."""
        begun = trio.current_time()
        answer = await client.call(command, **params)
        self.seconds.append(trio.current_time() - begun)
        return answer

    @property
    def median(self) -> float:
        """The median in milliseconds."""
        return median_ms(self.seconds)

    def quantile(self, share: float) -> float:
        """The latency in milliseconds that this share of the calls did not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000
