"""Looking at the store from the command line, also while a server runs on it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from oxd_server.config import Config, StorageConfig
from oxd_server.config.store_place import named, redis_settings, store_place
from oxd_server.store import (
    Site,
    SiteNotFound,
    SiteSession,
    Store,
    StoreError,
    export_site,
    open_file_store,
    open_store,
)
from oxd_server.store.copying import Copied, Progress, copy_sites
from oxd_server.store.importers.live_redis import SCHEMES, read_live_redis, settings_of_url
from oxd_server.store.importers.old_server import SCHEME, read_old_server
from oxd_server.store.importers.sources import Source, read_source
from oxd_server.store.redis_settings import RedisForbidden

__all__ = [
    "WATCH_INTERVAL",
    "Import",
    "copy_between",
    "export_sites",
    "import_folder",
    "import_old_keys",
    "import_once",
    "import_sites",
    "list_sites",
    "remove_site",
    "show_site",
]

WATCH_INTERVAL: Final = 0.005
"""Seconds until a server notices what a foreign program has changed in the store's file; our own say so themselves."""

_OLD_KEYS: Final = "imported the old keys"
_SECRETS = frozenset(
    {"client_secret", "client_registration_access_token", "id_token", "pat", "pat_refresh_token", "user_secret"}
)


def _unobserved(_done: int, _total: int) -> None:
    pass


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


async def export_sites(
    config: Config, oxd_id: str | None, progress: Callable[[int, int], None] = _unobserved
) -> list[dict[str, Any]]:
    """Return one site or all of them in the shape of the old store's files, secrets included.

    ``progress`` is told how many of how many have been read. Raises ``StoreError``.
    """
    if oxd_id is not None:
        return [await _export(config, oxd_id)]
    async with _open(config) as store:
        names = await store.list()
        sites = []
        for number, (name, _) in enumerate(names, 1):
            sites.append(await _export_from(store, name))
            progress(number, len(names))
        return sites


class Import(msgspec.Struct, frozen=True):
    """What an import did, or would do: how many sites were added, and which were there already and stayed."""

    source: Source
    added: int
    known: tuple[str, ...]


async def import_sites(config: Config, source: str, *, dry_run: bool = False, password: str | None = None) -> Import:
    """Add the sites of a source (see ``store.importers.sources``), all or none.

    Args:
        config: says where the store is.
        source: a path, ``tcp://host:port`` of an old server that runs, or ``redis://host:port/database`` of its Redis.
        dry_run: only find out what would be added.
        password: of the source, for a Redis.

    Raises:
        StoreError: the source cannot be read or understood, or the store fails; then nothing was added.
    """
    found = await _read(source, password)
    if dry_run:
        known = await _known(config, found)
        return Import(found, len(found.sites) - len(known), known)
    async with open_store(store_place(config)) as store:
        known = tuple(await store.add_all(_pairs(found)) or ())
    return Import(found, len(found.sites) - len(known), known)


async def copy_between(source: Config, target: Config, *, replace: bool, progress: Progress) -> Copied:
    """Copy all sites from one configuration's store to another's; see ``store.copying``.

    Raises:
        StoreError: as ``copy_sites``, or both are the same store.
    """
    from_place, to_place = store_place(source), store_place(target)
    if named(from_place) == named(to_place):
        raise StoreError(f"both configurations name the same store: {named(from_place)}")
    async with _open(source) as store:
        return await copy_sites(store, partial(open_store, to_place), replace=replace, progress=progress)


async def import_folder(store: Store, folder: Path) -> Import:
    """Add the sites of a folder of JSON files that are not there yet, all or none.

    Raises:
        StoreError: as ``import_sites``.
    """
    found = await trio.to_thread.run_sync(read_source, folder)
    known = tuple(await store.add_all(_pairs(found)) or ())
    return Import(found, len(found.sites) - len(known), known)


async def import_once(store: Store, path: Path) -> Import | None:
    """Add the sites of an old server's database or folder when the server starts for the first time.

    What was removed since does not come back at the next start: None if it was done before.

    Raises:
        StoreError: the source cannot be read or understood, or the store fails; then nothing was added.
    """
    name = f"imported {path}"
    if await _has_secret(store, name):
        return None
    return await _add_once(store, name, await trio.to_thread.run_sync(read_source, path))


async def import_old_keys(store: Store, config: Config) -> Import | None:
    """Add the sites that an old server left in the Redis that the store is in, when the first node starts.

    That server's configuration knew no prefix and no user name. Its keys stay as they are.

    Returns:
        None if there is nothing to do: it was done before, the store has sites, there are no old ones, the store is
        not in Redis, or the configuration is not an old server's.

    Raises:
        StoreError: Redis cannot be read, an old site is damaged, or the store fails; then nothing was added.
    """
    storage = config.storage_configuration
    if config.storage != "redis" or storage.username is not None or storage.prefix != StorageConfig().prefix:
        return None
    if await _has_secret(store, _OLD_KEYS):
        return None
    found = Source("", ())
    if not await store.list():
        with suppress(RedisForbidden):  # the old server had all rights
            found = await read_live_redis(redis_settings(storage))
    done = await _add_once(store, _OLD_KEYS, found)
    return done if found.sites else None


async def _has_secret(store: Store, name: str) -> bool:
    with suppress(_NotThere):
        await store.secret(name, _raise_not_there)
        return True
    return False


async def _add_once(store: Store, name: str, found: Source) -> Import | None:
    known = await store.add_all(_pairs(found), once=name)
    return None if known is None else Import(found, len(found.sites) - len(known), tuple(known))


class _NotThere(Exception):
    """The store has no secret of that name."""


def _raise_not_there() -> bytes:
    raise _NotThere


async def _read(source: str, password: str | None) -> Source:
    if source.startswith(SCHEMES):
        return await read_live_redis(settings_of_url(source, password))
    if source.startswith(SCHEME):
        return await read_old_server(source)
    return await trio.to_thread.run_sync(read_source, Path(source))


async def _known(config: Config, found: Source) -> tuple[str, ...]:
    if config.storage != "redis" and not config.store_path.exists():
        return ()
    async with open_store(store_place(config)) as store:
        return tuple([one.site.oxd_id for one in found.sites if await store.get(one.site.oxd_id) is not None])


def _pairs(found: Source) -> list[tuple[Site, SiteSession]]:
    return [(one.site, one.session) for one in found.sites]


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
    if config.storage == "redis":
        async with open_store(store_place(config)) as store:
            yield store
        return
    if not config.store_path.exists():  # looking must not make one
        raise StoreError(f"there is no store at {config.store_path}")
    async with open_file_store(config.store_path) as store:
        yield store
