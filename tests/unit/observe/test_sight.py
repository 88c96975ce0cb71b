"""What is told of the server reaches whoever wants to know: the log, the figures, the command at hand."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trio
import trio.testing

from oxd_server.entrances.refusals import Refusals
from oxd_server.log import configure_logging
from oxd_server.observe.call import Caller
from oxd_server.observe.metrics import Metrics
from oxd_server.observe.sample import Sample
from oxd_server.observe.sight import Sight
from oxd_server.op.observed import OpRequest

SAMPLE = Sample({"socket": 1}, 2, {"discovery": 3}, 4, 5, 6)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Every test leaves structlog as it found it."""
    yield
    structlog.reset_defaults()


async def test_a_command_and_what_it_asked_the_op() -> None:
    """The time at the OP is the command's; the request is counted, and an outage warned of."""
    stream = io.StringIO()
    sight = Sight(configure_logging("info", "json", stream), Metrics())
    call = sight.calls.begin(Caller("127.0.0.1:1"), "socket", "get_user_info")
    sight.see_op_request(OpRequest("op.example.org", "refused", 0.5))
    sight.see_op_request(OpRequest("op.example.org", "refused", 0.25))
    sight.calls.end(call, "op_unreachable")
    sight.calls.leave(call)
    sight.see_op_request(OpRequest("op.example.org", "ok", 1.0))  # of nobody's command
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["op_outage_began", "command", "op_outage_ended"]
    assert events[1]["op_ms"] == 750.0
    assert sight.metrics is not None
    figures = (await sight.metrics.text()).decode()
    assert 'oxd_op_requests_total{host="op.example.org",outcome="refused"} 2.0' in figures
    assert 'oxd_commands_total{command="unknown",dialect="3",outcome="op_unreachable"} 1.0' in figures


async def test_what_entrances_refuse_is_counted_and_logged() -> None:
    """A connection, a frame and a request, each under its code."""
    stream = io.StringIO()
    sight = Sight(configure_logging("info", "json", stream), Metrics())
    refusals = Refusals(sight.see_refusal)
    refusals.connection("192.0.2.1:1", "max_connections")
    refusals.frame("192.0.2.1:1", "invalid_request", "no JSON")
    refusals.request(404, "no such path", "192.0.2.1:1", "r-1", "/" + "x" * 1000)
    Refusals().frame("192.0.2.1:1", "invalid_request", "no JSON")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "connection_refused", "frame_refused", "request_refused", "frame_refused",
    ]  # fmt: skip
    assert len(lines[2]["path"]) == 100
    assert sight.metrics is not None
    figures = (await sight.metrics.text()).decode()
    for labels in ('code="server_busy",entrance="socket"', 'code="invalid_request",entrance="socket"',
                   'code="404",entrance="https"'):  # fmt: skip
        assert f"oxd_refused_total{{{labels}}} 1.0" in figures


async def test_samples_are_taken_while_it_is_open() -> None:
    """What nobody tells of is in the figures from the beginning."""
    sight = Sight(metrics=Metrics())
    assert sight.metrics is not None
    async with sight.open(lambda: SAMPLE):
        await trio.testing.wait_all_tasks_blocked()
        sight.see_certificate(2_000_000_000.0)
        sight.see_certificate(None)
    figures = (await sight.metrics.text()).decode()
    assert "oxd_commands_in_flight 2.0" in figures
    assert "oxd_certificate_expiry_timestamp_seconds 2e+09" in figures


async def test_without_log_and_figures_nothing_happens() -> None:
    """A server may have neither."""
    sight = Sight()
    sight.see_refusal("socket", "server_busy")
    sight.see_certificate(1.0)
    sight.reopen_log()
    sight.set_log_level("debug")
    async with sight.open(lambda: SAMPLE):
        pass


def test_the_log_is_opened_anew(tmp_path: Path) -> None:
    """A file that cannot be opened is an error in the one before, which goes on."""
    path, old = tmp_path / "oxd.log", tmp_path / "oxd.log.1"
    log = configure_logging("info", "json", file=path)
    sight = Sight(log)
    path.rename(old)
    path.mkdir()
    sight.reopen_log()
    assert json.loads(old.read_text())["event"] == "log_file_not_reopened"
    path.rmdir()
    sight.reopen_log()
    sight.set_log_level("warning")
    structlog.get_logger("x").info("quiet")
    structlog.get_logger("x").warning("loud")
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["loud"]
