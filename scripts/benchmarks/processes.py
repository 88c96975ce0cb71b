"""Starting what is measured and what measures, and asking the operating system what it cost."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOAD_SECONDS = 240.0
_READY = "Start listening for notifications"
_POLL_SECONDS = 0.002
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024


@dataclass(frozen=True)
class Measured:
    """A process under load and the port where it answers."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    https_port: int | None = None

    def memory_kib(self) -> float:
        """Resident memory in KiB, of the process and its children."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB for pid in self.pids())

    def pids(self) -> list[int]:
        """Return the process and its children (workers)."""
        pids = [self.process.pid]
        for pid in pids:  # grows while it is walked: children of children
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
        return pids


@dataclass(frozen=True)
class Outcome:
    """What one run of the load came to; times in seconds."""

    seconds: float
    latencies: list[float]
    cpu: float
    busiest: float  # CPU seconds of the process that used most

    @property
    def throughput(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    @property
    def cpu_per_command(self) -> float:
        """CPU seconds of the measured process per answer."""
        return self.cpu / len(self.latencies)

    @property
    def capacity(self) -> float:
        """Answers per second of the busiest process, as if each had a processor of its own and nobody else had any."""
        return len(self.latencies) / self.busiest


class WrongAnswer(Exception):
    """A measured process did not answer as it must: what was measured would mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a load generator sends: whole requests, in turn, until `count` are answered."""

    requests: list[str]
    count: int
    connections: int
    reconnect: bool = False
    http: bool = False
    resume: bool = False
    expect: str = '"status":"ok"'


def apply_load(target: Measured, plan: Plan) -> Outcome:
    """Run a load generator against `target`. Raises `WrongAnswer`."""
    port = target.https_port if plan.http else target.port
    job = {
        "address": ("127.0.0.1", port),
        "requests": plan.requests,
        "count": plan.count,
        "connections": plan.connections,
        "reconnect": plan.reconnect,
        "http": plan.http,
        "resume": plan.resume,
        "expect": plan.expect,
        "pids": target.pids(),
        # The server holds back a copy of a connection's first frame for a moment, once: some libraries send it twice.
        "opening": http_request("get_rp", {}) if plan.http else frame("get_rp", {}),
    }
    done = subprocess.run(
        [sys.executable, "-I", str(HERE / "load.py")],
        input=json.dumps(job).encode(),
        capture_output=True,
        timeout=LOAD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise WrongAnswer(f"{target.name}: {done.stderr.decode().strip().splitlines()[-1]}")
    outcome = json.loads(done.stdout)
    if outcome["wrong"]:
        raise WrongAnswer(f"{target.name}: {outcome['wrong']} of {plan.count}, such as {outcome['first_wrong']}")
    return Outcome(outcome["seconds"], outcome["latencies"], sum(outcome["cpu"]), max(outcome["cpu"]))


def frame(command: str, params: Mapping[str, Any]) -> str:
    """Return a command as the socket takes it."""
    body = json.dumps({"command": command, "params": params})
    return f"{len(body):04d}{body}"


def http_request(command: str, params: Mapping[str, Any], *, keep: bool = True, token: str = "bench") -> str:
    """Return a command as the HTTPS front takes it."""
    body = json.dumps(params)
    return (
        f"POST /{command.replace('_', '-')} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n{body}"
    )


def call(port: int, command: str, **params: Any) -> dict[str, Any]:
    """Run one command on a connection of its own; return the data. Raises `WrongAnswer` for an error answer."""
    envelope = try_call(port, command, params)
    if envelope["status"] != "ok":
        raise WrongAnswer(f"{command}: {envelope['data']}")
    data: dict[str, Any] = envelope["data"]
    return data


def try_call(port: int, command: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Run one command on a connection of its own; return the envelope, whatever it says."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as sock:
        sock.sendall(frame(command, params).encode())
        received = b""
        while len(received) < 4 or len(received) < 4 + int(received[:4]):
            data = sock.recv(65_536)
            if not data:
                raise WrongAnswer(f"{command}: the connection closed after {received!r}")
            received += data
    envelope: dict[str, Any] = json.loads(received[4:])
    return envelope


def free_port() -> int:
    """Return a port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_config(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Write the configuration of a server that keeps its sites in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {"port": 0, "log_format": "json", "storage_configuration": {"path": str(store_path(folder))}}
    path = folder / "oxd-conf.json"
    path.write_text(json.dumps({**defaults, **settings}))
    return path


def store_path(folder: Path) -> Path:
    """Return where a server with its files in `folder` keeps its sites."""
    return folder / "store" / "oxd.sqlite"


def server_command(config: Path) -> list[str]:
    """Return the command line of a server."""
    return [sys.executable, "-m", "oxd_server", "serve", "--config", str(config)]


@contextmanager
def running_server(folder: Path, settings: Mapping[str, Any], *, launcher: Path | None = None) -> Iterator[Measured]:
    """Run a server with its files in `folder`. `launcher` is a script to start it through."""
    https = settings.get("https", {}).get("port")
    command = server_command(write_config(folder, settings))
    if launcher is not None:
        command = [sys.executable, str(launcher), *command[3:]]
    with _running("oxd-server", command, folder / "server.log") as process:
        log = folder / "server.log"
        line = _wait_for_line(process, log, _READY)
        yield Measured("oxd-server", process, int(json.loads(line)["port"]), https)


@contextmanager
def running_quiet_server(folder: Path, settings: Mapping[str, Any]) -> Iterator[Measured]:
    """Run a server that says nothing in its log unless something is wrong."""
    port = free_port()
    command = server_command(write_config(folder, {**settings, "port": port, "log_level": "warning"}))
    with _running("oxd-server", command, folder / "server.log") as process:
        _wait_for_port(process, folder / "server.log", port)
        yield Measured("oxd-server", process, port, settings.get("https", {}).get("port"))


@contextmanager
def running_sandbox(folder: Path, certificate: Path | None = None) -> Iterator[str]:
    """Run the sandbox, with a certificate on TLS; yield its issuer."""
    port = free_port()
    command = [sys.executable, "-m", "oxd_server", "sandbox", "--port", str(port), "--demo-port", "0"]
    command += [] if certificate is None else ["--certificate", str(certificate)]
    folder.mkdir(parents=True, exist_ok=True)
    with _running("sandbox", command, folder / "sandbox.log") as process:
        _wait_for_line(process, folder / "sandbox.log", "sandbox_listening")
        yield f"http://127.0.0.1:{port}" if certificate is None else f"https://localhost:{port}"


@contextmanager
def running_control(folder: Path, payload_bytes: int, certificate: Path | None = None) -> Iterator[Measured]:
    """Run the control, whose answers carry `payload_bytes`; with a certificate, over HTTPS."""
    command = [sys.executable, str(HERE / "control.py"), "--payload-bytes", str(payload_bytes)]
    if certificate is not None:
        command += ["--certificate", str(certificate)]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"control-{payload_bytes}-{'frames' if certificate is None else 'https'}.log"
    with _running("control", command, log) as process:
        port = int(_wait_for_line(process, log, ""))
        yield Measured("control", process, port, port if certificate is not None else None)


@contextmanager
def _running(name: str, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # As installed servers run: with this variable, Python would compile every module at each start.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=variables
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and see that it does."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=_POLL_SECONDS):
            return
        time.sleep(_POLL_SECONDS)
    raise _not_started(process, log)


def _wait_for_line(process: subprocess.Popen[bytes], log: Path, text: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines(keepends=True):
            if text in line and line.endswith("\n"):
                return line.strip()
        if process.poll() is not None:
            break
        time.sleep(_POLL_SECONDS)
    raise _not_started(process, log)


def _not_started(process: subprocess.Popen[bytes], log: Path) -> WrongAnswer:
    lines = re.sub(r"\s+", " ", log.read_text(errors="replace"))[-500:]
    return WrongAnswer(f"{process.args!r} did not start: {lines}")
