"""Starting another process: what it is handed, and how it says that it is ready."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from oxd_server.process.listen_fds import Inherited
from oxd_server.process.starting import own_command, start, tell_ready, this_version

SAYS_READY = """import os
from oxd_server.process.listen_fds import inherited_from
from oxd_server.process.starting import tell_ready
assert os.environ["SOMETHING"] == "more"
tell_ready(inherited_from(os.environ, os.getpid()))
"""


async def test_a_process_that_says_it_is_ready() -> None:
    """It finds the pipe by its name, and is told apart from one that ends without a word."""
    for program, expected in ((SAYS_READY, True), ("import os; os.environ['SOMETHING']", False)):
        started = await start([sys.executable, "-c", program], Inherited(), {"SOMETHING": "more"})
        assert await started.is_ready() is expected
        assert await started.process.wait() == 0


async def test_a_program_that_is_not_there() -> None:
    """The program in between says so on its way out; nobody waits."""
    started = await start(["/nowhere/oxd-server"], Inherited())
    assert not await started.is_ready()
    assert await started.process.wait() != 0


def test_whoever_wants_to_know_may_have_gone() -> None:
    """Nobody reads any more: that is no reason to fail. Without a pipe nothing happens."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    tell_ready(Inherited(ready=write_end))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write_end)
    tell_ready(Inherited())


@pytest.mark.parametrize("kind", ["program", "module", "no program"])
def test_what_this_process_was_started_as(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program at its path, which an upgrade has replaced; `python -m oxd_server` where there is none."""
    program = tmp_path / ("__main__.py" if kind == "module" else "oxd-server")
    program.write_text("#!/bin/sh")
    program.chmod(0o755 if kind != "no program" else 0o644)
    monkeypatch.setattr(sys, "argv", [str(program), "serve"])
    assert own_command() == ([str(program)] if kind == "program" else this_version())
    assert this_version()[0] == sys.executable
