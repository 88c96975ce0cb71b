"""The server's handlers in the test's own process, over real sockets to an authorization server, with a clock."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from oxd_protocol.catalog import find_command
from oxd_protocol.errors import CommandError
from oxd_protocol.params import decode_params
from oxd_server.config import Config, DefaultSite
from oxd_server.dispatch.routes import ROUTES
from oxd_server.dispatch.wire_errors import command_error
from oxd_server.op.context import OpContext
from oxd_server.op.errors import OpError
from oxd_server.op.tls import make_ssl_context
from oxd_server.op.transport import Transport, TransportSettings
from oxd_server.rp.login_state import KEY_BYTES, KEY_NAME, States
from oxd_server.rp.logins import Logins
from oxd_server.rp.services import Services
from oxd_server.store import MemoryStore, Site, SiteNotFound, Store, UmaResource
from tests.clock import Clock
from tests.integration.uma_as import CLIENT_ID, CLIENT_SECRET, UmaServer, running_as

OXD_ID = "site-1"
HANDLERS = {route.command.name: route.handler for route in ROUTES}
ON_BEHALF = {"register_site", "get_rp"}


@dataclass
class House:
    """Handlers with everything they need, one site in the store, and the authorization server of that site."""

    authorization_server: UmaServer
    services: Services
    store: Store
    clock: Clock
    log: list[Mapping[str, Any]]

    async def call(self, command_name: str, **params: Any) -> dict[str, Any]:
        """Run a command for the site and return the data of its answer: of an error, `error` and `details`."""
        command = find_command(command_name)
        assert command is not None
        try:
            decoded = decode_params(command, {"oxd_id": OXD_ID, **params})
            caller = (None,) if command_name in ON_BEHALF else ()  # commands are open
            result = await HANDLERS[command_name](self.services, decoded, *caller)
        except SiteNotFound:
            return {"error": "invalid_oxd_id"}
        except (CommandError, OpError) as failed:
            error = failed if isinstance(failed, CommandError) else command_error(failed)
            return {"error": error.code, "description": error.description, "details": error.details}
        data: dict[str, Any] = msgspec.to_builtins(result)
        return data

    async def protected(self) -> tuple[UmaResource, ...]:
        """The site's protection as it is stored."""
        site = await self.store.get(OXD_ID)
        assert site is not None
        return site.uma_protected_resources

    def requests(self) -> list[str]:
        """The steps that the authorization server was asked for since the last call of this method."""
        asked, self.authorization_server.requests = self.authorization_server.requests, []
        return asked


@asynccontextmanager
async def uma_house(*, timeout: float = 20.0, **state: Any) -> AsyncIterator[House]:
    """Open a house; `timeout` (seconds) bounds each request to the authorization server, `state` is its state."""
    clock, store, log = Clock(), MemoryStore(), list[Mapping[str, Any]]()
    settings = TransportSettings(ssl_context=make_ssl_context(), read_timeout=timeout, total_timeout=timeout)
    async with running_as(**state) as server, Transport(settings) as transport:
        await store.add(Site(oxd_id=OXD_ID, op_host=server.base, client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
        recorder = _recorder(log)
        key = await store.secret(KEY_NAME, lambda: os.urandom(KEY_BYTES))
        services = Services(
            config=Config(op_total_timeout_in_seconds=timeout),
            default_site=DefaultSite(),
            store=store,
            op=OpContext.over(transport, clock=clock),
            to_applications=transport,
            logins=Logins(States(key, 300, os.urandom), store, clock, os.urandom, recorder),
            keys=None,
            now=clock,
            random=os.urandom,
            log=recorder,
        )
        yield House(server, services, store, clock, log)


def _recorder(log: list[Mapping[str, Any]]) -> Any:
    def record(_logger: Any, level: str, event: structlog.typing.EventDict) -> str:
        log.append({"level": level, **event})
        raise structlog.DropEvent

    return structlog.wrap_logger(structlog.PrintLogger(), processors=[record])
