"""Where the sites are kept, by the configuration: in the words of the store."""

from pathlib import Path

from oxd_server.config import Config, StorageConfig
from oxd_server.store import RedisSettings, StoreError, tls_context

__all__ = ["legacy_database", "named", "redis_settings", "store_file", "store_place"]


def store_place(config: Config) -> Path | RedisSettings | None:
    """Return where the sites are kept, as ``open_store`` takes it.

    Raises:
        StoreError: a certificate for Redis cannot be read.
    """
    if config.storage == "redis":
        return redis_settings(config.storage_configuration)
    return None if config.storage == "memory" else config.store_path


def store_file(config: Config) -> Path:
    """Return the file that the sites are kept in, for what needs one.

    Raises:
        StoreError: the sites are kept in Redis; the text says what serves instead.
    """
    if config.storage == "redis":
        raise StoreError(
            "storage is redis, and a backup is one of a store file: `oxd-server sites copy` makes a file of this store "
            "and brings it back, and Redis's own means (appendonly, BGSAVE) back up Redis"
        )
    return config.store_path


def legacy_database(config: Config) -> Path | None:
    """Return the file of the old server's H2 database that the configuration names, None if there is none.

    A relative ``dbFileLocation`` counts from the working directory, as it did for the old server, or else from the
    folder above the configuration's.
    """
    named = config.storage_configuration.legacy_path
    if named is None:
        return None
    above = config.default_site_path.absolute().parent.parent
    candidates = (Path(f"{folder / named}.mv.db") for folder in (Path(), above))
    return next((path.absolute() for path in candidates if path.is_file()), None)


def named(place: Path | RedisSettings | None) -> str:
    """Return what two configurations of the same store have in common, for people too."""
    if isinstance(place, RedisSettings):
        return f"{place.place}, database {place.database}, prefix {place.prefix}"
    return str(place and place.resolve())


def redis_settings(storage: StorageConfig) -> RedisSettings:
    """Return where Redis is and how it is spoken to.

    Raises:
        StoreError: a certificate cannot be read, or something is not set.
    """
    mode = storage.legacy_mode or storage.mode
    sentinel = mode == "sentinel"
    named = storage.sentinel_master or storage.legacy_sentinel_master
    if sentinel and named is None:
        raise StoreError("storage redis with Sentinel needs storage_configuration.sentinel_master")
    servers = [_address(server) for server in storage.servers]
    if storage.legacy_host is not None:
        servers = [(storage.legacy_host, storage.legacy_port)]
    tls = storage.tls or storage.legacy_tls
    return RedisSettings(
        servers=tuple(servers),
        sentinel_master=named if sentinel else None,
        cluster=mode == "cluster",
        username=storage.username,
        password=storage.password,
        database=storage.database,
        ssl_context=tls_context(storage.ca_path, storage.cert_path, storage.key_path) if tls else None,
        prefix=storage.prefix,
        wait_for_replicas=int(sentinel) if storage.wait_for_replicas is None else storage.wait_for_replicas,
        timeout=storage.timeout_in_seconds,
    )


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)
