"""A store in a file of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oxd_server.store import open_file_store
from oxd_server.store.file import FileStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "oxd.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[FileStore]:
    async with open_file_store(path, busy_timeout=0.05) as opened:
        yield opened
