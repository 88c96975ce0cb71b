"""What the file store finds where it is told to open its file, and what it makes of it."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oxd_server.store import StoreError, open_file_store
from tests.unit.store.sites import site


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_files_are_private(path: Path) -> None:
    """Database, log and shared memory are 0600, their new folder 0700, whatever the umask."""
    umask = os.umask(0)
    try:
        async with open_file_store(path) as store:
            await store.add(site(1))
            files = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
            assert [mode(file) for file in files] == [0o600] * 3
            assert mode(path.parent) == 0o700
    finally:
        os.umask(umask)


async def test_open_files_become_private(path: Path) -> None:
    """A store that others could read is closed to them when it is opened; a folder that was there keeps its mode."""
    path.parent.mkdir(mode=0o755)
    path.touch(mode=0o644)
    async with open_file_store(path):
        assert mode(path) == 0o600
        assert mode(path.parent) == 0o755


async def test_paths_are_taken_literally(tmp_path: Path) -> None:
    """Characters that mean something in a URI are part of the file's name."""
    path = tmp_path / "a%20b?mode=memory#c.sqlite"
    async with open_file_store(path) as store:
        await store.add(site(1))
    assert path.stat().st_size > 0


async def refused(path: Path) -> str:
    """The text with which the store is refused, once it is certain that the file is as it was."""
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        async with open_file_store(path):
            pass
    assert path.read_bytes() == before
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


async def test_damaged_file_is_refused(path: Path) -> None:
    """A file that is no database is named as damaged and left as it is."""
    path.parent.mkdir()
    path.write_bytes(b"this is no database, but it may matter to someone" * 100)
    assert "is damaged" in await refused(path)


async def test_damaged_start_of_a_store_is_refused(path: Path) -> None:
    """A store whose first page was overwritten is named as damaged and left as it is."""
    async with open_file_store(path) as store:
        await store.add(site(1))
    content = bytearray(path.read_bytes())
    content[100:2000] = os.urandom(1900)
    path.write_bytes(content)
    assert "is damaged" in await refused(path)


async def test_newer_schema_is_refused(path: Path) -> None:
    """The store of a newer version is refused with both numbers, and left as it is."""
    async with open_file_store(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    text = await refused(path)
    assert "newer version" in text
    assert "99" in text


async def test_database_of_another_application_is_refused(path: Path) -> None:
    """A SQLite file that is not ours is not taken over."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    assert "another application" in await refused(path)


async def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    """A folder where the file should be is one clear line."""
    with pytest.raises(StoreError, match="cannot be used: Is a directory"):
        async with open_file_store(tmp_path):
            pass


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A folder of one's own, and, for root, the rights of somebody who is bound by file modes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = os.geteuid() == 0
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o700)


async def test_read_only_file_is_refused_at_the_start() -> None:
    """A store that cannot be written is refused before anything relies on it."""
    with without_privileges() as folder:
        path = folder / "oxd.sqlite"
        async with open_file_store(path) as store:
            await store.add(site(1))
        path.chmod(0o400)
        folder.chmod(0o500)
        assert "Permission denied" in await refused(path)


OPENER = """
import sys, trio
from pathlib import Path
from oxd_server.store import Site, open_file_store

async def main():
    sys.stdin.readline()
    async with open_file_store(Path(sys.argv[1])) as store:
        await store.add(Site(oxd_id=sys.argv[2], op_host="https://op"))

trio.run(main)
"""


def test_processes_that_make_the_store_at_once(path: Path) -> None:
    """Several processes that open a new store at the same moment all succeed and share it."""
    openers = [
        subprocess.Popen([sys.executable, "-c", OPENER, str(path), str(n)], stdin=subprocess.PIPE) for n in range(4)
    ]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write(b"\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate()
    assert [opener.returncode for opener in openers] == [0] * 4
