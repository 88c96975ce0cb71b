"""Where sites are kept. `open_store` is the way in; `base` says what every store can do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from oxd_server.store.base import (
    MAX_KEPT,
    ClockSetBack,
    Kept,
    Login,
    Site,
    SiteExists,
    SiteNotFound,
    SiteSession,
    Store,
    StoreError,
    StoreUnavailable,
    UmaResource,
)
from oxd_server.store.exchange import export_site, import_site
from oxd_server.store.file import open_file_store
from oxd_server.store.memory import MemoryStore
from oxd_server.store.redis_settings import RedisSettings, tls_context
from oxd_server.store.schema import has_this_schema

__all__ = [
    "MAX_KEPT",
    "ClockSetBack",
    "Kept",
    "Login",
    "MemoryStore",
    "RedisSettings",
    "Site",
    "SiteExists",
    "SiteNotFound",
    "SiteSession",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "UmaResource",
    "export_site",
    "import_site",
    "is_of_this_version",
    "open_file_store",
    "open_store",
    "tls_context",
]


async def is_of_this_version(place: Path | RedisSettings | None) -> bool:
    """Tell whether opening the store there leaves its form as it is. Raises `StoreError` if it is no store of ours."""
    return not isinstance(place, Path) or await trio.to_thread.run_sync(has_this_schema, place)


@asynccontextmanager
async def open_store(place: Path | RedisSettings | None, *, watch_interval: float = 0.0) -> AsyncIterator[Store]:
    """The store in the file at `place`, made if it is not there yet, or in Redis; without a place, one in memory.

    What our own processes commit to a file is seen at once, and what foreign programs commit after `watch_interval`
    seconds at the latest. Raises `StoreError` if the store cannot be used.
    """
    if place is None:
        yield MemoryStore()
    elif isinstance(place, RedisSettings):
        try:
            from oxd_server.store.redis import open_redis_store
        except ModuleNotFoundError:
            raise StoreError("storage redis needs coredis: pip install 'oxd-server[redis]'") from None
        async with open_redis_store(place) as redis_store:
            yield redis_store
    else:
        async with open_file_store(place, watch_interval=watch_interval) as store:
            yield store
