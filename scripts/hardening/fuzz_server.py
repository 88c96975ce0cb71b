"""Hypothesis against a running server, over TCP and TLS: valid messages, changed, cut up and sent.

After each batch the server must still serve. What it answers must be frames that every client can read, or HTTP. At the
end it must have logged no failure of its own, hold no file or connection of a peer that has left, and stop in good
order. The server may contact no OP here, so that nothing outside of it decides how long a batch takes.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scripts.hardening import fuzz_http
from scripts.hardening.fuzz_input import captured

__all__ = ["Fuzzed", "messages", "run_batch", "running", "search"]

START_SECONDS = 30
ANSWER_SECONDS = 20
MAX_MEGABYTES = 400
IDLE_SECONDS = 0.1
CONFIG = {
    "port": 0,
    "https": {"enabled": True, "port": 0, "bind_addresses": ["127.0.0.1"]},
    "allowed_op_hosts": ["op.invalid"],
    "frame_timeout_in_seconds": 0.5,
    "max_request_bytes": 20_000,
    "log_level": "info",
    "log_format": "json",
}
SERVING = b'0047{"command": "get_rp", "params": {"list": true}}'
HEALTHY = b"GET /health-check HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass
class Fuzzed:
    """The server under test."""

    process: subprocess.Popen[bytes]
    log: Path
    context: ssl.SSLContext = field(repr=False)
    port: int = 0
    https_port: int = 0

    def failures(self) -> list[str]:
        """The log lines that tell of a failure of the server's own."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        parsed = [json.loads(line) if line.startswith("{") else {"level": "error", "event": line} for line in lines]
        return [str(line) for line in parsed if line.get("level") not in ("debug", "info", "warning")]

    def open_files(self) -> list[str]:
        """What the process has open, by paths and numbers; of the store, which has readers in reserve, nothing."""
        found = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(link.readlink()))
        return [one for one in found if ".sqlite" not in one]

    def megabytes(self) -> int:
        """The process's resident memory."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found.group(1)) // 1024 if found else 0

    def connect(self, *, tls: bool) -> socket.socket:
        """A connection to one of the two entrances."""
        raw = socket.create_connection(("127.0.0.1", self.https_port if tls else self.port), ANSWER_SECONDS)
        return self.context.wrap_socket(raw, server_hostname="localhost") if tls else raw


@contextmanager
def running(folder: Path) -> Iterator[Fuzzed]:
    """A server on a store of its own; at the end it must leave with code 0."""
    config, log = folder / "oxd-conf.json", folder / "server.log"
    config.write_text(json.dumps(CONFIG | {"storage_configuration": {"path": str(folder / "data" / "oxd.sqlite")}}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # what is tested here is not our own client
    with log.open("wb") as output:
        command = [sys.executable, "-m", "oxd_server", "serve", "--config", str(config)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    server = Fuzzed(process, log, context)
    try:
        server.https_port = _logged_port(server, "https_listening")
        server.port = _logged_port(server, "Start listening for notifications")
        yield server
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0, "the server did not stop in good order"
    finally:
        process.kill()
        process.wait()


def _logged_port(server: Fuzzed, event: str) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        for line in server.log.read_text().splitlines():
            if event in line and line.endswith("}"):
                return int(json.loads(line)["port"])
        time.sleep(0.01)
    raise AssertionError(f"the server did not start:\n{server.log.read_text()}")


# --- what is sent ----------------------------------------------------------------------------


_FRAMES = [capture["raw"].encode() for capture in captured("") if "raw" in capture]
_REQUESTS = [seed[2:] for seed in fuzz_http.seeds()]
_JUNK = st.binary(max_size=20) | st.sampled_from(
    [b"{", b"}", b'"', b"\\", b"0", b"9999", b"\r\n", b"\r\n\r\n", b"null", b"[" * 200, b"\x00", b"\xff\xfe", b"0\r\n"]
)


@st.composite
def messages(draw: st.DrawFn, valid: list[bytes]) -> bytes:
    """One to three valid messages, one after the other, with up to five changes."""
    data = b"".join(draw(st.lists(st.sampled_from(valid), min_size=1, max_size=3)))
    for change in draw(st.lists(st.sampled_from(_CHANGES), max_size=5)):
        start = draw(st.integers(0, len(data)))
        data = change(data, start, draw(st.integers(start, min(len(data), start + 100))), draw(_JUNK))
    return data


_CHANGES: list[Callable[[bytes, int, int, bytes], bytes]] = [
    lambda data, start, end, junk: data[:start] + junk + data[start:],
    lambda data, start, end, junk: data[:start] + junk + data[end:],
    lambda data, start, end, junk: data[:start] + data[end:],
    lambda data, start, end, junk: data[:end] + data[start:end] + data[end:],
    lambda data, start, end, junk: data[:start],
]
_CUTS = st.lists(st.integers(0, 5000), max_size=6)
_LEAVING = st.sampled_from(["half-close", "close", "reset"])


# --- what must hold --------------------------------------------------------------------------


def run_batch(server: Fuzzed, data: bytes, cuts: list[int], leaving: str, *, tls: bool) -> None:
    """Send the bytes in pieces and read what is answered, or leave; then the server must serve others."""
    answer = _send(server, data, cuts, leaving, tls=tls)
    if tls:
        assert not answer or answer.startswith(b"HTTP/1.1 "), answer
        assert b"HTTP/1.1 500" not in answer, answer
    else:
        _check_frames(answer)
    assert server.process.poll() is None, "the server is gone"
    assert_serving(server)


def assert_serving(server: Fuzzed) -> None:
    """Fail unless both entrances serve somebody who behaves."""
    with server.connect(tls=False) as connection:
        connection.sendall(SERVING)
        answer = connection.recv(65536)
        assert b'"status":"ok"' in answer, f"the socket does not serve any more: {answer!r}"
    with server.connect(tls=True) as connection:
        connection.sendall(HEALTHY)
        answer = connection.recv(65536)
        assert answer.endswith(b"running"), f"HTTPS does not serve any more: {answer!r}"


def _send(server: Fuzzed, data: bytes, cuts: list[int], leaving: str, *, tls: bool) -> bytes:
    connection = server.connect(tls=tls)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
        for start, end in itertools.pairwise(places):
            connection.sendall(data[start:end])
        if leaving == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if leaving != "half-close":
            return b""
        if not tls:  # TLS has no half close: the server's time limit ends a request that is not whole
            connection.shutdown(socket.SHUT_WR)
        return _received(connection, until_idle=tls)
    except (ConnectionError, ssl.SSLError):
        return b""  # the server was done with us before we were
    finally:
        connection.close()


def _received(connection: socket.socket, *, until_idle: bool) -> bytes:
    """All that comes; over HTTP a server that waits for the next request has said all."""
    received = b""
    connection.settimeout(IDLE_SECONDS if until_idle else ANSWER_SECONDS)
    try:
        while data := connection.recv(65536):
            received += data
    except TimeoutError:
        assert until_idle, f"no end of the answer after {ANSWER_SECONDS} s"
    except (ConnectionError, ssl.SSLError):
        pass
    return received


def _check_frames(received: bytes) -> None:
    while received:
        assert re.match(rb"[0-9]{4}\{", received), received
        size = int(received[:4])
        body, received = received[4 : 4 + size], received[4 + size :]
        if len(body) < size:
            assert not received
            return  # the rest was lost with a reset
        assert json.loads(body).keys() == {"status", "data"}, body
        assert json.loads(body)["data"].get("error") != "internal_error", body


def search(examples: int | None, seconds: int) -> tuple[int, float, tuple[str, ...]]:
    """Send so many batches (None: for ``seconds``) over each entrance; return their number, the time, the findings."""
    started, count, findings = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        try:
            with running(Path(folder)) as server:
                assert_serving(server)
                files = len(server.open_files())
                for tls, valid in ((False, _FRAMES), (True, _REQUESTS)):
                    deadline = time.monotonic() + seconds / 2
                    count += _search_one(server, valid, examples, deadline, tls=tls)
                _check_rest(server, files)
        except AssertionError as error:
            findings.append(f"server: {error}\n{' '.join(getattr(error, '__notes__', []))}")
    return count, time.monotonic() - started, tuple(findings)


def _search_one(server: Fuzzed, valid: list[bytes], examples: int | None, deadline: float, *, tls: bool) -> int:
    count = 0

    @settings(
        max_examples=examples or 1_000_000,
        deadline=None,
        derandomize=examples is not None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(messages(valid), _CUTS, _LEAVING)
    def batch(data: bytes, cuts: list[int], leaving: str) -> None:
        nonlocal count
        if examples is None and time.monotonic() > deadline:
            raise _TimeIsOver
        count += 1
        run_batch(server, data, cuts, leaving, tls=tls)

    with suppress(_TimeIsOver):
        batch()
    return count


class _TimeIsOver(Exception):
    """The search has lasted as long as it was to."""


def _check_rest(server: Fuzzed, files: int) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while len(server.open_files()) > files and time.monotonic() < deadline:
        time.sleep(0.05)
    left = server.open_files()
    assert len(left) <= files, f"files or connections were left open: {len(left)}, {files} at the start: {left}"
    assert server.failures() == [], "\n".join(server.failures()[:5])
    assert server.megabytes() <= MAX_MEGABYTES, f"the server holds {server.megabytes()} MB"


if __name__ == "__main__":
    print(search(int(sys.argv[1]), 60))
