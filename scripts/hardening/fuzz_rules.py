"""Fuzz target: the scope expressions of UMA, which decide about access.

Whatever comes as an expression: it is refused with ``InvalidScopeExpression``, or it decides about every set of scopes
without an exception, and decides the same after a round through the store.
"""

from __future__ import annotations

import json
from typing import Any

from oxd_server.rp.json_logic import OPERATORS
from oxd_server.rp.uma_rules import InvalidScopeExpression, parse_scope_expression
from scripts.hardening.fuzz_input import Source

__all__ = ["DICTIONARY", "check", "seeds"]

DICTIONARY = [f'{{"{operator}":['.encode() for operator in OPERATORS] + [b'"rule":', b'"data":', b'{"var":0}']
_SCOPES = ("read", "write", "admin")
_EXPRESSIONS = (
    {"rule": {"and": [{"var": 0}, {"or": [{"var": 1}, {"var": 2}]}]}, "data": list(_SCOPES)},
    {"rule": {"!": [{"var": 0}]}, "data": ["read"]},
    {"rule": {"if": [{"var": 0}, {"var": 1}, True]}, "data": ["read", "write"]},
    {"rule": {"===": [{"var": 0}, {"!!": [{"var": 1}]}]}, "data": ["read", "write"]},
)


def seeds() -> list[bytes]:
    """Expressions as JSON, and bytes from which values are made."""
    return [b"\0" + json.dumps(expression).encode() for expression in _EXPRESSIONS] + [b"\1" + bytes(range(80))]


def check(data: bytes) -> None:
    """Run one input; anything raised is a finding."""
    source = Source(data)
    value: Any
    if source.byte() % 2:
        value = {"rule": source.value([*OPERATORS]), "data": [source.choose(_SCOPES) for _ in range(source.byte() % 4)]}
    else:
        value = source.rest().decode("utf-8", "replace")
    try:
        expression = parse_scope_expression(value)
    except InvalidScopeExpression:
        return
    again = parse_scope_expression(expression.as_text())
    for granted in (frozenset[str](), frozenset({"read"}), frozenset(_SCOPES), frozenset(expression.data)):
        assert again.allows(granted) is expression.allows(granted)
