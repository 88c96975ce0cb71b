"""Looking at the store from the command line, also while a server runs on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from oxd_server.config import Config
from oxd_server.store.base import SiteNotFound, Store, StoreError
from oxd_server.store.exchange import export_site
from oxd_server.store.file import open_file_store

__all__ = ["export_sites", "list_sites", "remove_site", "show_site"]

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


async def export_sites(config: Config, oxd_id: str | None) -> list[dict[str, Any]]:
    """Return one site or all of them in the shape of the old store's files, secrets included.

    Raises ``StoreError``.
    """
    if oxd_id is not None:
        return [await _export(config, oxd_id)]
    async with _open(config) as store:
        return [await _export_from(store, name) for name, _ in await store.list()]


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
