"""Outages of OPs begin and end with one warning each."""

from typing import Any

from oxd_server.observe.outages import Outages
from oxd_server.op.observed import OpRequest, Outcome


class Log:
    """Keeps what was warned of."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


class World:
    """Outages, a clock and a log."""

    def __init__(self) -> None:
        self.now, self.log = 100.0, Log()
        self.outages = Outages(lambda: self.now, self.log)

    def see(self, *outcomes: Outcome, host: str = "op.example.org") -> None:
        for outcome in outcomes:
            self.outages.see(OpRequest(host, outcome, 0.1))
            self.now += 1


def test_an_outage_begins_and_ends() -> None:
    """However many requests fail in between, and each host's is its own."""
    world = World()
    world.see("ok", "refused", "timeout", "dns", "server_error")
    world.see("ok", host="other.example.org")
    world.see("client_error", "ok")
    assert world.log.lines == [
        ("op_outage_began", {"op": "op.example.org", "reason": "refused"}),
        ("op_outage_ended", {"op": "op.example.org", "seconds": 5.0, "failures": 4}),
    ]
    assert len(world.outages) == 0


def test_one_error_of_the_ops_own_is_no_outage() -> None:
    """Three in a row are."""
    world = World()
    world.see("server_error", "server_error", "ok", "server_error", "server_error")
    assert world.log.lines == []
    world.see("server_error", "server_error")
    assert world.log.lines == [("op_outage_began", {"op": "op.example.org", "reason": "server_error"})]
    assert len(world.outages) == 1


def test_what_says_nothing_of_the_op_changes_nothing() -> None:
    """A request that was given up neither begins nor ends an outage."""
    world = World()
    world.see("other", "tls", "other")
    assert [event for event, _ in world.log.lines] == ["op_outage_began"]


def test_hosts_without_end_take_no_memory() -> None:
    """The ones that began to fail first are forgotten."""
    world = World()
    for number in range(1500):
        world.see("dns", host=f"op-{number}")
    assert len(world.outages) == 1000
    world.see("ok", host="op-0")
    assert all(event == "op_outage_began" for event, _ in world.log.lines)
