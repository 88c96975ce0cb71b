"""`uma_rules`: which resource a request is for, what a valid scope expression is, and when access is granted."""

import json
from typing import Any

import pytest

from oxd_server.rp.uma_rules import (
    MAX_DEPTH,
    MAX_RULE_NODES,
    MAX_SCOPES,
    InvalidScopeExpression,
    Permission,
    find_resource,
    is_active,
    is_sufficient,
    parse_scope_expression,
    permissions_of,
    repeated_method,
    resource_name,
    ticket_scopes,
    usable_scopes,
)
from oxd_server.store.base import UmaResource

NOW = 1_800_000_000.0


def resource(path: str = "/photo", *methods: str, **values: Any) -> UmaResource:
    return UmaResource(**{"id": "r-1", "path": path, "http_methods": methods or ("GET",), **values})


def expression(rule: Any, *data: str) -> dict[str, Any]:
    return {"rule": rule, "data": list(data)}


def nested(depth: int) -> Any:
    rule: Any = {"var": 0}
    for _ in range(depth - 1):
        rule = {"!": [rule]}
    return rule


def test_resource_is_found_by_path_and_method_letter_case_aside() -> None:
    """Neither the path's nor the method's letter case matters."""
    photo = resource("/Photo", "PUT", "POST")
    assert find_resource([resource("/other"), photo], "/pHOTO", "post") is photo


@pytest.mark.parametrize(
    ("path", "method"),
    [("/photo/", "GET"), ("/photo/1", "GET"), ("/phot", "GET"), ("photo", "GET"), ("/photo?x=1", "GET"),
     ("//photo", "GET"), ("/%70hoto", "GET"), ("/photo", "POST"), ("/photo", "GETS"), ("/photo", "")],
)  # fmt: skip
def test_anything_else_is_another_resource(path: str, method: str) -> None:
    """A path matches as a whole and as it is spelt; a method, too."""
    assert find_resource([resource("/photo", "GET")], path, method) is None


def test_newest_resource_counts() -> None:
    """Of several for the same request the last one is meant."""
    newer = resource(scopes=("b",))
    assert find_resource([resource(scopes=("a",)), newer], "/photo", "GET") is newer


def test_methods_may_occur_once_per_path() -> None:
    """A method for which there are two conditions is reported, across resources and letter case."""
    apart = [resource("/photo", "GET"), resource("/photo", "PUT"), resource("/document", "GET")]
    assert repeated_method(apart) is None
    assert repeated_method([*apart, resource("/PHOTO", "get")]) == ("/PHOTO", "GET")
    assert repeated_method([resource("/a", "PUT", "PUT")]) == ("/a", "PUT")


def test_names_are_those_of_the_legacy_server() -> None:
    """Resources are named by their methods and path."""
    assert resource_name(("GET",), "/photo") == "[GET] /photo"
    assert resource_name(("PUT", "POST"), "/photo") == "[PUT, POST] /photo"


@pytest.mark.parametrize("index", [0, [0], "0", ["0"]])
def test_index_of_a_scope_may_be_written_in_four_ways(index: Any) -> None:
    """JsonLogic's spellings of an index mean the same."""
    parsed = parse_scope_expression(expression({"var": index}, "read"))
    assert parsed.allows(frozenset({"read"}))
    assert not parsed.allows(frozenset({"write"}))


def test_expression_may_come_as_text() -> None:
    """JSON text is read as its value, and written again as such."""
    text = json.dumps(expression({"or": [{"var": 0}, {"var": 1}]}, "read", "write"))
    assert parse_scope_expression(parse_scope_expression(text).as_text()) == parse_scope_expression(text)


def test_documented_expression() -> None:
    """(all or add) and internalClient: the example of the protocol's documents."""
    parsed = parse_scope_expression(
        expression({"and": [{"or": [{"var": 0}, {"var": 1}]}, {"var": 2}]}, "all", "add", "internalClient")
    )
    assert parsed.allows(frozenset({"add", "internalClient"}))
    assert parsed.allows(frozenset({"all", "internalClient", "another"}))
    assert not parsed.allows(frozenset({"all", "add"}))
    assert not parsed.allows(frozenset({"internalClient"}))


def test_empty_conjunction_is_valid_and_never_true() -> None:
    """A library sends `{"and": []}`: it is understood, and grants nothing."""
    assert not parse_scope_expression(expression({"and": []}, "read")).allows(frozenset({"read"}))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ([], "not an object"),
        ('"text"', "not an object"),
        ({}, "data is not"),
        ({"rule": {"var": 0}}, "data is not"),
        (expression({"var": 0}), "data is not"),
        ({"rule": {"var": 0}, "data": ["read", 7]}, "data is not"),
        ({"rule": {"var": 0}, "data": [""]}, "data is not"),
        ({"rule": {"var": 0}, "data": "read"}, "data is not"),
        ({"data": ["read"]}, "rule is not"),
        (expression(None, "read"), "rule is not"),
        (expression(True, "read"), "rule is not"),
        (expression([{"var": 0}], "read"), "rule is not"),
        (expression({}, "read"), "neither an operation"),
        (expression({"var": 0, "!": 1}, "read"), "neither an operation"),
        (expression({"or": ["read"]}, "read"), "neither an operation"),
        (expression({"or": [1]}, "read"), "neither an operation"),
        (expression({"or": [[{"var": 0}]]}, "read"), "neither an operation"),
        (expression({"==": [{"var": 0}, "true"]}, "read"), "neither an operation"),
        (expression({"+": [1, 1]}, "read"), "not among the operators"),
        (expression({"missing": ["read"]}, "read"), "not among the operators"),
        (expression({"and": [{"log": {"var": 0}}]}, "read"), "not among the operators"),
        (expression({"var": 1}, "read"), "index from 0 to 0"),
        (expression({"var": -1}, "read"), "index from 0 to 0"),
        (expression({"var": "read"}, "read"), "index from 0 to 0"),
        (expression({"var": "-0"}, "read"), "index from 0 to 0"),
        (expression({"var": ""}, "read"), "index from 0 to 0"),
        (expression({"var": None}, "read"), "index from 0 to 0"),
        (expression({"var": True}, "read", "write"), "index from 0 to 1"),
        (expression({"var": 0.0}, "read"), "index from 0 to 0"),
        (expression({"var": []}, "read"), "index from 0 to 0"),
        (expression({"var": [0, True]}, "read"), "index from 0 to 0"),
        (expression({"var": {"var": 0}}, "read"), "index from 0 to 0"),
        (expression({"or": [True, {"var": 9}]}, "read"), "index from 0 to 0"),
        (expression({"var": "9" * 5000}, "read"), "index from 0 to 0"),
        (expression(nested(MAX_DEPTH + 2), "read"), "deeper than"),
        (expression({"or": [{"var": 0}] * MAX_RULE_NODES}, "read"), "larger than"),
        (expression({"var": 0}, *map(str, range(MAX_SCOPES + 1))), "larger than"),
    ],
)
def test_invalid_expressions(value: Any, reason: str) -> None:
    """Whatever could be misunderstood is refused, with the reason."""
    with pytest.raises(InvalidScopeExpression, match=reason):
        parse_scope_expression(value)


def test_largest_valid_expression() -> None:
    """The bounds themselves are still valid."""
    parse_scope_expression(expression(nested(MAX_DEPTH), "read"))
    parse_scope_expression(expression({"or": [{"var": 99}] * (MAX_RULE_NODES - 1)}, *map(str, range(MAX_SCOPES))))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"resource_id": "r", "resource_scopes": ["a", "b"], "exp": 5}, Permission("r", ("a", "b"), 5)),
        ({"rsid": "r", "rsname": "photo", "scopes": ["a"]}, Permission("r", ("a",), None)),
        ({"resource_id": "r"}, Permission("r", (), None)),
        ({"resource_id": "r", "resource_scopes": "a b", "exp": None}, Permission("r", (), None)),
        ({"resource_id": "r", "resource_scopes": ["a", 7], "exp": "soon"}, Permission("r", ("a",), 0)),
        ({"resource_id": "r", "exp": True}, Permission("r", (), 0)),
    ],
)
def test_permissions_in_every_spelling(entry: dict[str, Any], expected: Permission) -> None:
    """The servers' ways to write a permission are read; a time that makes no sense has passed."""
    assert permissions_of({"permissions": [entry]}) == (expected,)


@pytest.mark.parametrize(
    "permissions", [None, {}, "all", [None, "r", 7, []], [{"scopes": ["a"]}], [{"resource_id": 7}, {"resource_id": ""}]]
)
def test_what_is_no_permission_is_left_out(permissions: Any) -> None:
    """Permissions without a resource, or of another shape, count for nothing."""
    assert permissions_of({"permissions": permissions}) == ()


@pytest.mark.parametrize(
    ("introspection", "active"),
    [
        ({"active": True}, True),
        ({"active": True, "exp": NOW + 1, "nbf": NOW}, True),
        ({"active": False}, False),
        ({"active": "true"}, False),
        ({}, False),
        ({"active": True, "exp": NOW}, False),
        ({"active": True, "exp": "never"}, False),
        ({"active": True, "nbf": NOW + 1}, False),
        ({"active": True, "nbf": "soon"}, False),
    ],
)
def test_an_rpt_is_active_within_its_own_times(introspection: dict[str, Any], active: bool) -> None:
    """What the server says about times counts even where it also says "active"."""
    assert is_active(introspection, NOW) is active


def test_scopes_are_those_of_the_live_permissions_for_this_resource() -> None:
    """Several permissions for the resource add up; expired ones and those of other resources do not count."""
    permissions = [
        {"resource_id": "r", "resource_scopes": ["a"]},
        {"resource_id": "r", "resource_scopes": ["b"], "exp": NOW + 1},
        {"resource_id": "r", "resource_scopes": ["c"], "exp": NOW},
        {"resource_id": "R", "resource_scopes": ["d"]},
    ]
    introspection = {"active": True, "permissions": permissions}
    assert usable_scopes(introspection, "r", NOW) == frozenset("ab")
    assert usable_scopes(introspection, "other", NOW) is None
    assert usable_scopes({**introspection, "active": False}, "r", NOW) is None


def test_any_plain_scope_is_enough() -> None:
    """One of the condition's scopes grants access; none of them does not."""
    guarded = resource(scopes=("read", "all"), ticket_scopes=("add",))
    assert is_sufficient(guarded, frozenset({"all", "more"}))
    assert not is_sufficient(guarded, frozenset({"add"}))
    assert not is_sufficient(guarded, frozenset())
    assert not is_sufficient(guarded, None)


def test_a_rule_that_is_true_without_scopes_still_needs_a_permission() -> None:
    """`not blocked` is true of somebody who has nothing at all: without a permission it grants nothing."""
    guarded = resource(scope_expression=json.dumps(expression({"!": [{"var": 0}]}, "blocked")))
    assert is_sufficient(guarded, frozenset())
    assert is_sufficient(guarded, frozenset({"read"}))
    assert not is_sufficient(guarded, frozenset({"blocked"}))
    assert not is_sufficient(guarded, None)


def test_the_expression_wins_over_plain_scopes() -> None:
    """Where there is an expression, the scopes beside it grant nothing."""
    guarded = resource(scopes=("read",), scope_expression=json.dumps(expression({"var": 0}, "write")))
    assert not is_sufficient(guarded, frozenset({"read"}))


def test_a_stored_expression_that_is_none_is_an_error() -> None:
    """Imported data that cannot be understood is neither yes nor no."""
    with pytest.raises(InvalidScopeExpression):
        is_sufficient(resource(scope_expression="{}"), frozenset({"read"}))


def test_ticket_scopes() -> None:
    """A ticket is asked for the ticketScopes, else for the scopes, else for all that the expression names, once."""
    data = json.dumps(expression({"var": 0}, "a", "b", "a"))
    assert ticket_scopes(resource(scopes=("read",), ticket_scopes=("add",))) == ("add",)
    assert ticket_scopes(resource(scopes=("read", "all"))) == ("read", "all")
    assert ticket_scopes(resource(scope_expression=data)) == ("a", "b")
    assert ticket_scopes(resource(scope_expression=data, ticket_scopes=("b",))) == ("b",)
