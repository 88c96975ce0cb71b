"""A real server process, and a client that knows the wire protocol from its description alone.

Nothing here imports `oxd_protocol`: a mistake there must not hide itself.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import trio

from tests.integration import preloaded

READY = "Start listening for notifications"
START_SECONDS = 60
STOP_SECONDS = 20
ANSWER_SECONDS = 30
LOG_POLL_SECONDS = 0.01
MAX_BODY = 9999

_INTEGERS = ("expires_in", "client_id_issued_at", "client_secret_expires_at")
_CLAIMS = ("claims", "id_token_claims")


def check_answer(header: bytes, body: bytes) -> dict[str, Any]:
    """Return the envelope of one answer, after asserting every rule that the deployed clients rely on."""
    assert re.fullmatch(rb"[0-9]{4}", header), header
    assert len(body) == int(header) <= MAX_BODY
    assert body.isascii(), body
    assert header not in body, f"a client that deletes {header!r} from the answer breaks {body!r}"
    envelope = json.loads(body)
    assert isinstance(envelope, dict)
    assert envelope.keys() == {"status", "data"}, envelope
    assert envelope["status"] in ("ok", "error"), envelope
    data = envelope["data"]
    assert isinstance(data, dict)
    if envelope["status"] == "error":
        _check_error(data)
    else:
        _check_data(data)
    return envelope


def _check_error(data: dict[str, Any]) -> None:
    assert data.keys() == {"error", "error_description", "details"}, data
    assert isinstance(data["error"], str)
    assert isinstance(data["error_description"], str)
    assert data["details"] is None or isinstance(data["details"], dict), data


def _check_data(data: dict[str, Any]) -> None:
    for name in _INTEGERS:
        assert type(data.get(name, 0)) is int, f"{name} is no integer: {data}"
    for name in _CLAIMS:
        claims = data.get(name, {})
        assert isinstance(claims, dict), data
        for values in claims.values():
            assert isinstance(values, list), claims
            assert all(isinstance(value, str) for value in values), claims


def encode_command(command: str, params: Mapping[str, Any]) -> bytes:
    """Encode a command as a well-behaved client does."""
    body = json.dumps({"command": command, "params": params}).encode()
    return b"%04d%s" % (len(body), body)


class OxdConnection:
    """One connection to the server; every answer that comes over it is checked."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = b""

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        """Close our half of the connection."""
        await self._stream.send_eof()

    async def receive(self) -> dict[str, Any]:
        """Read one answer, check it and return its envelope."""
        with trio.fail_after(ANSWER_SECONDS):
            header = await self._exactly(4)
            assert header.isdigit(), f"an answer begins with its length, not {header!r}"
            return check_answer(header, await self._exactly(int(header)))

    async def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Send a command and return the envelope of its answer."""
        await self.send(encode_command(command, params))
        return await self.receive()

    async def receive_eof(self) -> None:
        """Assert that the server closes the connection without another byte."""
        with trio.fail_after(ANSWER_SECONDS):
            rest = self._received or await self._stream.receive_some(MAX_BODY)
        assert rest == b"", f"more than the answers that were asked for: {rest!r}"

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            chunk = await self._stream.receive_some(MAX_BODY)
            assert chunk, f"closed in the middle of an answer, after {self._received!r}"
            self._received += chunk
        taken, self._received = self._received[:count], self._received[count:]
        return taken


class ServerProcess:
    """A running `oxd-server serve`; `port` is where its socket listens."""

    def __init__(self, process: trio.Process | preloaded.Preloaded, log: Path) -> None:
        self._process = process
        self._log = log
        self._exit_expected: int | None = 0
        self.port = 0

    @property
    def pid(self) -> int:
        """The process id, to look at its memory or its open files."""
        return self._process.pid

    def log_text(self) -> str:
        """Return what the server printed so far, on both outputs."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the structured lines of the log so far; lines that are not JSON come as `{"event": line}`."""
        return [_parse_log_line(line) for line in self.log_text().splitlines()]

    async def wait_for_log(self, text: str, *, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait for a log line whose event or message contains `text`; an error shows the log if it does not come."""
        with trio.move_on_after(seconds):
            while True:
                exited = self._process.poll() is not None
                for line in self.log_lines():
                    if text in f"{line.get('event', '')}\n{line.get('message', '')}":
                        return line
                if exited:
                    break
                await trio.sleep(LOG_POLL_SECONDS)
        raise AssertionError(f"no {text!r} in the log (exit code {self._process.poll()}):\n{self.log_text()}")

    async def connect(self, host: str = "127.0.0.1") -> OxdConnection:
        """Open a connection that the caller closes."""
        return OxdConnection(await trio.open_tcp_stream(host, self.port))

    async def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Send one command on a connection of its own and return the envelope of its answer."""
        connection = await self.connect()
        try:
            return await connection.call(command, **params)
        finally:
            await connection.aclose()

    async def send(self, data: bytes) -> list[dict[str, Any]]:
        """Send bytes on a connection of their own, close our half and return all the answers that came."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            with trio.fail_after(ANSWER_SECONDS):
                await stream.send_all(data)
                await stream.send_eof()
                received = b"".join([chunk async for chunk in stream])
        answers = []
        while received:
            length = int(received[:4])
            answers.append(check_answer(received[:4], received[4 : 4 + length]))
            received = received[4 + length :]
        return answers

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGHUP."""
        self._process.send_signal(number)

    async def terminate(self) -> int:
        """Ask for a graceful stop and return the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        return await self.wait()

    async def kill(self) -> None:
        """Stop the process as a power cut would; the clean exit at the end is not expected any more."""
        self._exit_expected = None
        self._process.kill()
        await self.wait()

    async def wait(self) -> int:
        """Wait for the exit and return its code; a server that does not leave in time is killed and an error."""
        with trio.move_on_after(STOP_SECONDS):
            return await self._process.wait()
        self._process.kill()
        await self._process.wait()
        raise AssertionError(f"the server did not stop within {STOP_SECONDS} s:\n{self.log_text()}")

    async def close(self) -> None:
        """Stop the server if it runs and assert that its exit was clean."""
        code = await self.terminate()
        assert self._exit_expected in (None, code), f"exit code {code}:\n{self.log_text()}"


def _parse_log_line(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        return {"event": line}
    return parsed if isinstance(parsed, dict) else {"event": line}


def write_config(
    folder: Path, config: Mapping[str, Any] | None = None, default_site: Mapping[str, Any] | None = None
) -> Path:
    """Write both config files into `folder` and return the path of `oxd-conf.json`.

    Unless `config` says otherwise: any free port, a JSON log, and a store of its own in `folder`.
    """
    settings = {
        "port": 0,
        "log_format": "json",
        "storage": "file",
        "storage_configuration": {"path": str(folder / "data" / "oxd.db")},
    }
    path = folder / "oxd-conf.json"
    path.write_text(json.dumps({**settings, **(config or {})}), encoding="utf-8")
    path.with_name("oxd-default-site-config.json").write_text(json.dumps(dict(default_site or {})), "utf-8")
    return path


@asynccontextmanager
async def running_server(
    folder: Path,
    config: Mapping[str, Any] | None = None,
    default_site: Mapping[str, Any] | None = None,
    handed: Mapping[str, socket.socket] | None = None,
) -> AsyncIterator[ServerProcess]:
    """Run `oxd-server serve` on files in `folder`; at the end it gets SIGTERM and must leave with code 0.

    A second run on the same folder finds the store of the first. `handed` are sockets that it gets as from systemd, by
    their names.
    """
    async with server_of(write_config(folder, config, default_site), handed) as server:
        yield server


@asynccontextmanager
async def server_of(path: Path, handed: Mapping[str, socket.socket] | None = None) -> AsyncIterator[ServerProcess]:
    """Run `oxd-server serve` on a configuration file as it is; the log goes beside it. The rest is as above."""
    log = path.with_name("oxd-server.log")
    arguments = ["serve", "--config", str(path)]
    with log.open("wb") as output:
        process = (
            preloaded.start(arguments, output, output)
            if handed is None
            else await _activated([sys.executable, "-m", "oxd_server", *arguments], handed, output)
        )
    server = ServerProcess(process, log)
    body_succeeded = False
    try:
        server.port = _port_of(await server.wait_for_log(READY))
        yield server
        body_succeeded = True
    finally:
        with trio.CancelScope(shield=True):
            await (server.close() if body_succeeded else server.kill())


async def _activated(command: list[str], handed: Mapping[str, socket.socket], output: IO[bytes]) -> trio.Process:
    """Start the command as systemd would: the sockets are 3, 4, ..., and the variables say so."""
    places = " ".join(f"{number}<&{one.fileno()}" for number, one in enumerate(handed.values(), 3))
    variables = f"LISTEN_FDS={len(handed)} LISTEN_FDNAMES={':'.join(handed)} LISTEN_PID=$$"
    return await trio.lowlevel.open_process(
        ["bash", "-c", f'export {variables}; exec "$@" {places}', "bash", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=[one.fileno() for one in handed.values()],
    )


def _port_of(line: dict[str, Any]) -> int:
    if "port" in line:
        return int(line["port"])
    found = re.search(r"\bport=(\d+)", str(line["event"]))
    assert found, f"no port in {line}"
    return int(found.group(1))
