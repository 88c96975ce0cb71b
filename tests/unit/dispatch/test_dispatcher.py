"""The dispatcher answers whatever happens: each kind of failure in its own way, and none with a secret."""

import io
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from oxd_protocol.errors import CommandError
from oxd_protocol.oxd_id import OxdIdResult
from oxd_protocol.site import GET_RP, REMOVE_SITE, GetRpParams, GetRpResult
from oxd_server.dispatch.disk_shares import DiskShares
from oxd_server.dispatch.dispatcher import Dispatcher, Route
from oxd_server.dispatch.guard import Entrance
from oxd_server.dispatch.shares import Registrations
from oxd_server.log import configure_logging
from oxd_server.observe.call import NOBODY, Call, Caller, Calls, current_call
from oxd_server.op.errors import OpError, OpUnreachable
from oxd_server.store import Site, SiteNotFound, StoreError

Handle = Callable[[Any, GetRpParams], Awaitable[GetRpResult]]
SECRET = "hunter2-hunter2"


class _Services:
    """Knows the sites a and b at one OP, and c at another."""

    def __init__(self) -> None:
        self.store = self
        self.default_site = SimpleNamespace(op_host=None)

    def cached(self, oxd_id: str) -> Any:
        return None

    async def get(self, oxd_id: str) -> Any:
        hosts = {"a": "https://one.example/x", "b": "https://one.example/y", "c": "https://two.example"}
        return Site(oxd_id=oxd_id, op_host=hosts[oxd_id]) if oxd_id in hosts else None


class _OpenGuard:
    """Lets every command pass."""

    def protects(self, command: object, entrance: object, params: object) -> bool:
        return False


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("debug", "json", stream)
    yield stream
    structlog.reset_defaults()


@pytest.fixture
def calls() -> list[Call]:
    """The commands that have ended."""
    return []


def dispatcher(
    handle: Handle, *, max_in_flight: int = 10, time_out: float | None = None, calls: list[Call] | None = None
) -> Dispatcher:
    """A dispatcher whose only command is get_rp; ``calls`` takes the commands that have ended."""
    guard: Any = _OpenGuard()
    services: Any = dict.fromkeys(Entrance, _Services())
    return Dispatcher(
        services,
        [Route(GET_RP, handle)],
        guard,
        max_in_flight=max_in_flight,
        time_out=time_out,
        registrations=Registrations(10),
        disk_shares=DiskShares(0),
        calls=Calls([] if calls is None else [calls.append]),
    )


def raising(error: Exception) -> Handle:
    async def handle(services: Any, params: GetRpParams) -> GetRpResult:
        raise error

    return handle


async def ask(asked: Dispatcher, name: str = "get_rp", **params: Any) -> Any:
    """Return the answer's data."""
    return (await asked.dispatch(Entrance.LOOPBACK_SOCKET, name, params)).data


async def answer(services: Any, params: GetRpParams) -> GetRpResult:
    return GetRpResult(node=params.oxd_id)


async def test_a_command_is_run(log: io.StringIO) -> None:
    """Its params arrive typed, its result is the answer, and its name is found in any letter case."""
    assert (await ask(dispatcher(answer), oxd_id="x")).node == "x"
    assert (await ask(dispatcher(answer), "GET_RP", oxd_id="y")).node == "y"


@pytest.mark.parametrize(
    ("name", "params", "code"),
    [
        ("fly", {}, "unsupported_operation"),
        ("license_status", {}, "unsupported_operation"),
        ("get_rp", {"oxd_id": 5}, "invalid_request"),
    ],
)
async def test_what_is_refused_before_the_handler(
    log: io.StringIO, name: str, params: dict[str, Any], code: str
) -> None:
    """Unknown and old commands, and bad params."""
    assert (await ask(dispatcher(answer), name, **params))["error"] == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("invalid_scope", details={"a": 1}), "invalid_scope"),
        (OpUnreachable("op.example.org", "userinfo", "no connection"), "op_unreachable"),
        (SiteNotFound("x"), "invalid_oxd_id"),
    ],
)
async def test_an_expected_failure(log: io.StringIO, calls: list[Call], error: Exception, code: str) -> None:
    """A refused command, a failing OP and a site that is gone have their codes; the call has them too, no traceback."""
    assert (await ask(dispatcher(raising(error), calls=calls)))["error"] == code
    (call,) = calls
    assert (call.error, call.command, call.error_id) == (code, "get_rp", None)
    assert call.description
    assert "Traceback" not in log.getvalue()


class _NewOpError(OpError):
    """A kind that nobody translates."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"client_secret={SECRET}"),
        RuntimeError({"access_token": SECRET}),
        StoreError("the store cannot be written: disk full"),
        _NewOpError(f"password: {SECRET}"),
        RecursionError("too deep"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_bug_is_logged_under_an_id(log: io.StringIO, error: Exception) -> None:
    """The answer has an id, under which the log has the traceback; neither has the secret."""
    data = await ask(dispatcher(raising(error)))
    assert data["error"] == "internal_error"
    assert SECRET not in str(data)
    line = json.loads(log.getvalue())
    assert line["error_id"] == data["details"]["error_id"]
    assert line["level"] == "error"
    assert "Traceback" in line["exception"]
    assert type(error).__name__ in line["exception"]
    assert SECRET not in log.getvalue()


async def test_ids_differ(log: io.StringIO) -> None:
    """Two failures can be told apart."""
    failing = dispatcher(raising(ValueError("?")))
    assert (await ask(failing))["details"] != (await ask(failing))["details"]


async def test_what_is_known_of_a_call(calls: list[Call]) -> None:
    """Who called, what ran, for which site, how long; only while it runs is it the current one."""
    seen: list[Call | None] = []

    async def look(services: Any, params: GetRpParams) -> GetRpResult:
        seen.append(current_call())
        return GetRpResult(node=None)

    asked, caller = dispatcher(look, calls=calls), Caller("192.0.2.7:50000", "4", "mine")
    await asked.dispatch(Entrance.HTTPS, "GET_RP", {"oxd_id": "a"}, caller)
    await asked.dispatch(Entrance.LOOPBACK_SOCKET, "get_rp", {"oxd_id": "nobody"})
    await asked.dispatch(Entrance.LOOPBACK_SOCKET, "fly", {})
    first, second, third = calls
    assert (first.request_id, first.entrance, first.caller, first.command, first.oxd_id, first.error) == (
        "mine", "https", caller, "get_rp", "a", None,
    )  # fmt: skip
    assert first.caller.address == "192.0.2.7"
    assert first.seconds > 0
    assert (second.entrance, second.oxd_id, second.caller) == ("socket", None, NOBODY)
    assert (third.command, third.name, third.error) == (None, "fly", "unsupported_operation")
    assert len({call.request_id for call in calls}) == 3
    assert seen == [first, second]
    assert current_call() is None


async def test_the_site_of_a_registration_is_known(calls: list[Call]) -> None:
    """A command that names no site, but makes one, tells its oxd_id."""

    async def remove(services: Any, params: Any) -> OxdIdResult:
        return OxdIdResult(oxd_id="new")

    guard: Any = _OpenGuard()
    services: Any = dict.fromkeys(Entrance, _Services())
    asked = Dispatcher(
        services, [Route(REMOVE_SITE, remove)], guard, max_in_flight=1, time_out=None,
        registrations=Registrations(0), disk_shares=DiskShares(0), calls=Calls([calls.append]),
    )  # fmt: skip
    await ask(asked, "remove_site", oxd_id="unknown")
    assert [call.oxd_id for call in calls] == ["new"]


async def test_too_many_at_once(log: io.StringIO, autojump_clock: trio.testing.MockClock) -> None:
    """A command above the limit is answered at once; as soon as one is done, the next may run."""

    async def slowly(services: Any, params: GetRpParams) -> GetRpResult:
        await trio.sleep(1)
        return GetRpResult(node=None)

    busy = dispatcher(slowly, max_in_flight=2)
    async with trio.open_nursery() as nursery:
        for oxd_id in ("a", "c"):
            nursery.start_soon(partial(ask, busy, oxd_id=oxd_id))
        await trio.testing.wait_all_tasks_blocked()
        assert busy.in_flight == 2
        assert (await ask(busy, oxd_id="d"))["error"] == "server_busy"
    assert busy.in_flight == 0
    assert (await ask(busy)).node is None


@pytest.mark.parametrize("looked_up", ["a", "https://two.example", "no site"])
async def test_a_site_that_is_looked_up_leaves_room_for_others(
    log: io.StringIO, calls: list[Call], monkeypatch: pytest.MonkeyPatch, looked_up: str
) -> None:
    """Commands that wait for the disk to tell their site have half of the places at most, if they name the same one.

    They take none of an OP host's, or of those who name no site, whatever their oxd_id spells.
    """
    get, told = _Services.get, trio.Event()

    async def late(services: _Services, oxd_id: str) -> Any:
        if oxd_id == looked_up:
            await told.wait()
        return await get(services, oxd_id)

    monkeypatch.setattr(_Services, "get", late)
    busy = dispatcher(answer, max_in_flight=4, calls=calls)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(partial(ask, busy, oxd_id=looked_up))
        await trio.testing.wait_all_tasks_blocked()
        assert (await ask(busy, oxd_id=looked_up))["error"] == "server_busy"
        assert calls.pop().limit == "half of max_commands_in_flight: one site"
        assert (await ask(busy, oxd_id="c")).node == "c"
        assert (await ask(busy)).node is None
        told.set()
    assert busy.in_flight == 0
    assert (await ask(busy, oxd_id=looked_up)).node == looked_up


async def test_one_site_leaves_room_for_others(log: io.StringIO, autojump_clock: trio.testing.MockClock) -> None:
    """One site gets half of the places; above that it is told so at once, while other sites' commands run."""

    async def slowly(services: Any, params: GetRpParams) -> GetRpResult:
        await trio.sleep(1)
        return GetRpResult(node=params.oxd_id)

    calls: list[Call] = []
    busy = dispatcher(slowly, max_in_flight=8, calls=calls)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(partial(ask, busy, oxd_id="a"))
        await trio.testing.wait_all_tasks_blocked()
        assert (await ask(busy, oxd_id="a"))["error"] == "server_busy"
        assert calls.pop().limit == "half of max_commands_in_flight: one site"
        assert (await ask(busy, oxd_id="c")).node == "c"
        assert (await ask(busy, oxd_id="nobody")).node == "nobody"
    assert (await ask(busy, oxd_id="a")).node == "a"


@pytest.mark.parametrize(
    ("takers", "refused", "served"),
    [(["a", "b", "a", "b"], "b", "c"), (["r1", "r2", "r3", None], "r4", "a")],
    ids=["one OP host", "commands without a site"],
)
async def test_nobody_takes_all_the_places(
    log: io.StringIO,
    autojump_clock: trio.testing.MockClock,
    takers: list[str | None],
    refused: str,
    served: str,
    request: pytest.FixtureRequest,
) -> None:
    """All sites at one OP host have half of the places together, and so have all who name no site that is known."""

    async def slowly(services: Any, params: GetRpParams) -> GetRpResult:
        await trio.sleep(1)
        return GetRpResult(node=params.oxd_id)

    calls: list[Call] = []
    busy = dispatcher(slowly, max_in_flight=8, calls=calls)
    async with trio.open_nursery() as nursery:
        for oxd_id in takers:
            nursery.start_soon(partial(ask, busy, oxd_id=oxd_id))
        await trio.testing.wait_all_tasks_blocked()
        assert (await ask(busy, oxd_id=refused))["error"] == "server_busy"
        assert calls.pop().limit == f"half of max_commands_in_flight: {request.node.callspec.id}"
        assert (await ask(busy, oxd_id=served)).node == served
    assert busy.in_flight == 0


async def test_the_time_is_limited(log: io.StringIO, autojump_clock: trio.testing.MockClock) -> None:
    """A command that takes longer is cancelled and answered; its place is free again."""

    async def never(services: Any, params: GetRpParams) -> GetRpResult:
        await trio.sleep_forever()
        raise AssertionError

    limited = dispatcher(never, time_out=2)
    data = await ask(limited)
    assert (data["error"], data["details"]) == ("op_unreachable", {"step": "command"})
    assert "2 seconds" in data["error_description"]
    assert limited.in_flight == 0


async def test_the_longest_time_without_a_setting(log: io.StringIO, autojump_clock: trio.testing.MockClock) -> None:
    """Where no time-out is configured, a command that makes many requests ends after the longest time all the same."""

    async def never(services: Any, params: Any) -> OxdIdResult:
        await trio.sleep_forever()
        raise AssertionError

    services: Any = dict.fromkeys(Entrance, _Services())
    guard: Any = _OpenGuard()
    routes = [Route(REMOVE_SITE, never)]
    limited = Dispatcher(
        services,
        routes,
        guard,
        max_in_flight=10,
        time_out=None,
        longest=80,
        registrations=Registrations(0),
        disk_shares=DiskShares(0),
    )
    data = await ask(limited, "remove_site", oxd_id="a")
    assert (data["error"], data["details"]) == ("op_unreachable", {"step": "command"})
    assert limited.in_flight == 0


async def test_cancellation_is_not_an_answer(log: io.StringIO) -> None:
    """When the server gives up a command, nothing is answered or logged as a failure."""

    async def never(services: Any, params: GetRpParams) -> GetRpResult:
        await trio.sleep_forever()
        raise AssertionError

    cancelled = dispatcher(never)
    with trio.CancelScope() as scope:
        scope.cancel()
        await ask(cancelled)
    assert scope.cancelled_caught
    assert cancelled.in_flight == 0
    assert log.getvalue() == ""


async def test_hostile_names_are_shortened(log: io.StringIO) -> None:
    """A long name is neither logged nor answered in full."""
    data = await ask(dispatcher(answer), "x" * 10_000)
    assert len(data["error_description"]) < 300
    assert len(log.getvalue()) < 1000
