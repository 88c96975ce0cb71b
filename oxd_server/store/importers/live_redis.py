"""Reading the sites that the old server keeps in a Redis that runs. It writes nothing.

The old server kept each site under its oxd_id, for ever, as a Java-serialized String. In the same database may lie
whatever else: our own keys begin with a brace, and what is no such String, expires or names no oxd_id is others'.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import trio

from oxd_server.store.importers.errors import SourceError
from oxd_server.store.importers.java_text import looks_like_java_string, read_java_string
from oxd_server.store.importers.sources import MAX_BYTES, MAX_SITE_BYTES, FoundSite, Source, sites_in
from oxd_server.store.redis_settings import RedisSettings, tls_context

__all__ = ["SCHEMES", "read_live_redis", "settings_of_url"]

SCHEMES: Final = ("redis://", "rediss://")
_OURS: Final = b"{"
_KEYS_AT_ONCE: Final = 1000
_MOST_KEYS: Final = 20_000_000
_NEVER_EXPIRES: Final = -1


def settings_of_url(url: str, password: str | None) -> RedisSettings:
    """Return where ``redis://[user@]host[:port][/database]`` is; ``rediss`` means TLS.

    Args:
        url: has no password in it, for everybody on the machine can read a command line.
        password: the user's password.

    Raises:
        SourceError: it is no such URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 6379
        database = int(parts.path.strip("/") or 0)
    except ValueError:
        host, port, database = None, 0, 0
    if "@" in url and parts.password is not None:
        raise SourceError("a password does not belong on the command line: use --password-path or --password-variable")
    if host is None or database < 0:
        raise SourceError("this names no Redis: write redis://host:6379/0, or rediss:// for TLS")
    return RedisSettings(
        servers=((host, port),),
        username=None if parts.username is None else unquote(parts.username),
        password=password,
        database=database,
        ssl_context=tls_context(None, None, None) if parts.scheme == "rediss" else None,
        timeout=10.0,
    )


async def read_live_redis(settings: RedisSettings) -> Source:
    """Return the sites of the old server in this database; of a cluster, on all its masters.

    Raises:
        StoreError: it cannot be read (``RedisForbidden``: because the user may not), or a site is damaged or stands in
            it twice; the text names the key.
    """
    try:
        from oxd_server.store.redis_link import ask_masters
    except ModuleNotFoundError:
        raise SourceError("reading from Redis needs coredis: pip install 'oxd-server[redis]'") from None
    values: dict[bytes, bytes] = {}
    await ask_masters(settings, lambda connection: _read_values(connection.create_request, values))
    return Source("Redis of an old server", await trio.to_thread.run_sync(_sites, values))


async def _read_values(ask: Callable[..., Awaitable[Any]], values: dict[bytes, bytes]) -> None:
    """Add the old server's values of one master."""
    cursor, seen, size = b"0", 0, 0
    while True:
        cursor, keys = await ask(b"SCAN", cursor, b"COUNT", _KEYS_AT_ONCE, b"TYPE", b"string")
        seen += len(keys)
        for key in keys:
            value = b"" if key.startswith(_OURS) else await ask(b"GETRANGE", key, 0, MAX_SITE_BYTES)
            if _is_site(value) and await ask(b"PTTL", key) == _NEVER_EXPIRES:
                values[key] = value
                size += len(value)
        if seen > _MOST_KEYS or size > MAX_BYTES:
            raise SourceError(f"Redis holds more than {_MOST_KEYS} keys, or {MAX_BYTES >> 30} GiB of sites")
        if cursor == b"0":
            return


def _is_site(value: bytes) -> bool:
    return looks_like_java_string(value) and b'"oxd_id"' in value


def _sites(values: dict[bytes, bytes]) -> tuple[FoundSite, ...]:
    named = ((f"the key {key[:80].decode(errors='replace')!r}", value) for key, value in sorted(values.items()))
    return sites_in((where, read_java_string(value, where)) for where, value in named)
