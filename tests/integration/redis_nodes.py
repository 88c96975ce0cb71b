"""Nodes that keep their sites in one Redis: their configuration, and two of them running."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from oxd_server.config import Config, StorageConfig
from oxd_server.store import RedisSettings
from tests.integration.oxd_process import ServerProcess, running_server

__all__ = ["ask", "config_of", "settings_of", "storage", "two_nodes"]


def storage(port: int, **keys: Any) -> dict[str, Any]:
    """Return the configuration of a node on that Redis."""
    keys = {"servers": f"127.0.0.1:{port}", "password": "s3same", "prefix": uuid.uuid4().hex, **keys}
    return {"storage": "redis", "storage_configuration": keys}


@asynccontextmanager
async def two_nodes(folder: Path, config: dict[str, Any]) -> AsyncIterator[tuple[ServerProcess, ServerProcess]]:
    """Run two servers, as on two machines: what they share is Redis alone."""
    for name in ("a", "b"):
        (folder / name).mkdir()
    async with running_server(folder / "a", config) as a, running_server(folder / "b", config) as b:
        yield a, b


def settings_of(port: int, **changes: Any) -> RedisSettings:
    """Return what a store on that Redis needs, with a prefix of its own."""
    settings = RedisSettings(servers=(("127.0.0.1", port),), password="s3same", prefix=uuid.uuid4().hex, timeout=10.0)
    return msgspec.structs.replace(settings, **changes)


def config_of(port: int, **keys: Any) -> Config:
    """Return the configuration of a node, as it is after reading."""
    keys = {"servers": (f"127.0.0.1:{port}",), "password": "s3same", **keys}
    return Config(storage="redis", storage_configuration=StorageConfig(**keys))


def ask(port: int, *commands: str) -> None:
    """Run commands with Redis's own client."""
    for command in commands:
        subprocess.run(
            ["redis-cli", "-p", str(port), *command.split()],
            check=True, capture_output=True, timeout=10, env={**os.environ, "REDISCLI_AUTH": "s3same"},
        )  # fmt: skip
