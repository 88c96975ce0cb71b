"""Where sites are kept. `open_store` is the way in; `base` says what every store can do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from oxd_server.store.base import (
    MAX_ISSUED_TOKENS,
    ClockSetBack,
    IssuedToken,
    Login,
    Site,
    SiteExists,
    SiteNotFound,
    SiteSession,
    Store,
    StoreError,
    UmaResource,
)
from oxd_server.store.exchange import export_site, import_site
from oxd_server.store.file import open_file_store
from oxd_server.store.memory import MemoryStore

__all__ = [
    "MAX_ISSUED_TOKENS",
    "ClockSetBack",
    "IssuedToken",
    "Login",
    "MemoryStore",
    "Site",
    "SiteExists",
    "SiteNotFound",
    "SiteSession",
    "Store",
    "StoreError",
    "UmaResource",
    "export_site",
    "import_site",
    "open_file_store",
    "open_store",
]


@asynccontextmanager
async def open_store(path: Path | None, *, watch_interval: float = 0.0) -> AsyncIterator[Store]:
    """The store in the file at `path`, made if it is not there yet; without a path, one in memory.

    What other processes commit to the file is seen at once, or after `watch_interval` seconds at the latest. Raises
    `StoreError` if the file cannot be used.
    """
    if path is None:
        yield MemoryStore()
        return
    async with open_file_store(path, watch_interval=watch_interval) as store:
        yield store
