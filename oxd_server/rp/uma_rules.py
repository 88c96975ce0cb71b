"""The rules of a UMA resource server: which resource a request is for, and whether the granted scopes are enough. Pure.

Two kinds of requirement: plain scopes, any of which is enough, and a scope expression, a JsonLogic rule over scopes:
`{"rule": {"and": [{"var": 0}, {"var": 1}]}, "data": ["read", "internal"]}`, where `{"var": i}` is whether the i-th
scope of `data` was granted. Where something cannot be read for certain, the answer is "no".

Specifications: UMA 2.0 Grant, Federated Authorization for UMA 2.0 (here FedAuthz), RFC 7662, JsonLogic.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from oxd_protocol.dates import read_date
from oxd_server.rp.json_logic import OPERATORS, evaluate, truthy

__all__ = [
    "Conditional",
    "InvalidScopeExpression",
    "Permission",
    "ScopeExpression",
    "find_resource",
    "is_active",
    "is_sufficient",
    "normalized_method",
    "parse_scope_expression",
    "permissions_of",
    "repeated_method",
    "resource_name",
    "ticket_scopes",
    "usable_scopes",
]

MAX_DEPTH: Final = 20
MAX_SCOPES: Final = 100
MAX_RULE_NODES: Final = 500


class InvalidScopeExpression(ValueError):
    """The scope expression breaks a rule; the text says which."""


class Conditional(Protocol):
    """One condition of a protected path, as it is stored; `scope_expression` is JSON text."""

    @property
    def path(self) -> str:
        """The path of the application that is protected."""

    @property
    def http_methods(self) -> Sequence[str]:
        """The methods that the condition covers."""

    @property
    def scopes(self) -> Sequence[str]:
        """The scopes of which an RPT needs one."""

    @property
    def ticket_scopes(self) -> Sequence[str]:
        """The scopes to ask for with a ticket; empty: those of the condition or its expression."""

    @property
    def scope_expression(self) -> str | None:
        """The rule in JSON text that stands in place of `scopes`."""


C = TypeVar("C", bound=Conditional)


def find_resource(resources: Sequence[C], path: str, http_method: str) -> C | None:
    """The condition for a request, None if there is none.

    The path matches exactly, letter case aside, and so does the method; of several, the newest (last) one counts.
    """
    wanted_path, wanted_method = path.lower(), normalized_method(http_method)
    for resource in reversed(resources):
        methods = (normalized_method(method) for method in resource.http_methods)
        if resource.path.lower() == wanted_path and wanted_method in methods:
            return resource
    return None


def normalized_method(http_method: str) -> str:
    """The spelling of a method that is compared."""
    return http_method.strip().upper()


def repeated_method(conditions: Iterable[Conditional]) -> tuple[str, str] | None:
    """The first path and method that more than one condition (or one of them twice) is for."""
    seen = set()
    for condition in conditions:
        for method in condition.http_methods:
            key = condition.path.lower(), normalized_method(method)
            if key in seen:
                return condition.path, key[1]
            seen.add(key)
    return None


def resource_name(http_methods: Sequence[str], path: str) -> str:
    """The name of a resource at the authorization server, such as `[PUT, POST] /photo`."""
    return f"[{', '.join(http_methods)}] {path}"


class ScopeExpression(msgspec.Struct, frozen=True):
    """A valid scope expression: a JsonLogic rule over `data`."""

    rule: Mapping[str, Any]
    data: tuple[str, ...]

    def allows(self, scopes: frozenset[str]) -> bool:
        """Whether the rule is true when exactly `scopes` are granted."""
        return truthy(evaluate(self.rule, [scope in scopes for scope in self.data]))

    def as_text(self) -> str:
        """The expression as JSON text."""
        return json.dumps({"rule": self.rule, "data": self.data}, separators=(",", ":"))


def parse_scope_expression(value: Any) -> ScopeExpression:
    """Read a scope expression: a JSON object, or its text.

    Raises `InvalidScopeExpression` unless there are a rule of logic operators alone and a list of scopes, and every
    index of the rule is within that list; and for one that is too large.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidScopeExpression("it is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidScopeExpression('it is not an object with "rule" and "data"')
    data, rule = value.get("data"), value.get("rule")
    if not isinstance(data, list) or not data or not all(isinstance(scope, str) and scope for scope in data):
        raise InvalidScopeExpression("data is not a list of scopes")
    if not isinstance(rule, dict):
        raise InvalidScopeExpression("rule is not a JsonLogic rule")
    if len(data) > MAX_SCOPES or sum(1 for _ in _checked_nodes(rule, len(data), MAX_DEPTH)) > MAX_RULE_NODES:
        raise InvalidScopeExpression(f"it is larger than {MAX_SCOPES} scopes or {MAX_RULE_NODES} parts of a rule")
    return ScopeExpression(rule, tuple(data))


def _checked_nodes(rule: Any, scopes: int, depth: int) -> Iterator[Any]:
    """Walk a rule and yield its parts.

    Texts and numbers are refused although JsonLogic has them: they count as true, so that a scope's name in the place
    of its index would grant access to everyone.
    """
    yield rule
    if rule is None or isinstance(rule, bool):
        return
    if not isinstance(rule, dict) or len(rule) != 1:
        raise InvalidScopeExpression("rule has a part that is neither an operation nor true, false or null")
    if not depth:
        raise InvalidScopeExpression(f"rule is nested deeper than {MAX_DEPTH} levels")
    ((operator, arguments),) = rule.items()
    if operator not in OPERATORS:
        raise InvalidScopeExpression(f"{operator[:50]!r} is not among the operators {', '.join(OPERATORS)}")
    if operator == "var":
        _check_index(arguments, scopes)
        return
    for argument in arguments if isinstance(arguments, list) else [arguments]:
        yield from _checked_nodes(argument, scopes, depth - 1)


def _check_index(argument: Any, scopes: int) -> None:
    """`{"var": 0}`; JsonLogic allows `[0]`, `"0"` and `["0"]` for that, too."""
    if isinstance(argument, list) and len(argument) == 1:
        (argument,) = argument
    if isinstance(argument, str) and argument.isascii() and argument.isdecimal() and len(argument) <= len(str(scopes)):
        argument = int(argument)
    if isinstance(argument, bool) or not isinstance(argument, int) or not 0 <= argument < scopes:
        raise InvalidScopeExpression(f"a var is not an index from 0 to {scopes - 1}")


class Permission(msgspec.Struct, frozen=True):
    """What an RPT may do with one resource; `exp` in seconds since 1970, None: as long as the RPT is active."""

    resource_id: str
    scopes: tuple[str, ...]
    exp: int | None


def permissions_of(introspection: Mapping[str, Any]) -> tuple[Permission, ...]:
    """The permissions in an introspection answer (FedAuthz section 5.1.1), as the servers spell them.

    Entries without a resource are left out. A time that cannot be read counts as past.
    """
    entries = introspection.get("permissions")
    found = (_permission(entry) for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()
    return tuple(permission for permission in found if permission is not None)


def _permission(entry: Mapping[str, Any]) -> Permission | None:
    resource_id = entry.get("resource_id", entry.get("rsid"))
    scopes = entry.get("resource_scopes", entry.get("scopes"))
    exp = entry.get("exp")
    if not isinstance(resource_id, str) or not resource_id:
        return None
    texts = tuple(scope for scope in scopes if isinstance(scope, str)) if isinstance(scopes, list) else ()
    return Permission(resource_id, texts, None if exp is None else read_date(exp) or 0)


def is_active(introspection: Mapping[str, Any], now: float) -> bool:
    """Whether the RPT is good now: active, and by its own times neither expired nor to come (RFC 7662 section 2.2)."""
    exp, nbf = introspection.get("exp"), introspection.get("nbf")
    if introspection.get("active") is not True or (exp is not None and now >= (read_date(exp) or 0)):
        return False
    return nbf is None or ((begins := read_date(nbf)) is not None and begins <= now)


def usable_scopes(introspection: Mapping[str, Any], resource_id: str, now: float) -> frozenset[str] | None:
    """The scopes that the RPT has for this very resource; None if it has no permission for it that is still good."""
    if not is_active(introspection, now):
        return None
    usable = [
        permission
        for permission in permissions_of(introspection)
        if permission.resource_id == resource_id and (permission.exp is None or now < permission.exp)
    ]
    return frozenset(scope for permission in usable for scope in permission.scopes) if usable else None


def is_sufficient(resource: Conditional, scopes: frozenset[str] | None) -> bool:
    """Whether access is granted with these scopes; None means that there is no permission at all.

    Raises `InvalidScopeExpression` if the stored expression is none.
    """
    if resource.scope_expression is not None:
        expression = parse_scope_expression(resource.scope_expression)
        return scopes is not None and expression.allows(scopes)
    return scopes is not None and not scopes.isdisjoint(resource.scopes)


def ticket_scopes(resource: Conditional) -> tuple[str, ...]:
    """The scopes to ask a ticket for: the condition's own choice, else all that the requirement names."""
    if resource.ticket_scopes:
        return tuple(resource.ticket_scopes)
    if resource.scope_expression is not None:
        return tuple(dict.fromkeys(parse_scope_expression(resource.scope_expression).data))
    return tuple(resource.scopes)
