"""Server and sandbox speak UMA 2.0 with each other: what the journeys leave out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.integration.oxd_process import ServerProcess

UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"
JWT = "urn:ietf:params:oauth:token-type:jwt"


async def ok(server: ServerProcess, command: str, **params: Any) -> dict[str, Any]:
    """The data of a successful answer."""
    answer = await server.call(command, **params)
    assert answer["status"] == "ok", answer
    return dict(answer["data"])


async def refused(server: ServerProcess, command: str, **params: Any) -> dict[str, Any]:
    """The data of an error answer."""
    answer = await server.call(command, **params)
    assert answer["status"] == "error", answer
    return dict(answer["data"])


async def register(server: ServerProcess, sandbox: RunningSandbox) -> str:
    """A site that may protect resources and show tickets; returns its oxd_id."""
    answer = await ok(
        server,
        "register_site",
        op_host=sandbox.issuer,
        authorization_redirect_uri="https://app.example.org/callback",
        grant_types=["authorization_code", "client_credentials", UMA_TICKET],
        scope=["openid", "uma_protection"],
    )
    return str(answer["oxd_id"])


async def protect(server: ServerProcess, oxd_id: str, paths: dict[str, str], **params: Any) -> None:
    """Protect GET on each path with one scope."""
    resources = [
        {"path": path, "conditions": [{"httpMethods": ["GET"], "scopes": [scope]}]} for path, scope in paths.items()
    ]
    await ok(server, "uma_rs_protect", oxd_id=oxd_id, resources=resources, **params)


async def check(server: ServerProcess, oxd_id: str, path: str, rpt: str = "") -> dict[str, Any]:
    """What the server decides about a GET request."""
    return await ok(server, "uma_rs_check_access", oxd_id=oxd_id, path=path, http_method="GET", rpt=rpt)


async def ticket(server: ServerProcess, oxd_id: str, path: str) -> str:
    """The ticket of a denied request."""
    return str((await check(server, oxd_id, path))["ticket"])


async def test_an_rpt_is_upgraded_through_the_socket(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """With an RPT the new one opens both paths and `updated` is true; without one, nobody gets another's RPT."""
    rs, rp = await register(server, sandbox), await register(server, sandbox)
    await protect(server, rs, {"/one": "read", "/two": "read"})
    first = await ok(server, "uma_rp_get_rpt", oxd_id=rp, ticket=await ticket(server, rs, "/one"))
    assert first["updated"] is False
    alone = await ok(server, "uma_rp_get_rpt", oxd_id=rp, ticket=await ticket(server, rs, "/two"))
    assert alone["updated"] is False
    assert (await check(server, rs, "/one", alone["access_token"]))["access"] == "denied"
    both = await ok(
        server,
        "uma_rp_get_rpt",
        oxd_id=rp,
        ticket=await ticket(server, rs, "/two"),
        rpt=first["access_token"],
    )
    assert both["updated"] is True
    for path in ("/one", "/two"):
        assert await check(server, rs, path, both["access_token"]) == {"access": "granted"}
    permissions = (await ok(server, "introspect_rpt", oxd_id=rs, rpt=both["access_token"]))["permissions"]
    assert [permission["resource_scopes"] for permission in permissions] == [["read"], ["read"]]


async def test_a_pct_saves_the_questions_through_the_socket(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Pushed claims give an RPT with a PCT, and the PCT alone is enough the next time."""
    rs, rp = await register(server, sandbox), await register(server, sandbox)
    await protect(server, rs, {"/one": "new-yorkers"})
    claims = base64.urlsafe_b64encode(json.dumps({"country": "US", "city": "NY"}).encode()).decode()
    first = await ok(
        server,
        "uma_rp_get_rpt",
        oxd_id=rp,
        ticket=await ticket(server, rs, "/one"),
        claim_token=claims,
        claim_token_format=JWT,
    )
    again = await ok(server, "uma_rp_get_rpt", oxd_id=rp, ticket=await ticket(server, rs, "/one"), pct=first["pct"])
    assert await check(server, rs, "/one", again["access_token"]) == {"access": "granted"}
    without = await refused(server, "uma_rp_get_rpt", oxd_id=rp, ticket=await ticket(server, rs, "/one"))
    assert without["error"] == "need_info"


async def test_overwriting_leaves_nothing_behind(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """After `overwrite` the authorization server has the new resources alone, and old RPTs open nothing."""
    rs, rp = await register(server, sandbox), await register(server, sandbox)
    await protect(server, rs, {"/one": "read", "/two": "read"})
    rpt = (await ok(server, "uma_rp_get_rpt", oxd_id=rp, ticket=await ticket(server, rs, "/one")))["access_token"]
    assert await check(server, rs, "/one", rpt) == {"access": "granted"}
    await protect(server, rs, {"/one": "read"}, overwrite=True)
    assert [resource.description["name"] for resource in sandbox.state.uma_resources.values()] == ["[GET] /one"]
    assert (await check(server, rs, "/one", rpt))["access"] == "denied"


@pytest.mark.parametrize("scope", ["fly", "read fly"])
async def test_a_scope_that_no_resource_has(server: ServerProcess, sandbox: RunningSandbox, scope: str) -> None:
    """The authorization server's invalid_scope comes through with its code."""
    rs, rp = await register(server, sandbox), await register(server, sandbox)
    await protect(server, rs, {"/one": "read"})
    answer = await refused(
        server, "uma_rp_get_rpt", oxd_id=rp, ticket=await ticket(server, rs, "/one"), scope=scope.split()
    )
    assert answer["error"] == "http_status_400"
    assert answer["details"]["error"] == "invalid_scope"


async def test_a_lost_pat_is_renewed(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """When the authorization server has forgotten every token, the next command gets a new PAT and works."""
    rs, rp = await register(server, sandbox), await register(server, sandbox)
    await protect(server, rs, {"/one": "read"})
    rpt = (await ok(server, "uma_rp_get_rpt", oxd_id=rp, ticket=await ticket(server, rs, "/one")))["access_token"]
    for token in sandbox.state.access_tokens.values():
        if token.permissions is None:
            token.grant.revoked = True
    assert await check(server, rs, "/one", rpt) == {"access": "granted"}


async def test_a_pat_that_is_never_good(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Where every PAT is refused, access is denied without a ticket, and nothing is protected that was not before."""
    rs = await register(server, sandbox)
    await protect(server, rs, {"/one": "read"})
    before = sandbox.state.uma_resources.values()
    sandbox.state.faults.add("uma_pat_lost")
    assert await check(server, rs, "/one") == {"access": "denied"}
    resources = [{"path": "/two", "conditions": [{"httpMethods": ["GET"], "scopes": ["read"]}]}]
    answer = await refused(server, "uma_rs_protect", oxd_id=rs, resources=resources, overwrite=True)
    assert answer["error"] == "http_status_401"
    sandbox.state.faults.clear()
    assert sandbox.state.uma_resources.values() == before
    assert "ticket" in await check(server, rs, "/one")
