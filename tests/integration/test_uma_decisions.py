"""`uma_rs_check_access`: who gets in, and what those who do not get are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from oxd_server.store import Site
from tests.clock import NOW
from tests.integration.uma_as import (
    INTROSPECT,
    PAT,
    TICKET,
    Fault,
    answer,
    error,
    fail,
    forget_resources,
    html,
    lose_pat,
)
from tests.integration.uma_services import OXD_ID, House, uma_house

AND = {"rule": {"and": [{"var": 0}, {"var": 1}]}, "data": ["read", "write"]}
OR = {"rule": {"or": [{"var": 0}, {"var": 1}]}, "data": ["read", "write"]}
NOT = {"rule": {"!": [{"var": 0}]}, "data": ["read", "write"]}
REQUIREMENTS: dict[str, dict[str, Any]] = {
    "plain": {"scopes": ["read", "write"]},
    "and": {"scope_expression": AND},
    "or": {"scope_expression": OR},
    "not": {"scope_expression": NOT},
}


def _permission(resource_id: str, *scopes: str, **members: Any) -> dict[str, Any]:
    return {"resource_id": resource_id, "resource_scopes": list(scopes), **members}


# What an RPT is like, given the id of the resource; None: there is no RPT at all.
RPTS: dict[str, Callable[[str], dict[str, Any]] | None] = {
    "no RPT": None,
    "inactive": lambda _: {"active": False},
    "inactive with permissions": lambda r: {"active": False, "permissions": [_permission(r, "read", "write")]},
    "expired": lambda r: {"active": True, "exp": NOW - 1, "permissions": [_permission(r, "read", "write")]},
    "other resource": lambda r: {"active": True, "permissions": [_permission(r + "0", "read", "write")]},
    "expired permission": lambda r: {"active": True, "permissions": [_permission(r, "read", "write", exp=NOW - 1)]},
    "no permissions": lambda _: {"active": True},
    "no scopes": lambda r: {"active": True, "permissions": [_permission(r)]},
    "unknown scope": lambda r: {"active": True, "permissions": [_permission(r, "READ")]},
    "first scope": lambda r: {"active": True, "exp": NOW + 9, "permissions": [_permission(r, "read", exp=NOW + 1)]},
    "second scope": lambda r: {"active": True, "permissions": [_permission(r, "write")]},
    "all scopes": lambda r: {"active": True, "permissions": [_permission(r, "read", "write")]},
    "all scopes in two": lambda r: {"active": True, "permissions": [_permission(r, "read"), _permission(r, "write")]},
    "all, other spelling": lambda r: {"active": True, "permissions": [{"rsid": r, "scopes": ["read", "write"]}]},
}
GRANTED = {
    "no scopes": {"not"},
    "unknown scope": {"not"},
    "first scope": {"plain", "or"},
    "second scope": {"plain", "or", "not"},
    "all scopes": {"plain", "and", "or"},
    "all scopes in two": {"plain", "and", "or"},
    "all, other spelling": {"plain", "and", "or"},
}


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with uma_house() as opened:
        yield opened


async def _protect(house: House, **condition: Any) -> str:
    """Protect GET /photo and return the resource's id."""
    conditions = [{"httpMethods": ["GET"], **(condition or REQUIREMENTS["plain"])}]
    assert "error" not in await house.call("uma_rs_protect", resources=[{"path": "/photo", "conditions": conditions}])
    house.requests()
    return (await house.protected())[0].id


async def _check(house: House, **params: Any) -> dict[str, Any]:
    return await house.call("uma_rs_check_access", **{"path": "/photo", "http_method": "GET", **params})


@pytest.mark.parametrize("requirement", REQUIREMENTS)
async def test_decision_table(house: House, requirement: str) -> None:
    """Every kind of RPT against every kind of requirement gets exactly the expected decision."""
    resource_id = await _protect(house, **REQUIREMENTS[requirement])
    for name, make in RPTS.items():
        rpt = None
        if make is not None:
            rpt = house.authorization_server.issue_rpt()
            house.authorization_server.rpts[rpt] = make(resource_id)
        decision = await _check(house, rpt=rpt)
        expected = requirement in GRANTED.get(name, ())
        assert decision["access"] == ("granted" if expected else "denied"), name
        assert decision.keys() == ({"access"} if expected else {"access", "ticket", "www-authenticate_header"}), name
        asked = house.requests()
        assert asked == ([INTROSPECT] if rpt else []) + ([] if expected else [TICKET]), name


async def test_header_to_the_letter(house: House) -> None:
    """The header has these parts in this order, and the ticket is the same as beside it."""
    await _protect(house)
    denied = await _check(house)
    base, ticket = house.authorization_server.base, denied["ticket"]
    assert denied["www-authenticate_header"] == (
        f'UMA realm="rs",as_uri="{base}",error="insufficient_scope",ticket="{ticket}"'
    )


@pytest.mark.parametrize(
    ("condition", "scopes"),
    [
        ({"scopes": ["a", "b"]}, ["a", "b"]),
        ({"scopes": ["a", "b"], "ticketScopes": ["b"]}, ["b"]),
        ({"scopes": ["a"], "ticketScopes": ["c"]}, ["c"]),
        ({"scope_expression": AND}, ["read", "write"]),
        ({"scope_expression": NOT, "ticketScopes": ["read"]}, ["read"]),
    ],
)
async def test_ticket_is_for_the_resource_and_its_scopes(
    house: House, condition: dict[str, Any], scopes: list[str]
) -> None:
    """A ticket is asked for the ticketScopes, else for the scopes, else for everything in the expression."""
    resource_id = await _protect(house, **condition)
    ticket = (await _check(house))["ticket"]
    assert house.authorization_server.tickets[ticket] == {"resource_id": resource_id, "resource_scopes": scopes}


@pytest.mark.parametrize(("path", "method"), [("/PHOTO", "get"), ("/photo", "Get")])
async def test_letter_case_of_path_and_method_does_not_matter(house: House, path: str, method: str) -> None:
    """The same resource is meant in any letter case."""
    await _protect(house)
    assert (await _check(house, path=path, http_method=method))["access"] == "denied"


@pytest.mark.parametrize(("path", "method"), [("/photo/", "GET"), ("/photos", "GET"), ("/photo", "POST")])
async def test_unprotected_resource(house: House, path: str, method: str) -> None:
    """What is not protected is an error that says so, and the authorization server is not asked."""
    await _protect(house)
    refused = await _check(house, path=path, http_method=method, rpt="anything")
    assert refused["error"] == "invalid_request"
    assert refused["description"].startswith("Resource is not protected. ")
    assert house.requests() == []


async def test_no_decision_is_kept(house: House) -> None:
    """An RPT that is revoked between two requests does not get in the second time."""
    server, resource_id = house.authorization_server, await _protect(house)
    rpt = server.issue_rpt(_permission(resource_id, "read"))
    assert (await _check(house, rpt=rpt))["access"] == "granted"
    server.rpts[rpt]["active"] = False
    assert (await _check(house, rpt=rpt))["access"] == "denied"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (fail, "http_status_500"),
        (html, "op_invalid_response"),
        ("hang", "op_unreachable"),
        ("act and hang", "op_unreachable"),
        (lambda _: answer(200, {"active": "yes"}), "op_invalid_response"),
        (lambda _: answer(200, {}), "op_invalid_response"),
    ],
)
async def test_an_rpt_that_cannot_be_introspected_is_an_error(fault: Fault | str, code: str) -> None:
    """If the server cannot say what an RPT is good for, nothing is granted and nothing is assumed."""
    async with uma_house(timeout=1.0) as house:
        rpt = house.authorization_server.issue_rpt(_permission(await _protect(house), "read"))
        house.authorization_server.fault(INTROSPECT, fault)
        assert (await _check(house, rpt=rpt))["error"] == code
        assert (await _check(house, rpt=rpt))["access"] == "granted"


@pytest.mark.parametrize("step", [INTROSPECT, TICKET])
async def test_a_lost_pat_is_renewed_once(house: House, step: str) -> None:
    """A server that forgot the PAT gets asked for another one, and the decision is the same."""
    server, resource_id = house.authorization_server, await _protect(house)
    good, bad = server.issue_rpt(_permission(resource_id, "read")), server.issue_rpt()
    server.fault(step, lose_pat)
    assert (await _check(house, rpt=good if step == INTROSPECT else bad))["access"] == (
        "granted" if step == INTROSPECT else "denied"
    )
    assert house.requests().count(PAT) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_pat_that_is_refused_again_is_not_renewed_again(house: House, status: int) -> None:
    """After one renewal the refusal stands: an error for the RPT."""
    server = house.authorization_server
    await _protect(house)
    server.fault(INTROSPECT, *[lambda _: error(status, "no")] * 2)
    refused = await _check(house, rpt=server.issue_rpt())
    assert refused["error"] == f"http_status_{status}"
    assert refused["details"] == {"error": "no"}
    assert [step for step in house.requests() if step in (PAT, INTROSPECT)] == [INTROSPECT, PAT, INTROSPECT]


@pytest.mark.parametrize(
    "fault",
    [fail, html, "hang", forget_resources, lambda _: error(401, "no"), lambda _: answer(201, {"ticket": 'a"b'})],
)
async def test_denied_without_a_ticket(fault: Fault | str) -> None:
    """If no ticket can be had, even with a new PAT, access is denied without one, and the log says why."""
    async with uma_house(timeout=1.0) as house:
        await _protect(house)
        house.authorization_server.fault(TICKET, fault, fault)
        assert await _check(house) == {"access": "denied"}
        assert [entry["event"] for entry in house.log if entry["level"] == "error"] == ["ticket_unavailable"]


async def test_denied_without_a_ticket_while_no_pat_can_be_had(house: House) -> None:
    """An authorization server that gives no PAT cannot give a ticket either."""
    await _protect(house)
    house.clock.now += 3600
    house.authorization_server.fault(PAT, fail)
    assert await _check(house) == {"access": "denied"}


async def test_imported_expression_that_is_none(house: House) -> None:
    """A stored expression that makes no sense is an error, whatever the RPT."""
    resource_id = await _protect(house)
    broken = json.dumps({"rule": {"var": 7}, "data": ["read"]})

    def break_it(site: Site) -> Site:
        resources = tuple(replace(one, scope_expression=broken) for one in site.uma_protected_resources)
        return replace(site, uma_protected_resources=resources)

    await house.store.change(OXD_ID, break_it)
    rpt = house.authorization_server.issue_rpt(_permission(resource_id, "read"))
    assert (await _check(house, rpt=rpt))["error"] == "invalid_scope_expression"
    assert (await _check(house))["error"] == "invalid_scope_expression"


LISTS_CLIENT_AUTHENTICATION = {"introspection_endpoint_auth_methods_supported": ["client_secret_basic"]}


async def test_a_server_that_wants_the_client_to_introspect() -> None:
    """Where the metadata says that the endpoint takes no bearer token, the client authenticates there."""
    async with uma_house(metadata=LISTS_CLIENT_AUTHENTICATION) as house:
        rpt = house.authorization_server.issue_rpt(_permission(await _protect(house), "read"))
        house.authorization_server.pats.clear()
        assert (await _check(house, rpt=rpt))["access"] == "granted"
        assert house.requests() == [INTROSPECT]


async def test_a_server_that_says_so_in_its_openid_metadata_only(house: House) -> None:
    """After a refusal the OpenID Connect metadata is looked at; from then on the PAT is not tried in vain."""
    server = house.authorization_server
    rpt = server.issue_rpt(_permission(await _protect(house), "read"))
    server.openid_metadata = LISTS_CLIENT_AUTHENTICATION
    server.refuse_pat_at_introspection = True
    assert (await _check(house, rpt=rpt))["access"] == "granted"
    house.requests()
    assert (await _check(house, rpt=rpt))["access"] == "granted"
    assert house.requests() == [INTROSPECT]
