"""Backups of a store file: what they hold, what is refused, and that a refusal changes nothing."""

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oxd_server.store import Site, SiteSession, StoreError, open_file_store
from oxd_server.store.backup import Content, back_up, restore
from oxd_server.store.base import Kept, Login

NOW = 1000.0


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A store with two sites, a session, an issued token, a used value, a secret and the mark of an import."""
    path = tmp_path / "oxd.sqlite"
    async with open_file_store(path) as opened:
        setup = Site(oxd_id="z", op_host="https://op.example.org", is_setup_client=True)
        await opened.add_all([(setup, SiteSession())], once="imported")
        await opened.add(Site(oxd_id="a", op_host="https://op.example.org", client_secret="s"))
        token = Kept(hash=b"token", what=Login(oxd_id="a", subject="u"), expires_at=NOW + 60)
        await opened.change_session("a", lambda _: SiteSession(pat="p"), keep=[token])
        await opened.spend(b"used", NOW + 60, NOW)
        await opened.secret("key", lambda: b"old")
    return path


async def test_what_comes_back(store: Path, tmp_path: Path) -> None:
    """Sites in their order, sessions, tokens, used values and marks come back; the server's own secret is a new one."""
    backup, other = tmp_path / "backup", tmp_path / "other" / "oxd.sqlite"
    content = back_up(store, backup, replace=False)
    assert content.sites == 2
    assert backup.stat().st_mode & 0o777 == 0o600
    assert restore(backup, other, replace=False) == content
    async with open_file_store(store) as before, open_file_store(other) as after:
        assert [await after.get(oxd_id) for oxd_id in "az"] == [await before.get(oxd_id) for oxd_id in "az"]
        assert await after.session("a") == await before.session("a")
        assert await after.kept(b"token", NOW, Login) == Login(oxd_id="a", subject="u")
        assert not await after.spend(b"used", NOW + 60, NOW)
        assert await after.setup_clients("https://op.example.org", 1) == [await before.get("z")]
        assert await after.add_all([], once="imported") is None
        assert await after.secret("key", lambda: b"new") == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "other", "oxd.sqlite"]


async def test_a_backup_while_somebody_writes(store: Path, tmp_path: Path) -> None:
    """A store that is open is backed up with all that it has acknowledged."""
    async with open_file_store(store) as opened:
        await opened.add(Site(oxd_id="b", op_host="https://op.example.org"))
        assert back_up(store, tmp_path / "backup", replace=False).sites == 3
        with pytest.raises(StoreError, match="a server runs on the store"):
            restore(tmp_path / "backup", store, replace=True)
        assert await opened.get("b") is not None


async def test_nothing_is_overwritten_unasked(store: Path, tmp_path: Path) -> None:
    """A file in the way, or a store with sites, is replaced only when that is asked for."""
    backup = tmp_path / "backup"
    backup.write_text("mine", "utf-8")
    with pytest.raises(StoreError, match="--replace"):
        back_up(store, backup, replace=False)
    assert backup.read_text("utf-8") == "mine"
    content = back_up(store, backup, replace=True)
    before = store.read_bytes()
    with pytest.raises(StoreError, match=r"has sites \(2\)"):
        restore(backup, store, replace=False)
    assert back_up(store, backup, replace=True) == content
    assert restore(backup, store, replace=True) == content
    assert len(before) == len(store.read_bytes())


async def test_a_damaged_byte_is_found(store: Path, tmp_path: Path) -> None:
    """A backup in which a stored text was altered, or that was cut off, is refused, and no store is made."""
    backup, other = tmp_path / "backup", tmp_path / "other.sqlite"
    back_up(store, backup, replace=False)
    whole = backup.read_bytes()
    altered = whole.replace(b'"pat":"p"', b'"pat":"q"')
    assert altered != whole
    for damaged in (altered, whole[: len(whole) // 2], b"no database" * 500, b""):
        backup.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"backup is .*(damaged|no backup).*nothing was restored"):
            restore(backup, other, replace=False)
    assert not other.exists()


async def test_files_of_others(store: Path, tmp_path: Path) -> None:
    """Neither another application's database nor a store that is no backup is restored."""
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    for path, said in ((foreign, "another application"), (store, "is no backup"), (tmp_path / "none", "No such file")):
        with pytest.raises(StoreError, match=said):
            restore(path, tmp_path / "other.sqlite", replace=False)


async def test_what_cannot_be_written(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store, a place that is a file, a copy that differs, and a full disk: one line, and nothing is left behind."""
    with pytest.raises(StoreError, match="there is no store"):
        back_up(tmp_path / "none", tmp_path / "backup", replace=False)
    with pytest.raises(StoreError, match="cannot be written"):
        back_up(store, Path("/proc/none/backup"), replace=False)
    contents = iter([Content(1, 1, "a"), Content(1, 1, "b")])
    with monkeypatch.context() as patch:
        patch.setattr("oxd_server.store.backup._content", lambda _: next(contents))
        with pytest.raises(StoreError, match="does not hold what was read"):
            back_up(store, tmp_path / "backup", replace=False)
    folder = tmp_path / "backup"
    folder.mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        back_up(store, folder, replace=True)
    folder.rmdir()
    assert os.listdir(tmp_path) == ["oxd.sqlite"]


async def test_a_disk_that_is_full(store: Path, tmp_path: Path) -> None:
    """A backup or a restored store that does not fit on the disk is an error, and nothing of it is left behind."""
    async with open_file_store(store) as opened:
        await opened.secret("large", lambda: bytes(1_000_000))
    backup = tmp_path / "backup"
    with _small_disk(500_000), pytest.raises(StoreError, match="cannot be written"):
        back_up(store, backup, replace=False)
    assert os.listdir(tmp_path) == ["oxd.sqlite"]
    back_up(store, backup, replace=False)
    other = tmp_path / "other"
    with _small_disk(500_000), pytest.raises(StoreError, match="cannot be"):
        restore(backup, other / "oxd.sqlite", replace=False)
    assert os.listdir(other) == []


@contextmanager
def _small_disk(size: int) -> Iterator[None]:
    """No file of this process may become larger than ``size`` bytes meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
