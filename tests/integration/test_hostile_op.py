"""What an OP cannot do to the server and to its other callers: lead it elsewhere, fill its memory, hold its places."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import h11
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.conftest import StartServer
from tests.integration.faulty_op import DISCOVERY, REGISTRATION, Exchange, altered, faulty_op
from tests.integration.logins import REDIRECT_URI, SCOPES, data_of, error_of, register


@dataclass
class Silent:
    """A server on loopback that answers nothing and counts who comes."""

    url: str
    connections: int = 0

    async def hold(self, stream: trio.SocketStream) -> None:
        """Take a connection and say nothing."""
        self.connections += 1
        await trio.sleep_forever()


@asynccontextmanager
async def silent_server() -> AsyncIterator[Silent]:
    """Start a server that answers nothing."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    silent = Silent(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, silent.hold, listeners)
        yield silent
        nursery.cancel_scope.cancel()


async def test_client_is_not_managed_elsewhere(sandbox: RunningSandbox, start_server: StartServer) -> None:
    """A registration_client_uri at another server is never called, whatever the OP would have done there."""
    async with faulty_op(sandbox) as op, silent_server() as internal:
        op.faults[REGISTRATION] = altered(registration_client_uri=f"{internal.url}/production-index")
        async with start_server({"deregister_client_on_remove": True}) as server:
            oxd_id = (await register(server, op.issuer)).oxd_id
            assert error_of(await server.call("remove_site", oxd_id=oxd_id)) == "restricted_op_host"
            assert error_of(await server.call("update_site", oxd_id=oxd_id, client_name="N")) == "restricted_op_host"
        assert internal.connections == 0


async def test_large_documents_do_not_stay(sandbox: RunningSandbox, start_server: StartServer) -> None:
    """Metadata beyond the bound is refused, and a registration answer adds no more than a site has room for."""
    params = {"authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
    async with faulty_op(sandbox) as op, start_server() as server:
        op.faults[DISCOVERY] = altered(filler="y" * 300_000)
        code = error_of(await server.call("register_site", op_host=op.issuer, **params))
        assert code == "no_connect_discovery_response"
        del op.faults[DISCOVERY]
        op.faults[REGISTRATION] = altered(filler="y" * 500_000)
        oxd_id = (await register(server, op.issuer)).oxd_id
        assert len(str(data_of(await server.call("get_rp", oxd_id=oxd_id)))) < 20_000


async def test_one_hanging_host_leaves_places(sandbox: RunningSandbox, start_server: StartServer) -> None:
    """Commands for an OP that hangs, under whatever paths and ids, leave the sites of other OPs their places."""
    config = {"max_commands_in_flight": 20, "op_total_timeout_in_seconds": 30, "op_read_timeout_in_seconds": 30}
    async with start_server(config) as server, silent_server() as hanging, trio.open_nursery() as nursery:
        other = (await register(server, sandbox.issuer)).oxd_id
        for i in range(40):
            params = {"op_host": hanging.url, "op_discovery_path": f"p{i}", "oxd_id": f"r{i}", "scope": SCOPES}
            call = partial(server.call, "register_site", authorization_redirect_uri=REDIRECT_URI, **params)
            nursery.start_soon(call)
        while not hanging.connections:
            await trio.sleep(0.01)
        assert data_of(await server.call("get_authorization_url", oxd_id=other))
        nursery.cancel_scope.cancel()


async def test_redirected_discovery(sandbox: RunningSandbox, start_server: StartServer) -> None:
    """An OP whose metadata lies behind a redirect is used like any other."""

    async def moved(exchange: Exchange) -> None:
        location = b"/elsewhere" + DISCOVERY.encode()
        await exchange.reply((301, [(b"Location", location)], b""))

    async def here(exchange: Exchange) -> None:
        head = h11.Request(method="GET", target=DISCOVERY, headers=[("host", "op")])
        answer = await replace(exchange, head=head).forward()
        await exchange.reply(answer)

    async with faulty_op(sandbox) as op, start_server() as server:
        op.faults[DISCOVERY], op.faults["/elsewhere" + DISCOVERY] = moved, here
        assert await register(server, op.issuer)
