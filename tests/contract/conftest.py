"""Every store that there is, one after the other, and a Redis for the one that keeps its sites there."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from oxd_server.store import RedisSettings, Store, open_store
from tests.redis_server import redis_server


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a Redis for the whole run."""
    with redis_server(tmp_path_factory.mktemp("redis"), "--appendfsync", "no") as (port, _):
        yield port


@pytest.fixture(params=["memory", "file", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Open an empty store, of each kind in turn."""
    place: Path | RedisSettings | None = None
    if request.param == "file":
        place = tmp_path / "oxd.sqlite"
    elif request.param == "redis":
        port = request.getfixturevalue("redis_port")
        place = RedisSettings(servers=(("127.0.0.1", port),), prefix=uuid.uuid4().hex, timeout=30.0)
    async with open_store(place) as opened:
        yield opened
