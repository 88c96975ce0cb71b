"""The catalogue of commands, the table of handlers and the protocol's page name the same commands."""

import re
from pathlib import Path

import pytest

from oxd_protocol.catalog import COMMANDS
from oxd_server.dispatch import routes
from oxd_server.dispatch.routes import NOT_YET, ROUTES, check_routes

README = Path(__file__).parents[1] / "protocol" / "README.md"
SUPPORTED = {command.name for command in COMMANDS if command.unsupported is None}


def test_catalogue_and_routes_agree() -> None:
    """Every command has a handler or is listed as not yet there, and there is no handler without a command."""
    check_routes()
    assert set(ROUTES) | NOT_YET == SUPPORTED
    assert not set(ROUTES) & NOT_YET


@pytest.mark.parametrize("command", ["get_rp", "no_such_command"])
def test_a_difference_stops_the_start(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A handler that is missing, or one without a command, is found at the start and named."""
    handlers = {name: handler for name, handler in ROUTES.items() if name != command}
    if command not in SUPPORTED:
        handlers[command] = ROUTES["get_rp"]
    monkeypatch.setattr(routes, "ROUTES", handlers)
    with pytest.raises(RuntimeError, match=command):
        check_routes()


def test_handlers_go_by_the_names_of_their_commands() -> None:
    """Whoever looks for a command's handler finds a function of that name."""
    assert {name: handler.__name__ for name, handler in ROUTES.items()} == {name: name for name in ROUTES}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command) -> None:  # type: ignore[no-untyped-def]
    """The page for authors of clients names the command, and those that are no more as such."""
    assert re.search(rf"`{command.name}`", README.read_text("utf-8")), command.name
