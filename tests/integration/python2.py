"""The real client library oxdpython, on the Python 2.7 that it needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trio

OXDPYTHON_FOLDER = Path(sys.prefix) / "oxdpython"
LOGIN_SCRIPT = Path(__file__).with_name("oxdpython_login.py2")
RUN_SECONDS = 120
CHECK_SECONDS = 20
NO_PYTHON27 = "no python2.7 on the PATH or in pyenv's versions, and the library oxdpython runs on nothing else"

STEPS = (
    "register_site",
    "get_authorization_url",
    "get_tokens_by_code",
    "get_user_info",
    "get_access_token_by_refresh_token",
    "get_user_info_again",
    "get_logout_uri",
    "update_site",
    "remove_site",
)


def _pyenv_root() -> Path:
    if "PYENV_ROOT" in os.environ:
        return Path(os.environ["PYENV_ROOT"])
    pyenv = shutil.which("pyenv")
    if pyenv is not None:
        answer = subprocess.run([pyenv, "root"], capture_output=True, text=True, timeout=CHECK_SECONDS)
        if answer.returncode == 0 and answer.stdout.strip():
            return Path(answer.stdout.strip())
    return Path.home() / ".pyenv"


def _candidates() -> Iterator[str]:
    for name in ("python2.7", "python2"):
        found = shutil.which(name)
        if found is not None:
            yield found
    for path in sorted(_pyenv_root().glob("versions/2.7*/bin/python2.7"), reverse=True):
        yield str(path)


def find_python27() -> str | None:
    """Return the path of a Python 2.7 that really runs (pyenv's shims may not), or None."""
    check = "import sys; sys.exit(sys.version_info[:2] != (2, 7))"
    for candidate in _candidates():
        ran = subprocess.run([candidate, "-c", check], capture_output=True, timeout=CHECK_SECONDS)
        if ran.returncode == 0:
            return candidate
    return None


async def oxdpython_login(
    python27: str,
    *,
    port: int,
    op_host: str,
    redirect_uri: str,
    post_logout_redirect_uri: str,
    follow: Callable[[str], Awaitable[dict[str, str]]],
) -> dict[str, Any]:
    """Do a whole login through the library and return what it gave back, by the names in `STEPS`.

    `follow` gets the authorization URL, does what the person does, and returns the `code` and `state`
    that the callback carries. If the library fails, the error shows its traceback.
    """
    assert OXDPYTHON_FOLDER.is_dir(), "the library oxdpython is missing: run ./scripts/test once, it fetches it"
    arguments = ["127.0.0.1", str(port), op_host, redirect_uri, post_logout_redirect_uri]
    environment = {**os.environ, "PYTHONPATH": str(OXDPYTHON_FOLDER), "PYTHONDONTWRITEBYTECODE": "1"}
    with trio.fail_after(RUN_SECONDS):
        process = await trio.lowlevel.open_process(
            [python27, str(LOGIN_SCRIPT), *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            results, rest = await _converse(process, follow)
            assert await process.wait() == 0, f"after the steps {list(results)}: {rest}"
        finally:
            await _end(process)
    assert tuple(results) == STEPS
    return results


async def _converse(
    process: trio.Process, follow: Callable[[str], Awaitable[dict[str, str]]]
) -> tuple[dict[str, Any], str]:
    """Read the script's lines; return the steps and everything else that it printed."""
    assert process.stdin is not None
    assert process.stdout is not None
    results: dict[str, Any] = {}
    rest, received = "", b""
    async for chunk in process.stdout:
        *lines, received = (received + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b'{"'):
                rest += line.decode(errors="replace") + "\n"
                continue
            answer = json.loads(line)
            results[answer["step"]] = answer["result"]
            if answer["step"] == "get_authorization_url":
                callback = await follow(answer["result"])
                await process.stdin.send_all(json.dumps(callback).encode() + b"\n")
    return results, rest + received.decode(errors="replace")


async def _end(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            await pipe.aclose()
        if process.poll() is None:
            process.kill()
        await process.wait()
