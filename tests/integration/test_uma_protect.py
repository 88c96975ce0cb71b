"""`uma_rs_protect`: what is registered, what is refused before anything happens, and that it is all or nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from oxd_server.store import Site, StoreError
from oxd_server.store.base import ChangeSite
from tests.clock import NOW
from tests.integration.uma_as import (
    DELETE,
    DISCOVERY,
    LIST,
    PAT,
    READ,
    REGISTER,
    UPDATE,
    Fault,
    UmaServer,
    answer,
    error,
    fail,
    forget_resources,
    html,
    lose_pat,
)
from tests.integration.uma_services import OXD_ID, House, uma_house

EXPRESSION = {"rule": {"and": [{"var": 0}, {"var": 1}]}, "data": ["read", "write"]}
PHOTOS = [
    {
        "path": "/photo",
        "conditions": [
            {"httpMethods": ["GET"], "scopes": ["view"]},
            {"httpMethods": ["put", "POST"], "scopes": ["all", "add"], "ticketScopes": ["add"]},
        ],
    },
    {"path": "/document", "conditions": [{"httpMethods": ["GET"], "scope_expression": EXPRESSION}]},
]
NAMES = ["[GET] /document", "[GET] /photo", "[PUT, POST] /photo"]
OLD = [{"path": "/old", "conditions": [{"httpMethods": ["GET"], "scopes": ["view"]}]}]
OLD_NAMES = ["[GET] /old"]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with uma_house() as opened:
        yield opened


async def _protect(house: House, resources: list[dict[str, Any]] = PHOTOS, **params: Any) -> dict[str, Any]:
    return await house.call("uma_rs_protect", resources=resources, **params)


async def _in_agreement(house: House) -> list[str]:
    """The names of the protection, after asserting that the store and the authorization server have the same."""
    stored = await house.protected()
    registered = house.authorization_server.resources
    assert {one.id for one in stored} == set(registered)
    return sorted(str(registered[one.id]["name"]) for one in stored)


async def test_each_condition_is_registered(house: House) -> None:
    """A condition becomes a resource with a name, its scopes and, for an expression, that as JSON text."""
    assert await _protect(house) == {"oxd_id": OXD_ID}
    assert await _in_agreement(house) == NAMES
    registered = {one["name"]: one for one in house.authorization_server.resources.values()}
    assert registered["[GET] /photo"]["resource_scopes"] == ["view"]
    assert "scope_expression" not in registered["[GET] /photo"]
    assert registered["[PUT, POST] /photo"]["resource_scopes"] == ["all", "add"]
    assert registered["[GET] /document"]["resource_scopes"] == ["read", "write"]
    assert json.loads(registered["[GET] /document"]["scope_expression"]) == EXPRESSION
    assert house.requests() == [DISCOVERY, PAT, REGISTER, REGISTER, REGISTER]


async def test_a_second_time_needs_overwrite(house: House) -> None:
    """What is protected already stays as it is, and the authorization server is not asked."""
    await _protect(house, OLD)
    house.requests()
    assert (await _protect(house))["error"] == "uma_protection_exists"
    assert (await _protect(house, overwrite="false"))["error"] == "uma_protection_exists"
    assert house.requests() == []
    assert await _in_agreement(house) == OLD_NAMES


async def test_overwrite_replaces_everything(house: House) -> None:
    """With overwrite the new resources are there, under new ids, and the old ones are gone on both sides."""
    await _protect(house)
    before = await house.protected()
    assert await _protect(house, overwrite="true") == {"oxd_id": OXD_ID}
    assert await _in_agreement(house) == NAMES
    assert not {one.id for one in before} & {one.id for one in await house.protected()}
    assert await _protect(house, OLD, overwrite=True) == {"oxd_id": OXD_ID}
    assert await _in_agreement(house) == OLD_NAMES


async def test_overwrite_where_names_are_unique() -> None:
    """A server that wants names to be unique ends with the same names, too."""
    async with uma_house(unique_names=True) as house:
        await _protect(house)
        await _protect(house, overwrite=True)
        assert await _in_agreement(house) == NAMES
        assert house.requests().count(UPDATE) == 3


async def test_a_server_that_refuses_members_it_does_not_know() -> None:
    """A server that answers 400 to the description or the expression is told the name and the scopes alone."""

    def strict(server: Any) -> Any:
        return error(400, "unrecognized field")

    async with uma_house() as house:
        house.authorization_server.fault(REGISTER, strict, strict, None)
        assert await _protect(house) == {"oxd_id": OXD_ID}
        assert await _in_agreement(house) == NAMES
        members = {name for resource in house.authorization_server.resources.values() for name in resource}
        assert members == {"name", "resource_scopes"}


@pytest.mark.parametrize(
    ("resources", "code"),
    [
        ([], "invalid_uma_request"),
        (None, "invalid_uma_request"),
        ([{"path": "/q", "conditions": None}], "invalid_uma_request"),
        ([{"path": "", "conditions": []}], "invalid_request"),
        ([{"path": "/q", "conditions": [{"scopes": ["a"]}]}], "invalid_http_method"),
        ([{"path": "/q", "conditions": [{"httpMethods": ["", None], "scopes": ["a"]}]}], "invalid_http_method"),
        ([{"path": "/q", "conditions": [{"httpMethods": ["GET"]}]}], "invalid_request"),
        ([{"path": "/q", "conditions": [{"httpMethods": ["GET"], "scopes": [""]}]}], "invalid_request"),
        ([{"path": "/q", "conditions": [{"httpMethods": ["GET", "get"], "scopes": ["a"]}]}], "http_method_not_unique"),
        ([*PHOTOS, {"path": "/PHOTO", "conditions": [{"httpMethods": ["POST"], "scopes": ["a"]}]}],
         "http_method_not_unique"),
        ([*PHOTOS, {"path": "/q", "conditions": [{"httpMethods": ["GET"], "scope_expression": {"data": ["a"]}}]}],
         "invalid_scope_expression"),
        ([{"path": "/q", "conditions": [{"httpMethods": ["GET"], "scope_expression": "var 0"}]}],
         "invalid_scope_expression"),
        ([{"path": "/q", "conditions": [{"httpMethods": ["GET"],
           "scope_expression": {"rule": {"var": 1}, "data": ["a"]}}]}], "invalid_scope_expression"),
        ([{"path": "/q", "conditions": [{"httpMethods": ["GET"], "scopes": ["a"],
           "scope_expression": {"rule": {"cat": [{"var": 0}]}, "data": ["a"]}}]}], "invalid_scope_expression"),
    ],
)  # fmt: skip
async def test_bad_requests_change_nothing(house: House, resources: Any, code: str) -> None:
    """What can be seen to be wrong is refused before the authorization server is asked, overwrite or not."""
    await _protect(house, OLD)
    house.requests()
    assert (await _protect(house, resources, overwrite=True))["error"] == code
    assert house.requests() == []
    assert await _in_agreement(house) == OLD_NAMES


async def test_a_path_without_conditions_beside_others(house: House) -> None:
    """A library sends such a path: the others are protected, and the log says that this one is not."""
    assert await _protect(house, [*OLD, {"path": "/q", "conditions": None}]) == {"oxd_id": OXD_ID}
    assert await _in_agreement(house) == OLD_NAMES
    assert [entry["paths"] for entry in house.log] == [["/q"]]


SLOW = [pytest.param("hang", id="hang"), pytest.param("act and hang", id="act and hang")]
BROKEN: list[Any] = [fail, html, *SLOW]


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize(
    ("step", "good", "overwrite"),
    [(DISCOVERY, 0, False)]
    + [(step, good, old) for step, good in [(PAT, 0), *((REGISTER, n) for n in range(3))] for old in (False, True)],
)
async def test_a_failure_at_any_step_leaves_nothing_behind(
    step: str, good: int, fault: Fault | str, overwrite: bool
) -> None:
    """When the authorization server fails, nothing of the command stays, there or here; then it works."""
    async with uma_house(timeout=1.0) as house:
        server = house.authorization_server
        if overwrite:
            await _protect(house, OLD)
            house.clock.now += 3600
        server.fault(step, *[None] * good, fault)
        refused = await _protect(house, overwrite=overwrite)
        assert "error" in refused, refused
        assert await _in_agreement(house) == (OLD_NAMES if overwrite else [])
        assert await _protect(house, overwrite=overwrite) == {"oxd_id": OXD_ID}
        assert await _in_agreement(house) == NAMES


@pytest.mark.parametrize("good", [0, 1, 2])
async def test_a_lost_pat_registers_nothing_twice(house: House, good: int) -> None:
    """When the PAT is lost on the way, one request is repeated with a new one, and everything is there once."""
    house.authorization_server.fault(REGISTER, *[None] * good, lose_pat)
    assert await _protect(house) == {"oxd_id": OXD_ID}
    assert await _in_agreement(house) == NAMES
    assert house.requests().count(PAT) == 2


async def test_a_pat_that_is_lost_again_and_again(house: House) -> None:
    """A PAT that gets lost at every request fails the command, and taking back needs a new PAT, too."""
    house.authorization_server.fault(REGISTER, None, lose_pat, lose_pat)
    house.authorization_server.fault(DELETE, lose_pat)
    assert (await _protect(house))["error"] == "http_status_401"
    assert await _in_agreement(house) == []


@pytest.mark.parametrize("fault", [lose_pat, forget_resources])
@pytest.mark.parametrize("good", [0, 1])
async def test_taking_back_survives_a_server_that_forgets(house: House, good: int, fault: Fault) -> None:
    """A lost PAT or a resource that is gone already does not keep the others from being taken back."""
    house.authorization_server.fault(REGISTER, None, None, fail)
    house.authorization_server.fault(DELETE, *[None] * good, fault)
    assert (await _protect(house))["error"] == "http_status_500"
    assert await _in_agreement(house) == []


@pytest.mark.parametrize(
    ("step", "fault"),
    [(DELETE, fail), (DELETE, "hang"), (LIST, fail), (LIST, "hang"), (LIST, html), (READ, fail), (READ, "hang")],
)
async def test_what_cannot_be_taken_back_is_named_in_the_log(step: str, fault: Fault | str) -> None:
    """If taking back fails as well, the old protection stands and nothing refers to what stayed behind."""
    async with uma_house(timeout=1.0) as house:
        await _protect(house, OLD)
        house.authorization_server.fault(REGISTER, None, "act and hang")
        house.authorization_server.fault(step, fault)
        assert "error" in await _protect(house, overwrite=True)
        (stored,) = await house.protected()
        assert stored.path == "/old"
        assert stored.id in house.authorization_server.resources
        assert len(house.authorization_server.resources) > 1
        assert {entry["level"] for entry in house.log} == {"warning"}


@pytest.mark.parametrize("fault", [fail, "hang", "act and hang", lose_pat])
@pytest.mark.parametrize("good", [0, 1, 2])
async def test_old_resources_that_cannot_be_deleted_do_not_harm(good: int, fault: Fault | str) -> None:
    """The new protection is in force even if some of the old resources stay behind at the server."""
    async with uma_house(timeout=1.0) as house:
        await _protect(house)
        house.authorization_server.fault(DELETE, *[None] * good, fault)
        assert await _protect(house, OLD, overwrite=True) == {"oxd_id": OXD_ID}
        (stored,) = await house.protected()
        assert stored.path == "/old"
        assert stored.id in house.authorization_server.resources
        left = len(house.authorization_server.resources) - 1
        assert bool(house.log) is (fault != lose_pat)
        assert left == {"hang": 3 - good, "act and hang": 2 - good}.get(str(fault), 0 if fault == lose_pat else 1)


async def test_a_cancelled_command_is_taken_back(house: House) -> None:
    """When the caller's time is over in the middle, what was registered is deleted, the unanswered one included."""
    house.authorization_server.fault(REGISTER, None, "act and hang")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_protect, house)
        await house.authorization_server.hanging.wait()
        assert len(house.authorization_server.resources) == 2
        nursery.cancel_scope.cancel()
    assert await _in_agreement(house) == []


async def test_a_store_that_fails(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the change cannot be kept, everything that was registered for it is deleted again."""
    await _protect(house, OLD)

    async def change(oxd_id: str, change: ChangeSite) -> Site:
        raise StoreError("the disk is full")

    monkeypatch.setattr(house.store, "change", change)
    with pytest.raises(StoreError):
        await _protect(house, overwrite=True)
    assert await _in_agreement(house) == OLD_NAMES


async def test_a_site_that_is_removed_meanwhile(house: House) -> None:
    """When the site is removed while its resources are registered, they do not stay behind without it."""

    async def remove_it(_: UmaServer) -> None:
        await house.store.remove(OXD_ID)

    house.authorization_server.fault(REGISTER, None, remove_it)
    assert (await _protect(house))["error"] == "invalid_oxd_id"
    assert house.authorization_server.resources == {}


async def test_commands_for_one_site_come_one_after_the_other(house: House) -> None:
    """Of many that protect the same site at once one wins, and both sides have its resources alone."""
    results: list[dict[str, Any]] = []

    async def protect() -> None:
        results.append(await _protect(house))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(protect)
    assert sorted(result.get("error", "ok") for result in results) == ["ok"] + ["uma_protection_exists"] * 7
    assert await _in_agreement(house) == NAMES


async def test_no_uma_metadata(house: House) -> None:
    """An authorization server without UMA metadata is an error of its own."""
    house.authorization_server.fault(DISCOVERY, lambda _: answer(404, {}))
    assert (await _protect(house))["error"] == "no_uma_discovery_response"


async def test_dates_of_a_resource(house: House) -> None:
    """They are told to the authorization server, kept, told again at a change, and shown; no date is shown as none."""
    dated = [{**OLD[0], "iat": int(NOW), "exp": int(NOW) + 60}, {**OLD[0], "path": "/past", "exp": 1}]
    await _protect(house, dated)
    past, young = sorted(await house.protected(), key=lambda one: one.exp or 0)
    registered = house.authorization_server.resources
    assert (registered[young.id]["iat"], registered[young.id]["exp"]) == (int(NOW), int(NOW) + 60)
    assert "iat" not in registered[past.id]
    (line,) = house.log
    assert (line["event"], line["path"]) == ("resource_expired", "/past")
    await house.call("uma_rs_modify", path="/old", http_method="GET", scopes=["other"])
    assert registered[young.id]["resource_scopes"] == ["other"]
    assert registered[young.id]["exp"] == int(NOW) + 60
    node = (await house.call("get_rp"))["node"]
    shown = {one["path"]: one for one in node["uma_protected_resources"]}
    assert (shown["/old"]["exp"], shown["/past"]["exp"], "iat" in shown["/past"]) == (int(NOW) + 60, 1, False)
    assert (await house.call("uma_rs_check_access", path="/past", http_method="GET"))["access"] == "denied"


async def test_dates_that_the_server_refuses_are_named_in_the_log(house: House) -> None:
    """A server that knows the specified members only registers the resource without its dates."""
    refused = [lambda _: error(400, "unrecognized field")] * 2  # with the PAT, and with a new one
    house.authorization_server.fault(REGISTER, *refused, None)
    await _protect(house, [{**OLD[0], "exp": int(NOW) + 60}])
    assert [line["event"] for line in house.log] == ["resource_dates_without_effect"]
