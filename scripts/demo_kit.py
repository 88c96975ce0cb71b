"""What the scripts that show something have in common: starting things, sending commands, being a browser, telling.

Nothing in the packages imports this.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2

ROOT = Path(__file__).parent.parent
SERVER = str(Path(sys.executable).with_name("oxd-server"))
START_SECONDS = 30
CALL_SECONDS = 30
_PAGES = 12


class StepFailed(Exception):
    """A step did not come out as it must; the text says which and how."""


# Starting things


def free_port() -> int:
    """Return a port that is free now, and may be taken by the time that a program starts there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Programs(contextlib.ExitStack):
    """Programs that run until the ``with`` block ends; their logs are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def start_server(self, wanted: int = 0, **config: object) -> int:
        """Start oxd-server with a configuration of its own; return its port when it listens.

        That is ``wanted``, or a free one where another program has that. Raises ``StepFailed``.
        """
        path = self._folder / "oxd-conf.json"
        for port in dict.fromkeys((wanted, 0)):
            path.write_text(json.dumps({"port": port, **config}))
            line = self._announced("server", [SERVER, "serve", "--config", str(path)], "Start listening")
            if line is not None:
                return _port_of("port", line)
        raise self._not_started("server")

    def start_sandbox(self, oxd_port: int, wanted: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Start the sandbox provider and its demo application; return their ports, as above, when both listen."""
        for port, demo_port in dict.fromkeys((wanted, (0, 0))):
            options = ["--port", str(port), "--demo-port", str(demo_port), "--oxd-port", str(oxd_port)]
            line = self._announced("sandbox", [SERVER, "sandbox", *options], "sandbox_listening")
            if line is not None:
                return _port_of("op_host", line), _port_of("demo", line)
        raise self._not_started("sandbox")

    def start_module(self, name: str, port: int, *arguments: str) -> None:
        """Start a Python module of these scripts with ``--port PORT``; return when it listens."""
        command = [sys.executable, "-m", name, "--port", str(port), *arguments]
        name = name.rpartition(".")[2]
        self._wait(name, self._start(name, command), lambda: _listens(port))

    def port_of(self, name: str, words: str) -> int:
        """Return the port that a program's log tells in the line with these words."""
        self._wait_for_line(name, words)
        return _port_of("port", self._line(name, words) or "")

    def lines(self, name: str, words: str, last: str) -> list[str]:
        """Return the lines of a program's log that hold these words, once there is one with the ``last`` ones."""
        self._wait_for_line(name, last)
        return [line for line in self._log(name).read_text().splitlines() if words in line]

    def _wait_for_line(self, name: str, words: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._line(name, words) is None:
            if time.monotonic() > deadline:
                raise StepFailed(f"the log of the {name} has no line with {words}")
            time.sleep(0.05)

    def _announced(self, name: str, command: list[str], words: str) -> str | None:
        """Start a program; return the line of its log that says that, and where, it listens; None if it ends.

        Its own word counts: somebody else may listen where it was to.
        """
        process = self._start(name, command)
        self._wait(name, process, lambda: process.poll() is not None or self._line(name, words) is not None)
        return self._line(name, words)

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        log = self.enter_context(self._log(name).open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        self.callback(_stop, process)
        return process

    def _wait(self, name: str, process: subprocess.Popen[bytes], listens: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not listens():
            if process.poll() is not None or time.monotonic() > deadline:
                raise self._not_started(name)
            time.sleep(0.05)

    def _line(self, name: str, words: str) -> str | None:
        lines = self._log(name).read_text().splitlines(keepends=True)
        return next((line for line in lines if words in line and line.endswith("\n")), None)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _not_started(self, name: str) -> StepFailed:
        return StepFailed(f"the {name} did not start. Its log:\n{self._log(name).read_text()[-2000:]}")


def _port_of(name: str, line: str) -> int:
    """Return the port that the line of a log, plain or JSON, gives this name: alone, or in a URL."""
    found = re.search(rf"\b{name}\W+(?:http://[\w.]+:)?(\d+)", line)
    if found is None:
        raise StepFailed(f"expected that {line!r} names a port")
    return int(found.group(1))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and see that it does."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()


# Sending commands


class Oxd:
    """Sends commands, one connection each, and shows the frames; every command is a numbered step.

    ``copies`` is how often a frame is written: some libraries write it twice.
    """

    def __init__(self, port: int, steps: "Steps", copies: int = 1) -> None:
        self._port = port
        self._steps = steps
        self._copies = copies

    def call(self, explanation: str, command: str, **params: object) -> dict[str, Any]:
        """Run one command that must succeed; return the answer's data. Raises ``StepFailed``."""
        envelope = self.envelope(explanation, command, **params)
        check(envelope["status"] == "ok", f"{command} answers ok")
        return dict(envelope["data"])

    def refused(self, explanation: str, command: str, error: str, **params: object) -> dict[str, Any]:
        """Run one command that must fail with ``error``; return the answer's details. Raises ``StepFailed``."""
        envelope = self.envelope(explanation, command, **params)
        check(envelope["status"] == "error", f"{command} answers an error")
        check(envelope["data"]["error"] == error, f"the error is {error}")
        return dict(envelope["data"]["details"] or {})

    def envelope(self, explanation: str, command: str, **params: object) -> dict[str, Any]:
        """Run one command, show both frames and return the answer, whatever it is."""
        self._steps.next(explanation)
        body = json.dumps({"command": command, "params": params}, separators=(",", ":"))
        frame = f"{len(body):04d}{body}"
        print(f"    > {paint('36', shortened(frame))}")
        with socket.create_connection(("127.0.0.1", self._port), timeout=CALL_SECONDS) as connection:
            for _ in range(self._copies):
                connection.sendall(frame.encode())
            answer = _read_frame(connection)
        print(f"    < {paint('33', shortened(answer))}", flush=True)
        return dict(json.loads(answer[4:]))


def _read_frame(connection: socket.socket) -> str:
    """Read four digits and as many characters as they say; answers are ASCII."""
    with connection.makefile("rb") as stream:
        header = stream.read(4)
        check(header.isdigit(), "the answer begins with its length")
        body = stream.read(int(header))
        check(len(body) == int(header), "the answer is complete")
        return (header + body).decode()


# Being a browser


class _FormParser(HTMLParser):
    """Finds the page's form, its fields with their values, and its submit buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms and what is in them; of several buttons the first is pressed."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = values.get("action", "")
        elif tag in ("input", "button") and self.action is not None and "name" in values:
            self.fields.setdefault(values["name"], values.get("value", ""))


def read(url: str) -> str:
    """Return the text at a URL."""
    return httpx2.get(url, timeout=CALL_SECONDS, trust_env=False).raise_for_status().text


def browse(url: str, until: str, filled_in: Mapping[str, str]) -> str:
    """Follow redirects and submit forms until the URL starts with ``until``; return that URL."""
    with httpx2.Client(timeout=CALL_SECONDS, trust_env=False) as browser:
        request = browser.build_request("GET", url)
        for _ in range(_PAGES):
            response = browser.send(request)
            if response.is_redirect:
                location = urljoin(str(request.url), response.headers["location"])
                if location.startswith(until):
                    return location
                request = browser.build_request("GET", location)
                continue
            form = _FormParser(response.text)
            if form.action is None:
                raise StepFailed(f"the OP shows a page without a form (HTTP {response.status_code})")
            fields = form.fields | {name: value for name, value in filled_in.items() if name in form.fields}
            print(f"    -> a page with a form: {', '.join(fields)}")
            request = browser.build_request("POST", urljoin(str(request.url), form.action), data=fields)
    raise StepFailed("the OP's pages led nowhere")


# Telling


class Steps:
    """Numbers the steps of a walk."""

    def __init__(self) -> None:
        self._number = 0

    def next(self, text: str) -> None:
        """Print a step's number and explanation."""
        self._number += 1
        say(paint("1", f"\n{self._number:2}. {text}"))


def check(passed: object, what: str) -> None:
    """Raise ``StepFailed`` unless it is as it must be."""
    if not passed:
        raise StepFailed(f"expected that {what}")


def say(text: str) -> None:
    """Print at once, even into a pipe."""
    print(text, flush=True)


def shortened(text: str, limit: int = 600) -> str:
    """Cut what would fill the screen."""
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text)} characters)"


def paint(colour: str, text: str) -> str:
    """Colour text on a terminal."""
    return f"\x1b[{colour}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text
