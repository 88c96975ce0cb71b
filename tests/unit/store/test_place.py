"""A store whose files are deleted or replaced under it, and a plain copy of the file of a store in use."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from oxd_server.store import Site, StoreUnavailable, open_file_store
from oxd_server.store.file import FileStore
from oxd_server.store.place import Place

SITE = Site(oxd_id="a", op_host="https://op.example.org")
OTHER = Site(oxd_id="b", op_host="https://op.example.org")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store lies."""
    return tmp_path / "oxd.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[FileStore]:
    """A store with a site that is in memory."""
    async with open_file_store(path) as opened:
        await opened.add(SITE)
        await opened.get("a")
        yield opened


@pytest.mark.parametrize("ending", ["", "-wal"])
async def test_deleted_files_are_noticed(store: FileStore, path: Path, tmp_path: Path, ending: str) -> None:
    """Nothing is written to a deleted file, nor read from it or from memory; when it comes back, all goes on."""
    file = Path(f"{path}{ending}")
    file.rename(tmp_path / "away")
    with pytest.raises(StoreUnavailable, match="deleted or replaced under the server"):
        await store.add(OTHER)
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await store.list()
    with trio.fail_after(5), pytest.raises(StoreUnavailable, match="deleted or replaced"):
        while True:  # what is in memory is believed for a moment
            await store.get("a")
            await trio.sleep(0.01)
    assert not file.exists()
    (tmp_path / "away").rename(file)
    await store.add(OTHER)
    assert await store.get("a") == SITE
    assert await store.list() == [("a", ""), ("b", "")]


async def test_a_file_that_vanishes_during_a_commit(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write whose file is gone when it was committed is not acknowledged."""

    def check(place: Place) -> None:
        original(place)
        path.unlink(missing_ok=True)  # it was there when the commit began

    original = Place.check
    monkeypatch.setattr(Place, "check", check)
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await store.add(OTHER)


async def test_a_replaced_store_is_left_alone(path: Path, tmp_path: Path) -> None:
    """A store in the place of another's file has only its own sites, also when the other was in use and is closed."""
    async with open_file_store(path) as store:
        await store.add(SITE)
        for file in tmp_path.iterdir():
            file.unlink()
        async with open_file_store(path) as new:
            with pytest.raises(StoreUnavailable, match="deleted or replaced"):
                await store.change("a", lambda site: site)
            await new.add(OTHER)
            await store.aclose()
            assert Path(f"{path}-wal").exists()
    async with open_file_store(path) as store:
        assert await store.list() == [("b", "")]


async def test_a_plain_copy_of_a_store_at_rest(store: FileStore, path: Path, tmp_path: Path) -> None:
    """Soon after the last write, the file alone has everything; also when a reader was in the way at first."""

    async def copied() -> list[tuple[str, str]]:
        shutil.copyfile(path, tmp_path / "copy.sqlite")
        async with open_file_store(tmp_path / "copy.sqlite") as copy:
            return await copy.list()

    assert await copied() == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.fold_when_idle, 0.01)
        with trio.fail_after(10):
            while await copied() != [("a", "")]:
                await trio.sleep(0.01)
            with store._connect() as other:
                other.execute("BEGIN")
                other.execute("SELECT * FROM site").fetchall()
                await store.add(OTHER)
                await trio.sleep(0.05)
            other.close()
            while await copied() != [("a", ""), ("b", "")]:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
