"""`json_logic` against JsonLogic's public list of tests (jsonlogic.com/tests.json), for the operators that are allowed.

`data/json_logic_tests.json` holds the entries `[rule, data, expected value]` of that list whose rules use these
operators alone, unchanged; entries that are no rules at all are among them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from oxd_server.rp.json_logic import OPERATORS, UnknownOperator, evaluate, truthy

CASES: list[Any] = json.loads((Path(__file__).parent / "data" / "json_logic_tests.json").read_text("utf-8"))


@pytest.mark.parametrize(("rule", "data", "expected"), CASES, ids=lambda value: json.dumps(value)[:60])
def test_public_list(rule: Any, data: Any, expected: Any) -> None:
    """Every entry of the public list gives the value that it asks for, of the same type."""
    value = evaluate(rule, data)
    assert value == expected
    assert type(value) is type(expected)


def test_public_list_is_there() -> None:
    """The list was not lost on the way, and every operator occurs in it."""
    used = {operator for rule, _, _ in CASES if isinstance(rule, dict) for operator in rule}
    assert len(CASES) == 121
    assert used >= set(OPERATORS)


@pytest.mark.parametrize(
    ("rule", "data", "expected"),
    [
        ({"and": []}, [], None),
        ({"or": []}, [], None),
        ({"!": []}, [], True),
        ({"!!": []}, [], False),
        ({"var": "-1"}, ["a", "b"], None),
        ({"var": [7, "default"]}, ["a"], "default"),
        ({"var": "a.b"}, {"a": 3}, None),
        ({"==": [None, False]}, None, False),
        ({"==": [None, None]}, None, True),
        ({"==": [True, 1]}, None, True),
        ({"===": [True, 1]}, None, False),
        ({"===": [1, 1.0]}, None, True),
        ({"==": ["", 0]}, None, True),
        ({"==": ["apple", 1]}, None, False),
        ({"==": [[1], [1]]}, None, False),
        ({"==": [[1], 1]}, None, False),
        ({"!=": [{"a": 1, "b": 2}, 1]}, None, True),
        ({"or": [{}, 1]}, None, {}),
        ([{"var": 0}, 2], [1], [1, 2]),
    ],
)
def test_corners(rule: Any, data: Any, expected: Any) -> None:
    """What the public list leaves open is decided as JavaScript would, or in favour of "no"."""
    assert evaluate(rule, data) == expected


def test_unknown_operators_are_refused() -> None:
    """An operator that computes is an error, not false and not true."""
    with pytest.raises(UnknownOperator, match=r"'\+' is not an operator"):
        evaluate({"and": [True, {"+": [1, 1]}]}, None)


@pytest.mark.parametrize("value", [False, None, 0, 0.0, "", []])
def test_what_counts_as_false(value: Any) -> None:
    """False, null, zero, empty texts and empty lists are false."""
    assert not truthy(value)


@pytest.mark.parametrize("value", [True, 1, -1, "0", "false", [0], {}])
def test_what_counts_as_true(value: Any) -> None:
    """Everything else is true, the text "0" and an empty object included."""
    assert truthy(value)
