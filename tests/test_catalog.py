"""The catalogue of commands, the table of handlers and the protocol's page name the same commands."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from oxd_protocol.catalog import COMMANDS
from oxd_server.dispatch import routes
from oxd_server.dispatch.dispatcher import Route
from oxd_server.dispatch.routes import ROUTES, check_routes

README = Path(__file__).parents[1] / "protocol" / "README.md"
SUPPORTED = {command.name for command in COMMANDS if command.unsupported is None}


def test_catalogue_and_routes_agree() -> None:
    """Every command has one handler, and there is no handler without a command."""
    check_routes()
    assert {route.command.name for route in ROUTES} == SUPPORTED


WITHOUT_GET_RP = tuple(route for route in ROUTES if route.command.name != "get_rp")
NEW = replace(ROUTES[0], command=replace(ROUTES[0].command, name="no_such_command"))


@pytest.mark.parametrize(
    ("changed", "named"),
    [(WITHOUT_GET_RP, "get_rp"), ((*ROUTES, NEW), "no_such_command"), ((*ROUTES, ROUTES[3]), "register_site")],
    ids=["missing", "without a command", "twice"],
)
def test_a_difference_stops_the_start(monkeypatch: pytest.MonkeyPatch, changed: tuple[Route, ...], named: str) -> None:
    """A handler that is missing, one without a command and a second one are found at the start and named."""
    monkeypatch.setattr(routes, "ROUTES", changed)
    with pytest.raises(RuntimeError, match=named):
        check_routes()


def test_handlers_go_by_the_names_of_their_commands() -> None:
    """Whoever looks for a command's handler finds a function of that name."""
    assert [route.handler.__name__ for route in ROUTES] == [route.command.name for route in ROUTES]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command) -> None:  # type: ignore[no-untyped-def]
    """The page for authors of clients names the command, and those that are no more as such."""
    assert re.search(rf"`{command.name}`", README.read_text("utf-8")), command.name
