"""Looking at a store and moving sites between stores."""

import json
from pathlib import Path
from typing import Any

import pytest

from oxd_server.admin import (
    Import,
    export_sites,
    import_folder,
    import_once,
    import_sites,
    list_sites,
    remove_site,
    show_site,
)
from oxd_server.config import Config
from oxd_server.config.storage_keys import StorageConfig
from oxd_server.config.store_place import legacy_database
from oxd_server.store import MemoryStore, StoreError

NODE = {"oxd_id": "a", "op_host": "https://op.example.org", "client_name": "A", "client_secret": "s", "pat": "p"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(store_path=tmp_path / "oxd.sqlite")


async def import_nodes(config: Config, nodes: Any) -> tuple[int, int]:
    """Import from a JSON file; return how many sites were added, and how many were known."""
    file = config.store_path.with_name("nodes.json")
    file.write_text(json.dumps(nodes), "utf-8")
    return counts(await import_sites(config, str(file)))


def counts(done: Import | None) -> tuple[int, int]:
    assert done is not None
    return done.added, len(done.known)


async def test_in_and_out_again(config: Config) -> None:
    """An imported site with its session is listed, shown without its secrets, exported with them, and removed."""
    assert await import_nodes(config, [NODE, NODE | {"oxd_id": "b"}]) == (2, 0)
    assert await list_sites(config) == [("a", "A"), ("b", "A")]
    shown = await show_site(config, "a")
    assert (shown["client_secret"], shown["pat"], shown["client_name"]) == ("***", "***", "A")
    assert shown["id_token"] is None
    exported = await export_sites(config, None)
    assert [site["oxd_id"] for site in exported] == ["a", "b"]
    assert {name: exported[0][name] for name in NODE} == NODE
    assert await export_sites(config, "b") == [exported[1]]
    assert await import_nodes(config, exported) == (0, 2)
    await remove_site(config, "a")
    assert await list_sites(config) == [("b", "A")]
    with pytest.raises(StoreError, match="'a'"):
        await show_site(config, "a")


@pytest.mark.parametrize(
    "bad", [{"op_host": "no id"}, {"oxd_id": "c", "client_secret_expires_at": {}}, 5, None, [NODE]]
)
async def test_all_or_nothing(config: Config, bad: Any) -> None:
    """If one of several sites cannot be understood, none is added."""
    with pytest.raises(StoreError):
        await import_nodes(config, [NODE, bad])
    await import_nodes(config, [])
    assert await list_sites(config) == []


async def test_a_store_that_is_not_there(config: Config) -> None:
    """Looking makes no store."""
    with pytest.raises(StoreError, match="there is no store"):
        await list_sites(config)
    assert not config.store_path.exists()


async def test_a_folder(tmp_path: Path) -> None:
    """One site a file; other files are left alone; a byte order mark does no harm."""
    (tmp_path / "a.json").write_text(json.dumps(NODE), "utf-8-sig")
    (tmp_path / "notes.txt").write_text("no JSON", "utf-8")
    store = MemoryStore()
    assert counts(await import_folder(store, tmp_path)) == (1, 0)
    assert counts(await import_folder(store, tmp_path)) == (0, 1)
    assert (await store.session("a")).pat == "p"


@pytest.mark.parametrize("text", ["{", "[5]", "\udcff"])
async def test_a_folder_with_a_file_that_is_no_site(tmp_path: Path, text: str) -> None:
    """A file that is no JSON object stops the import before anything is added."""
    (tmp_path / "a.json").write_text(json.dumps(NODE), "utf-8")
    (tmp_path / "b.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    store = MemoryStore()
    with pytest.raises(StoreError):
        await import_folder(store, tmp_path)
    assert await store.list() == []


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A path that is misspelt is an error, not an empty folder."""
    with pytest.raises(StoreError, match="none"):
        await import_folder(MemoryStore(), tmp_path / "none")


async def test_a_dry_run(config: Config) -> None:
    """A dry run says what would be added, and what is there already, and makes not even a store."""
    file = config.store_path.with_name("nodes.json")
    file.write_text(json.dumps([NODE, NODE | {"oxd_id": "b"}]), "utf-8")
    assert counts(await import_sites(config, str(file), dry_run=True)) == (2, 0)
    assert not config.store_path.exists()
    await import_nodes(config, [NODE])
    file.write_text(json.dumps([NODE, NODE | {"oxd_id": "b"}]), "utf-8")
    done = await import_sites(config, str(file), dry_run=True)
    assert (done.added, done.known) == (1, ("a",))
    assert await list_sites(config) == [("a", "A")]


async def test_once(tmp_path: Path) -> None:
    """What was removed after the first start does not come back at the second; another source is read."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps(NODE | {"oxd_id": name}), "utf-8")
    store = MemoryStore()
    assert counts(await import_once(store, tmp_path / "one.json")) == (1, 0)
    await store.remove("one")
    assert await import_once(store, tmp_path / "one.json") is None
    assert await store.get("one") is None
    assert counts(await import_once(store, tmp_path / "two.json")) == (1, 0)


def test_where_the_old_database_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative dbFileLocation counts from the working directory, or from the folder above the configuration."""
    monkeypatch.chdir(tmp_path)
    install = tmp_path / "oxd"
    for folder in ("conf", "data"):
        (install / folder).mkdir(parents=True)
    config = Config(
        default_site_path=install / "conf" / "oxd-default-site-config.json",
        storage_configuration=StorageConfig(legacy_path=Path("data/oxd_db")),
    )
    assert legacy_database(config) is None
    (install / "data" / "oxd_db.mv.db").touch()
    assert legacy_database(config) == install / "data" / "oxd_db.mv.db"
    assert legacy_database(Config()) is None
