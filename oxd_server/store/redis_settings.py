"""Where Redis is and how it is spoken to. Needs no coredis, so that a server without it can read its configuration."""

import ssl
from pathlib import Path
from typing import Any

from oxd_protocol.discreet import Discreet
from oxd_server.store.base import StoreError

__all__ = ["RedisForbidden", "RedisSettings", "tls_context"]


class RedisForbidden(StoreError):
    """The user may not do that in this Redis."""


class RedisSettings(Discreet, frozen=True, kw_only=True):
    """Where Redis is and how it is spoken to. `servers` are host and port; of Sentinels with a `sentinel_master`."""

    shows = ("servers", "prefix")

    servers: tuple[tuple[str, int], ...] = (("127.0.0.1", 6379),)
    sentinel_master: str | None = None
    cluster: bool = False
    username: str | None = None
    password: str | None = None
    database: int = 0
    ssl_context: Any = None
    prefix: str = "oxd"
    wait_for_replicas: int = 0
    timeout: float = 2.0

    @property
    def base(self) -> bytes:
        """What every key begins with."""
        return b"{%s}:" % self.prefix.encode()

    @property
    def place(self) -> str:
        """Where Redis is, for people."""
        named = ", ".join(f"{host}:{port}" for host, port in self.servers)
        return f"{named} (Sentinel)" if self.sentinel_master else named


def tls_context(ca_path: Path | None, cert_path: Path | None, key_path: Path | None) -> ssl.SSLContext:
    """Return what TLS to Redis needs: the system's authorities or those of `ca_path`, and a certificate of our own.

    Raises `StoreError` if a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_path)
        if cert_path is not None:
            context.load_cert_chain(cert_path, key_path)
    except (OSError, ssl.SSLError) as error:
        raise StoreError(f"a certificate for Redis cannot be used: {error}") from None
    return context
