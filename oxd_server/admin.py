"""Looking at the store from the command line, also while a server runs on it."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from oxd_server.config import Config
from oxd_server.store import (
    SiteExists,
    SiteNotFound,
    SiteSession,
    Store,
    StoreError,
    export_site,
    import_site,
    open_file_store,
    open_store,
)

__all__ = ["WATCH_INTERVAL", "export_sites", "import_folder", "import_sites", "list_sites", "remove_site", "show_site"]

WATCH_INTERVAL: Final = 0.005
"""Seconds until a server that runs alone notices what is changed here; among workers a change counts at once."""

_SECRETS = frozenset(
    {"client_secret", "client_registration_access_token", "id_token", "pat", "pat_refresh_token", "user_secret"}
)


async def list_sites(config: Config) -> list[tuple[str, str]]:
    """Return oxd_id and client_name of every site. Raises ``StoreError``."""
    async with _open(config) as store:
        return await store.list()


async def show_site(config: Config, oxd_id: str) -> dict[str, Any]:
    """Return one site with its secrets masked. Raises ``StoreError``."""
    site = await _export(config, oxd_id)
    return {name: "***" if name in _SECRETS and value else value for name, value in site.items()}


async def remove_site(config: Config, oxd_id: str) -> None:
    """Forget one site. Raises ``StoreError``."""
    async with _open(config) as store:
        await store.remove(oxd_id)
    await trio.sleep(WATCH_INTERVAL)  # now a server has seen it


async def export_sites(config: Config, oxd_id: str | None) -> list[dict[str, Any]]:
    """Return one site or all of them in the shape of the old store's files, secrets included.

    Raises ``StoreError``.
    """
    if oxd_id is not None:
        return [await _export(config, oxd_id)]
    async with _open(config) as store:
        return [await _export_from(store, name) for name, _ in await store.list()]


async def import_sites(config: Config, nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Add sites in the shape of the old store's files; return how many were added and how many were there already.

    Raises ``StoreError`` when a site cannot be understood; then nothing is added.
    """
    async with open_store(config.store_path) as store:
        counts = await _import(store, nodes)
    await trio.sleep(WATCH_INTERVAL)  # now a server has seen them
    return counts


async def import_folder(store: Store, folder: Path) -> tuple[int, int]:
    """Add the sites in the folder's ``*.json`` files, one site a file, as ``import_sites`` does.

    Raises ``StoreError`` for a folder or file that cannot be read.
    """
    return await _import(store, await trio.to_thread.run_sync(_read_folder, folder))


def _read_folder(folder: Path) -> list[Mapping[str, Any]]:
    try:
        paths = [path for path in sorted(folder.iterdir()) if path.suffix == ".json"]  # glob() minds no missing folder
        return [json.loads(path.read_text("utf-8-sig")) for path in paths]
    except (OSError, ValueError) as error:
        raise StoreError(f"the sites in {folder} cannot be read: {error}") from None


async def _import(store: Store, nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    if not all(isinstance(node, dict) for node in nodes):
        raise StoreError("a site is a JSON object")
    sites = [import_site(node) for node in nodes]
    added = 0
    for site, session in sites:
        try:
            await store.add(site)
        except SiteExists:
            continue
        await store.change_session(site.oxd_id, partial(_replace, session))
        added += 1
    return added, len(sites) - added


def _replace(new: SiteSession, _old: SiteSession) -> SiteSession:
    return new


async def _export(config: Config, oxd_id: str) -> dict[str, Any]:
    async with _open(config) as store:
        return await _export_from(store, oxd_id)


async def _export_from(store: Store, oxd_id: str) -> dict[str, Any]:
    site = await store.get(oxd_id)
    if site is None:
        raise SiteNotFound(oxd_id)
    return export_site(site, await store.session(oxd_id))


@asynccontextmanager
async def _open(config: Config) -> AsyncIterator[Store]:
    if not config.store_path.exists():  # looking must not make one
        raise StoreError(f"there is no store at {config.store_path}")
    async with open_file_store(config.store_path) as store:
        yield store
