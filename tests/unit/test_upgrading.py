"""What keeps an upgrade from happening: before anything has changed, and with a line that says why."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from oxd_server.app.upgrading import check_store, put_successor_in_place
from oxd_server.config import Config, Sources
from oxd_server.process.listen_fds import Inherited
from oxd_server.store import StoreError, is_of_this_version, open_file_store

SUCCESSOR = Inherited(ready=0)


async def test_a_store_of_an_earlier_form(tmp_path: Path) -> None:
    """A successor leaves it as it is, since the process before still uses it; anybody else may change it."""
    path = tmp_path / "oxd.sqlite"
    config = Config(store_path=path)
    await check_store(config, SUCCESSOR)  # none yet
    async with open_file_store(path):
        await check_store(config, SUCCESSOR)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    assert not await is_of_this_version(path)
    with pytest.raises(StoreError, match="stop the server, then start the new one"):
        await check_store(config, SUCCESSOR)
    await check_store(config, Inherited())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


async def test_stores_elsewhere() -> None:
    """What is in no file has no form that could change under anybody."""
    assert await is_of_this_version(None)


@pytest.mark.parametrize(
    ("config", "executable", "reason"),
    [({"storage": "memory"}, sys.executable, "storage is memory"), ({}, "/nowhere/python", "cannot be started")],
)
async def test_what_is_not_even_started(
    config: dict[str, Any], executable: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store in memory, and a Python that is gone: the old process is told so, and goes on."""
    monkeypatch.setattr(sys, "executable", executable)
    with structlog.testing.capture_logs() as lines:
        assert not await put_successor_in_place(Config(**config), Sources(), Inherited())
    (line,) = lines
    assert line["event"] == "upgrade_failed"
    assert reason in line["reason"]
