"""Every event of the log has one name, in one style, in the list of events and on the page of the log."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from oxd_server.log.events import EVENTS, LISTENING, table

ROOT = Path(__file__).parents[2]
METHODS = ("debug", "info", "warning", "error", "exception", "critical", "log")


def log_calls(source: str) -> Iterator[tuple[str, str | None, int]]:
    """Yield method, event and line of every call on a logger; None for an event that is no constant."""
    tree = ast.parse(source)
    constants = {
        ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0]): node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
    }
    constants |= {"LISTENING": LISTENING, "REPEATED": "repeated"}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            continue
        if not re.search(r"(?:^|[._])log$|get_logger\(", ast.unparse(node.func.value)):
            continue
        event = node.args[1 if node.func.attr == "log" else 0]
        value = event.value if isinstance(event, ast.Constant) else constants.get(ast.unparse(event))
        yield node.func.attr, value if isinstance(value, str) else None, node.lineno


def all_calls() -> list[tuple[str, str, str | None]]:
    """Return place, method and event of every line that the server logs."""
    return [
        (f"{path.relative_to(ROOT)}:{line}", method, event)
        for path in sorted((ROOT / "oxd_server").rglob("*.py"))
        for method, event, line in log_calls(path.read_text("utf-8"))
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("self._log.info('a', b=1)", ("info", "a")),
        ("services.log.warning(text)", ("warning", None)),
        ("NAME: Final = 'n'\nlog.error(NAME)", ("error", "n")),
        ("structlog.get_logger('x').info(f'{a}')", ("info", None)),
        ("log.log(20, 'a')", ("log", "a")),
    ],
)
def test_calls_are_found(source: str, found: tuple[str, str | None]) -> None:
    """In every form, also those that the tests below forbid."""
    assert [call[:2] for call in log_calls(source)] == [found]


def test_every_line_has_a_listed_event() -> None:
    """Add the event to oxd_server/log/events.py; a sentence for people goes into `message`."""
    broken = [
        (place, method, event)
        for place, method, event in all_calls()
        if event not in EVENTS or method not in (*EVENTS[event].levels.split(" or "), "log")
    ]
    assert broken == []


def test_every_listed_event_is_logged() -> None:
    """An event that nothing logs any more is a name that was left behind."""
    assert set(EVENTS) - {event for _, _, event in all_calls()} == {"command"}  # a line of its own making


def test_events_are_names() -> None:
    """In snake_case, but for the words that init scripts wait for."""
    assert [name for name in EVENTS if not re.fullmatch(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*", name)] == [LISTENING]


def test_the_page_has_the_table() -> None:
    """docs/reference/logging.md lists the events as the code does."""
    assert "\n".join(table()) in (ROOT / "docs/reference/logging.md").read_text("utf-8")
