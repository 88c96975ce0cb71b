"""The authorization server's protection API: resources and permission tickets."""

import json
from typing import Any

import httpx2
import pytest
import trio

from oxd_server.sandbox.provider.faults import UMA_FAULTS
from oxd_server.sandbox.uma.policies import POLICIES
from tests.unit.sandbox.conftest import Op
from tests.unit.sandbox.uma.roles import ResourceServer, resource_server

EXPRESSION = {"rule": {"and": [{"var": 0}, {"var": 1}]}, "data": ["read", "internal"]}


@pytest.fixture
async def rs(op: Op) -> ResourceServer:
    """A resource server with its PAT."""
    return await resource_server(op)


async def test_the_metadata_names_endpoints_that_exist(op: Op) -> None:
    """Every endpoint of uma2-configuration answers something other than 404, and the issuer is the provider's."""
    metadata = (await op.http.get("/.well-known/uma2-configuration")).json()
    assert metadata["issuer"] == op.issuer
    endpoints = [url for name, url in metadata.items() if name.endswith("_endpoint")]
    assert len(endpoints) == 7
    for url in endpoints:
        answer = await op.http.get(url)
        assert answer.status_code != 404, url


async def test_the_start_page_shows_the_policies(op: Op) -> None:
    """A person sees which scope is guarded by what, and where the endpoints are."""
    page = (await op.http.get("/")).text
    for scope in POLICIES:
        assert f"<code>{scope}</code>" in page
    assert "country US, city NY or New York" in page
    assert f"{op.issuer}/uma/permissions" in page
    assert 'href="/.well-known/uma2-configuration"' in page


async def test_a_resource_lives_from_creation_to_deletion(rs: ResourceServer) -> None:
    """A resource can be created, read, listed, updated and deleted, each with the answer of the specification."""
    created = await rs.post("/uma/resources", {"name": "[GET] /photo", "resource_scopes": ["read"], "type": "photo"})
    resource_id = created.json()["_id"]
    assert created.status_code == 201
    assert created.headers["location"] == f"{rs.op.issuer}/uma/resources/{resource_id}"
    path = f"/uma/resources/{resource_id}"
    description = {"_id": resource_id, "name": "[GET] /photo", "resource_scopes": ["read"], "type": "photo"}
    assert (await rs.get(path)).json() == description
    assert (await rs.get("/uma/resources")).json() == [resource_id]
    updated = await rs.request("PUT", path, json={"resource_scopes": ["read", "write"]})
    assert updated.status_code == 200
    assert updated.json() == {"_id": resource_id}
    assert (await rs.get(path)).json() == {"_id": resource_id, "resource_scopes": ["read", "write"]}
    deleted = await rs.request("DELETE", path)
    assert deleted.status_code == 204
    assert deleted.content == b""
    assert (await rs.get("/uma/resources")).json() == []
    for method in ("GET", "PUT", "DELETE"):
        gone = await rs.request(method, path, json={"resource_scopes": []})
        assert (gone.status_code, gone.json()["error"]) == (404, "not_found")


async def test_a_resource_is_its_owners_alone(op: Op, rs: ResourceServer) -> None:
    """Another resource server neither sees, changes nor asks tickets for a resource."""
    resource_id = await rs.register("read")
    other = await resource_server(op)
    assert (await other.get("/uma/resources")).json() == []
    assert (await other.get(f"/uma/resources/{resource_id}")).status_code == 404
    assert (await other.request("DELETE", f"/uma/resources/{resource_id}")).status_code == 404
    refused = await other.post("/uma/permissions", {"resource_id": resource_id, "resource_scopes": ["read"]})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_resource_id")
    assert (await rs.get("/uma/resources")).json() == [resource_id]


@pytest.mark.parametrize("as_text", [True, False])
async def test_an_expression_brings_its_scopes_along(rs: ResourceServer, as_text: bool) -> None:
    """A scope expression comes as JSON text or as an object; tickets can be had for all scopes of its data."""
    expression = json.dumps(EXPRESSION) if as_text else EXPRESSION
    created = await rs.post("/uma/resources", {"scope_expression": expression})
    assert created.status_code == 201
    wish = {"resource_id": created.json()["_id"], "resource_scopes": ["read", "internal"]}
    assert (await rs.post("/uma/permissions", wish)).status_code == 201


@pytest.mark.parametrize(
    "description",
    [
        {"resource_scopes": "read"},
        {"resource_scopes": [""]},
        {"resource_scopes": [1]},
        {"resource_scopes": ["x" * 3000]},
        {"name": "no scopes"},
        {"scope_expression": "{"},
        {"scope_expression": {"rule": {"cat": [1]}, "data": ["a"]}},
        {"scope_expression": {"rule": {"var": 7}, "data": ["a"]}},
        ["resource_scopes"],
        None,
    ],
)
async def test_a_wrong_description_registers_nothing(rs: ResourceServer, description: Any) -> None:
    """A description that breaks a rule gets invalid_request, and no resource is there afterwards."""
    answer = await rs.post("/uma/resources", description)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert (await rs.get("/uma/resources")).json() == []


@pytest.mark.parametrize("path", ["/uma/resources", "/uma/permissions"])
async def test_a_body_that_is_not_json_is_refused(rs: ResourceServer, path: str) -> None:
    """Junk instead of JSON gets invalid_request."""
    answer = await rs.request("POST", path, content=b"{]")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_one_ticket_for_one_or_many_permissions(rs: ResourceServer) -> None:
    """The permission endpoint takes an object as well as a list, and gives an unguessable ticket each time."""
    one, other = await rs.register("read"), await rs.register("write")
    wishes = [{"resource_id": one, "resource_scopes": ["read"]}, {"resource_id": other, "resource_scopes": ["write"]}]
    tickets = set()
    for body in (wishes[0], wishes):
        answer = await rs.post("/uma/permissions", body)
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json().keys() == {"ticket"}
        tickets.add(answer.json()["ticket"])
    assert len(tickets) == 2
    assert all(len(ticket) >= 43 for ticket in tickets)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"resource_id": "unknown"}, "invalid_resource_id"),
        ({"resource_id": None}, "invalid_request"),
        ({"resource_scopes": ["unknown"]}, "invalid_scope"),
        ({"resource_scopes": None}, "invalid_request"),
    ],
)
async def test_a_wrong_permission_gets_no_ticket(rs: ResourceServer, change: dict[str, Any], error: str) -> None:
    """One wrong permission spoils the whole request, with the error of the specification."""
    good = {"resource_id": await rs.register("read"), "resource_scopes": ["read"]}
    answer = await rs.post("/uma/permissions", [good, good | change])
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_an_empty_list_of_permissions_is_refused(rs: ResourceServer) -> None:
    """A ticket for nothing is not given."""
    answer = await rs.post("/uma/permissions", [])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer unknown"}, {"Authorization": "Basic eA=="}])
async def test_without_a_pat_nothing_goes(rs: ResourceServer, headers: dict[str, str]) -> None:
    """No PAT or an unknown one gets 401 with a challenge."""
    answer = await rs.op.http.get("/uma/resources", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_another_token_is_no_pat(op: Op, rs: ResourceServer) -> None:
    """An access token without uma_protection gets 403, an expired PAT 401."""
    tokens = await op.tokens(rs.client)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = await op.http.get("/uma/resources", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    op.time += 3601
    assert (await rs.get("/uma/resources")).status_code == 401


async def test_the_wrong_method_names_the_right_ones(rs: ResourceServer) -> None:
    """A method that an endpoint does not have gets 405."""
    answer = await rs.request("PATCH", "/uma/resources/x")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "PUT", "DELETE"}


@pytest.mark.parametrize("fault", UMA_FAULTS)
async def test_a_fault_of_the_authorization_server(rs: ResourceServer, fault: str) -> None:
    """Each fault spoils what it says, and is over when it is switched off."""
    rs.op.state.faults = {fault}
    if fault == "uma_hang":
        with trio.move_on_after(0.2) as scope:
            await rs.get("/uma/resources")
        assert scope.cancelled_caught
    else:
        expected = {"uma_pat_lost": 401, "uma_server_error": 500}[fault]
        assert (await rs.get("/uma/resources")).status_code == expected
        introspection = await rs.request("POST", "/introspect", data={"token": "x"})
        assert introspection.status_code == expected
    rs.op.state.faults = set()
    async with httpx2.AsyncClient(base_url=rs.op.issuer) as http:
        answer = await http.get("/uma/resources", headers=rs.headers)
    assert answer.status_code == 200
