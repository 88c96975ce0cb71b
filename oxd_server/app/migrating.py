"""What is taken over from an old server at the start."""

import structlog
import trio

from oxd_server.admin import import_folder, import_old_keys, import_once
from oxd_server.config import Config
from oxd_server.config.store_place import legacy_database
from oxd_server.store import Store

__all__ = ["migrate"]


async def migrate(config: Config, store: Store, log: structlog.stdlib.BoundLogger) -> None:
    """Take over the sites of an old server's folder and database; those that are here already stay as they are."""
    if config.migration_source_folder_path is not None:
        done = await import_folder(store, config.migration_source_folder_path)
        folder = str(config.migration_source_folder_path)
        log.info("sites_imported", folder=folder, added=done.added, known=len(done.known))
    database = await trio.to_thread.run_sync(legacy_database, config)
    if database is not None:
        imported = await import_once(store, database)
        if imported is not None:
            log.info(
                "old_database_imported",
                message="The sites of the old server's database were imported; it is not read again.",
                database=str(database),
                added=imported.added,
                known=len(imported.known),
            )
    old_keys = await import_old_keys(store, config)
    if old_keys is not None:
        log.info(
            "old_redis_imported",
            message="The old server's sites in Redis were imported; its keys stay, and are not read again.",
            added=old_keys.added,
            known=len(old_keys.known),
        )
