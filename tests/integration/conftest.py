"""What the integration tests share: skips that a person asked for, and a server bound to the test's folder."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.integration.background import Background, background
from tests.integration.faulty_op import FaultyOp, faulty_op
from tests.integration.oxd_process import ServerProcess, running_server
from tests.integration.sandbox_provider import running_sandbox
from tests.redis_server import redis_server

# Only a person turns these off, and the summary says so; a missing tool is a failure, not a skip.
SKIPS = {
    "node": "OXD_TEST_SKIP_NODE",
    "browser": "OXD_TEST_SKIP_BROWSER",
    "php": "OXD_TEST_SKIP_PHP",
    "debian": "OXD_TEST_SKIP_DEBIAN",
}

StartServer = Callable[..., AbstractAsyncContextManager[ServerProcess]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of a marker whose variable is set to 1."""
    for marker, variable in SKIPS.items():
        if os.environ.get(variable) == "1":
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=f"{variable}=1 is set"))


@pytest.fixture
def start_server(tmp_path: Path) -> StartServer:
    """Return `running_server` on the test's folder: `async with start_server({...}) as server:`."""

    def start(
        config: Mapping[str, Any] | None = None, default_site: Mapping[str, Any] | None = None
    ) -> AbstractAsyncContextManager[ServerProcess]:
        return running_server(tmp_path, config, default_site)

    return start


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    """The sandbox's OpenID provider, in this process; its state may be looked at and its faults switched on."""
    async with running_sandbox() as running:
        yield running


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[ServerProcess]:
    """A server with the default configuration."""
    async with start_server() as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server for all tests of a module that asks for it."""
    with background(tmp_path_factory.mktemp("running")) as both:
        yield both


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One Redis for all tests of a module that asks for it; its password is s3same."""
    with redis_server(tmp_path_factory.mktemp("redis"), "--requirepass", "s3same") as (port, _):
        yield port


@pytest.fixture
async def op() -> AsyncIterator[FaultyOp]:
    """An OP of the test's own, whose answers may be changed."""
    async with running_sandbox() as sandbox, faulty_op(sandbox) as op:
        yield op
