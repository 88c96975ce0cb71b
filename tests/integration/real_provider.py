"""The certified `oidc-provider` as a test's OpenID provider, and a person who logs in there."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import trio

from tests.integration.user_agent import user_agent

NODE_FOLDER = Path(__file__).parent / "node"
START_SECONDS = 30
ANSWER_SECONDS = 15
STOP_SECONDS = 10
MAX_LINE_BYTES = 1 << 20


class RealProvider:
    """A running provider; `issuer` is its address."""

    def __init__(self, process: trio.Process, errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors
        self._received = b""
        self.issuer = ""

    async def rotate_keys(self, *, keep_old: bool = False) -> list[str]:
        """Sign with new keys from now on and return their `kid`s; the old ones stay published on request."""
        answer = await self._ask({"command": "rotate_keys", "keepOld": keep_old})
        return [str(kid) for kid in answer["kids"]]

    async def requests(self) -> list[str]:
        """List the requests (`"POST /token"`) since the last call of this method."""
        return [str(request) for request in (await self._ask({"command": "requests"}))["requests"]]

    async def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")
        return await self.read_answer(ANSWER_SECONDS)

    async def read_answer(self, seconds: float) -> dict[str, Any]:
        """Read one JSON line; a provider that stopped or is silent is an error that shows what it printed."""
        assert self._process.stdout is not None
        with trio.move_on_after(seconds):
            while b"\n" not in self._received:
                chunk = await self._process.stdout.receive_some(65536)
                if not chunk or len(self._received) > MAX_LINE_BYTES:
                    break
                self._received += chunk
        line, newline, self._received = self._received.partition(b"\n")
        assert newline, f"the provider gave no answer; it printed:\n{self.printed_errors()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def printed_errors(self) -> str:
        """Return what the provider wrote to its standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


@asynccontextmanager
async def real_provider(*, trusted: Path | None = None, **options: Any) -> AsyncIterator[RealProvider]:
    """Start the provider with `options` (the keys of `DEFAULTS` in `node/provider.mjs`); stop it at the end.

    `trusted` is a certificate (PEM) that it trusts beside the usual ones when it calls others.

    Plain http on 127.0.0.1. Without Node.js or its package this is an error, never a skipped test:
    `./scripts/test` installs both.
    """
    with tempfile.TemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            _command(options),
            cwd=NODE_FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **({} if trusted is None else {"NODE_EXTRA_CA_CERTS": str(trusted)})},
        )
        provider = RealProvider(process, errors)
        try:
            provider.issuer = (await provider.read_answer(START_SECONDS))["issuer"]
            yield provider
        finally:
            await _stop(process)


def _command(options: dict[str, Any]) -> list[str]:
    node = shutil.which("node")
    assert node is not None, "Node.js is missing: ./scripts/test says how to install it"
    assert (NODE_FOLDER / "node_modules" / "oidc-provider").is_dir(), "run ./scripts/test once: it installs it"
    return [node, "provider.mjs", json.dumps(options)]


@dataclass(frozen=True)
class SharedProviders:
    """One process with several providers, for all tests of a module: each has its own options and its own issuer."""

    process: subprocess.Popen[str]

    def open(self, **options: Any) -> str:
        """Start one more provider; return its issuer."""
        return str(self._ask({"command": "open", "options": options})["issuer"])

    def requests(self, issuer: str) -> list[str]:
        """List the requests to this provider since the last call."""
        return list(self._ask({"command": "requests", "issuer": issuer})["requests"])

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self.read_answer()

    def read_answer(self) -> dict[str, Any]:
        """Read one JSON line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the providers stopped"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def shared_providers() -> Iterator[SharedProviders]:
    """Start the process; it ends when its standard input is closed."""
    process = subprocess.Popen(_command({}), cwd=NODE_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:  # closes the pipes at the end, and waits
        providers = SharedProviders(process)
        providers.read_answer()
        yield providers


async def _stop(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            await pipe.aclose()
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
        if process.poll() is None:
            process.kill()
            await process.wait()


async def log_in(
    authorization_url: str,
    login: str = "alice",
    password: str = "any",
    redirect_uri: str | None = None,
    verify: ssl.SSLContext | bool = True,
) -> str:
    """Log in and consent as a person would; return the callback URL that the relying party is called with.

    `redirect_uri` is needed where it does not stand in the authorization URL.
    """
    redirect_uri = redirect_uri or parse_qs(urlsplit(authorization_url).query)["redirect_uri"][0]
    answers = {"login": login, "username": login, "password": password}
    async with user_agent(verify) as person:
        return await person.visit(authorization_url, until=redirect_uri, answers=answers)


async def log_out(end_session_url: str) -> str:
    """Confirm the provider's logout page; return the `post_logout_redirect_uri` that the person is sent to."""
    target = parse_qs(urlsplit(end_session_url).query)["post_logout_redirect_uri"][0]
    async with user_agent() as person:
        return await person.visit(end_session_url, until=target, answers={"logout": "yes"})


def callback_params(callback_url: str) -> dict[str, str]:
    """Return the query of a callback URL, each parameter once."""
    query = parse_qs(urlsplit(callback_url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values()), callback_url
    return {name: values[0] for name, values in query.items()}
