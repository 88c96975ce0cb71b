"""Redis servers of the tests' own: each on a free port of loopback, with a folder of its own."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

__all__ = ["free_port", "redis_cluster", "redis_server", "sentinel_of"]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis_server(folder: Path, *options: str, port: int | None = None) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server that keeps every write on disk before it answers; give its port and its process."""
    if os.environ.get("OXD_TEST_SKIP_REDIS") == "1":
        pytest.skip("OXD_TEST_SKIP_REDIS=1")
    port = free_port() if port is None else port
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    keep = ["--appendonly", "yes", "--appendfsync", "always"]
    with subprocess.Popen([*command, *keep, *options], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield port, process
        finally:
            process.kill()


@contextmanager
def sentinel_of(folder: Path, name: str, master_port: int) -> Iterator[int]:
    """Run a Sentinel that alone decides when the master is replaced; give its port."""
    port, path = free_port(), folder / "sentinel.conf"
    path.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {name} 127.0.0.1 {master_port} 1\n"
        f"sentinel down-after-milliseconds {name} 300\nsentinel failover-timeout {name} 2000\n"
    )
    with subprocess.Popen(["redis-server", str(path), "--sentinel"], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.kill()


@contextmanager
def redis_cluster(folder: Path) -> Iterator[list[int]]:
    """Run a cluster of three masters, each with a third of the slots; give their ports."""
    with ExitStack() as stack:
        ports = []
        for name in ("one", "two", "three"):
            (folder / name).mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            ports.append(stack.enter_context(redis_server(folder / name, *options))[0])
        servers = [f"127.0.0.1:{port}" for port in ports]
        command = ["redis-cli", "--cluster", "create", *servers, "--cluster-yes"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        for port in ports:
            _wait_for_cluster(port)
        yield ports


def _wait_for_cluster(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        command = ["redis-cli", "-p", str(port), "CLUSTER", "INFO"]
        if b"cluster_state:ok" in subprocess.run(command, check=True, capture_output=True, timeout=10).stdout:
            return
        time.sleep(0.01)
    raise AssertionError("the cluster did not come up")


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                if probe.recv(9)[:1] in (b"+", b"-"):
                    return
        except OSError:
            time.sleep(0.01)
    raise AssertionError("redis-server did not start")
