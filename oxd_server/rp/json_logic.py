"""JsonLogic, as far as it is logic: the operators that decide, none that compute. Pure.

A rule is JSON: an object with one operator as its key and the arguments as its value, or any other value, which
stands for itself. The operators and what counts as true are those of the JsonLogic specification (jsonlogic.com).
Rules come from outside: bound their depth before they get here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

__all__ = ["OPERATORS", "UnknownOperator", "evaluate", "truthy"]


class UnknownOperator(ValueError):
    """The rule has an operator that is not among `OPERATORS`."""


def truthy(value: Any) -> bool:
    """Whether a value counts as true: not false, null, zero, "" or an empty list. "0" and objects count as true."""
    return isinstance(value, dict) or bool(value)


def evaluate(rule: Any, data: Any) -> Any:
    """The value of `rule` over `data`; both are JSON values.

    Raises `UnknownOperator`, in branches that are evaluated.
    """
    if isinstance(rule, list):
        return [evaluate(item, data) for item in rule]
    if not isinstance(rule, dict) or len(rule) != 1:
        return rule
    ((operator, arguments),) = rule.items()
    apply = OPERATORS.get(operator)
    if apply is None:
        raise UnknownOperator(f"{str(operator)[:50]!r} is not an operator")
    return apply(arguments if isinstance(arguments, list) else [arguments], data)


def _var(arguments: Sequence[Any], data: Any) -> Any:
    path, default, *_ = [*(evaluate(argument, data) for argument in arguments), None, None]
    value = data
    for step in [] if path in (None, "") else str(path).split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return default
    return default if value is None else value


def _and(arguments: Sequence[Any], data: Any) -> Any:
    value = None
    for argument in arguments:
        value = evaluate(argument, data)
        if not truthy(value):
            break
    return value


def _or(arguments: Sequence[Any], data: Any) -> Any:
    value = None
    for argument in arguments:
        value = evaluate(argument, data)
        if truthy(value):
            break
    return value


def _if(arguments: Sequence[Any], data: Any) -> Any:
    """Pairs of condition and value, then perhaps one value for "else"."""
    for condition, value in zip(arguments[::2], arguments[1::2], strict=False):
        if truthy(evaluate(condition, data)):
            return evaluate(value, data)
    return evaluate(arguments[-1], data) if len(arguments) % 2 else None


def _not(arguments: Sequence[Any], data: Any) -> bool:
    return not truthy(_first(arguments, data))


def _first(arguments: Sequence[Any], data: Any) -> Any:
    return evaluate(arguments[0], data) if arguments else None


def _compared(equal: Callable[[Any, Any], bool], expected: bool) -> Callable[[Sequence[Any], Any], bool]:
    def compare(arguments: Sequence[Any], data: Any) -> bool:
        left, right, *_ = [*(evaluate(argument, data) for argument in arguments), None, None]
        return equal(left, right) is expected

    return compare


def _strictly_equal(left: Any, right: Any) -> bool:
    """Same kind and same value. Numbers are one kind; two lists or objects are never the same one."""
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return False
    return _kind(left) is _kind(right) and bool(left == right)


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _loosely_equal(left: Any, right: Any) -> bool:
    """Texts and truth values are compared with numbers as numbers; null equals null alone."""
    if left is None or right is None or _kind(left) is _kind(right):
        return _strictly_equal(left, right)
    one, other = _number(left), _number(right)
    return one is not None and other is not None and one == other


def _number(value: Any) -> float | None:
    if isinstance(value, list | dict):
        return None
    if isinstance(value, str) and not value.strip():
        return 0.0
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


OPERATORS: Final[Mapping[str, Callable[[Sequence[Any], Any], Any]]] = {
    "var": _var,
    "and": _and,
    "or": _or,
    "!": _not,
    "!!": lambda arguments, data: truthy(_first(arguments, data)),
    "if": _if,
    "?:": _if,
    "==": _compared(_loosely_equal, True),
    "!=": _compared(_loosely_equal, False),
    "===": _compared(_strictly_equal, True),
    "!==": _compared(_strictly_equal, False),
}
