"""Any scope expression, any granted scopes: the decision is that of the rule, and stays within the resource."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oxd_server.rp.uma_rules import (
    InvalidScopeExpression,
    find_resource,
    is_sufficient,
    parse_scope_expression,
    permissions_of,
    usable_scopes,
)
from oxd_server.store.base import UmaResource

pytestmark = pytest.mark.hardening

NOW = 1_800_000_000
SCOPES = ["a", "b", "c", "d"]

indexes = st.integers(0, len(SCOPES) - 1)
leaves = st.one_of(indexes.map(lambda i: {"var": i}), st.booleans(), st.none())
rules = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda op, args: {op: args}, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=4)),
        st.builds(lambda op, arg: {op: [arg]}, st.sampled_from(["!", "!!"]), inner),
        st.builds(lambda op, args: {op: args}, st.sampled_from(["if", "?:"]), st.lists(inner, min_size=3, max_size=3)),
        st.builds(lambda op, one, other: {op: [one, other]}, st.sampled_from(["==", "!=", "===", "!=="]), inner, inner),
    ),
    max_leaves=12,
).filter(lambda rule: isinstance(rule, dict))
scope_sets = st.sets(st.sampled_from([*SCOPES, "e"])).map(frozenset)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def directly(rule: Any, scopes: frozenset[str]) -> bool | None:
    """The rule's value, computed with Python's own operators: every part is true, false or None."""
    if not isinstance(rule, dict):
        assert rule is None or isinstance(rule, bool)
        return rule
    ((operator, arguments),) = rule.items()
    if operator == "var":
        return SCOPES[arguments] in scopes
    values = [directly(argument, scopes) for argument in arguments]
    match operator:
        case "and":
            return next((value for value in values if not value), values[-1])
        case "or":
            return next((value for value in values if value), values[-1])
        case "!":
            return not values[0]
        case "!!":
            return bool(values[0])
        case "if" | "?:":
            return values[1] if values[0] else values[2]
        case "==" | "===":
            return values[0] is values[1]
    return values[0] is not values[1]


@given(rules, scope_sets)
def test_decision_is_the_rules_own(rule: dict[str, Any], scopes: frozenset[str]) -> None:
    """With a permission for the resource, access is granted exactly if the rule is true of its scopes."""
    text = json.dumps({"rule": rule, "data": SCOPES})
    resource = UmaResource(id="r", path="/p", scope_expression=text)
    assert is_sufficient(resource, scopes) is bool(directly(rule, scopes))


permissions = st.lists(
    st.fixed_dictionaries(
        {
            "resource_id": st.sampled_from(["r", "other", "R", "r "]),
            "resource_scopes": st.lists(st.sampled_from(SCOPES), max_size=4),
        },
        optional={"exp": st.integers(NOW - 2, NOW + 2)},
    ),
    max_size=5,
)


@given(rules, permissions)
def test_access_never_comes_from_another_resource(rule: dict[str, Any], granted: list[dict[str, Any]]) -> None:
    """Taking away every permission that is not for the resource, or has expired, changes no decision."""
    resource = UmaResource(id="r", path="/p", scope_expression=json.dumps({"rule": rule, "data": SCOPES}))
    own = [one for one in granted if one["resource_id"] == "r" and one.get("exp", NOW + 1) > NOW]
    decision = is_sufficient(resource, usable_scopes({"active": True, "permissions": granted}, "r", NOW))
    assert decision is is_sufficient(resource, usable_scopes({"active": True, "permissions": own}, "r", NOW))
    if not own:
        assert decision is False


@given(st.lists(st.sampled_from(SCOPES), min_size=1), permissions)
def test_plain_scopes_are_any_of_them(scopes: list[str], granted: list[dict[str, Any]]) -> None:
    """Plain scopes grant access exactly if a live permission for the resource has one of them."""
    resource = UmaResource(id="r", path="/p", scopes=tuple(scopes))
    live = [one for one in granted if one["resource_id"] == "r" and one.get("exp", NOW + 1) > NOW]
    expected = any(set(one["resource_scopes"]) & set(scopes) for one in live)
    assert is_sufficient(resource, usable_scopes({"active": True, "permissions": granted}, "r", NOW)) is expected


@given(json_values)
@example({"rule": {"var": {"a": []}}, "data": ["x"]})
def test_any_value_is_an_expression_or_refused(value: Any) -> None:
    """No JSON value makes the reader fail in another way than by refusing it."""
    for candidate in (value, {"rule": value, "data": SCOPES}, {"rule": {"and": [value]}, "data": SCOPES}):
        try:
            parsed = parse_scope_expression(candidate)
        except InvalidScopeExpression:
            continue
        assert parsed.allows(frozenset()) in (True, False)


@given(json_values, json_values, json_values)
def test_any_answer_is_read_without_failing(active: Any, exp: Any, entries: Any) -> None:
    """An introspection answer of any shape gives permissions or none, and never access by mistake."""
    answer = {"active": active, "exp": exp, "permissions": entries}
    assert isinstance(permissions_of(answer), tuple)
    assert usable_scopes(answer, "no such resource", NOW) is None


@given(st.text(max_size=8), st.text(max_size=8))
def test_only_the_spelt_path_matches(path: str, other: str) -> None:
    """Two paths match only if they are equal but for letter case."""
    found = find_resource([UmaResource(id="r", path=path, http_methods=("GET",))], other, "get")
    assert (found is not None) is (path.lower() == other.lower())


def test_direct_evaluation_knows_its_operators() -> None:
    """The other evaluator of these tests is right about a few rules that a person can check."""
    rule = {"and": [{"or": [{"var": 0}, {"var": 1}]}, {"!": [{"var": 2}]}]}
    assert directly(rule, frozenset("a")) is True
    assert directly(rule, frozenset("ac")) is False
    with pytest.raises(AssertionError):
        directly("a", frozenset())
