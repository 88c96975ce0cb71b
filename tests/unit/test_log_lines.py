"""Where lines go, which are counted instead, and what a full disk does."""

import io
import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from oxd_server.log import CommandLine, Log, configure_logging
from oxd_server.log.lines import LineWriter, LogFile, StreamOutput
from oxd_server.log.repeats import Repeats
from oxd_server.observe.call import Call, Caller, Calls
from oxd_server.observe.command_log import command_log
from tests.clock import Clock

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Every test leaves structlog as it found it."""
    yield
    structlog.reset_defaults()


# --- repeats ------------------------------------------------------------------------------------


def repeats() -> tuple[Repeats, Clock, list[tuple[str, dict[str, Any]]]]:
    told: list[tuple[str, dict[str, Any]]] = []
    clock = Clock(0.0)
    return Repeats(clock, lambda level, said: told.append((level, said))), clock, told


def test_lines_that_repeat_are_counted() -> None:
    """Ten are written in ten seconds; one line tells of the others when the time is over."""
    counted, clock, told = repeats()
    assert [counted.admit("x", "info", {"error": "e", "peer": "192.0.2.1:1"}) for _ in range(13)] == [True] * 10 + [
        False
    ] * 3
    counted.tell_ended()
    assert told == []
    clock.now = 10.0
    counted.tell_ended()
    assert told == [("info", {"of": "x", "count": 3, "seconds": 10.0, "error": "e", "address": "192.0.2.1"})]
    assert counted.admit("x", "info", {"error": "e", "peer": "192.0.2.1:1"})


def test_a_span_ends_with_the_next_line_too() -> None:
    """Nobody has to come by for the sum to be told before a new span begins."""
    counted, clock, told = repeats()
    for _ in range(12):
        counted.admit("x", "warning", {})
    clock.now = 11.0
    assert counted.admit("x", "warning", {})
    assert told == [("warning", {"of": "x", "count": 2, "seconds": 10.0})]


def test_lines_that_differ_are_written() -> None:
    """Another event, error, site or address is another line; another port is not."""
    counted, _, told = repeats()
    for _ in range(10):
        assert counted.admit("x", "info", {"oxd_id": "a", "peer": "192.0.2.1:1"})
    assert not counted.admit("x", "info", {"oxd_id": "a", "peer": "192.0.2.1:2"})
    assert counted.admit("x", "info", {"oxd_id": "b", "peer": "192.0.2.1:1"})
    assert counted.admit("x", "info", {"oxd_id": "a", "peer": "192.0.2.2:1"})
    assert counted.admit("y", "info", {"oxd_id": "a", "peer": "192.0.2.1:1"})
    counted.tell_all()
    assert [said["count"] for _, said in told] == [1]


def test_made_up_callers_do_not_fill_memory() -> None:
    """Beyond a thousand kinds of lines, an event counts as one kind."""
    counted, _, _ = repeats()
    admitted = sum(counted.admit("x", "info", {"oxd_id": str(number)}) for number in range(5000))
    assert admitted == 1010
    assert len(counted._spans) <= 1001


# --- the writer ---------------------------------------------------------------------------------


def joined(lines: list[str]) -> bytes:
    return "".join(lines).encode()


async def test_gathered_lines_are_written_together() -> None:
    """While the writer runs they wait a moment, for a line that is written at once no longer than that."""
    pieces: list[bytes] = []

    class Output:
        def write(self, lines: bytes) -> None:
            pieces.append(lines)

        def reopen(self) -> None:
            raise AssertionError

    writer = LineWriter(Output(), joined)
    writer.gather("before\n")
    assert pieces == [b"before\n"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run, lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        writer.gather("a\n")
        writer.gather("b\n")
        assert len(pieces) == 1
        writer.write("c\n")
        assert pieces[1] == b"a\nb\nc\n"
        writer.gather("d\n")
        with trio.fail_after(5):
            while len(pieces) < 3:
                await trio.sleep(0.01)
        writer.gather("e\n")
        nursery.cancel_scope.cancel()
    assert pieces[2:] == [b"d\n", b"e\n"]


async def test_what_cannot_be_written_is_lost_and_counted() -> None:
    """A full disk stops nobody; neither does somebody who logs faster than the disk takes it."""

    class Full:
        def write(self, lines: bytes) -> None:
            raise OSError("no space left on device")

        def reopen(self) -> None:
            raise AssertionError

    writer = LineWriter(Full(), joined)
    writer.write("a\n")
    writer.gather("b\n")
    assert writer.lost == 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run, lambda: None)
        await trio.testing.wait_all_tasks_blocked(0)
        for _ in range(20_001):
            writer.gather("c\n")
        assert writer.lost == 3
        nursery.cancel_scope.cancel()
    assert writer.lost == 20_003


def test_a_stream_gets_whole_lines_in_small_pieces() -> None:
    """So that a pipe, which several workers write to, does not mix their lines."""

    class Stream(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        def write(self, text: str) -> int:
            self.sizes.append(len(text))
            assert text.endswith("\n")
            return super().write(text)

    stream = Stream()
    output = StreamOutput(stream)
    lines = ("x" * 1000 + "\n") * 10 + "y" * 9000 + "\nz\n"
    output.write(lines.encode())
    output.reopen()
    assert stream.sizes == [4004, 4004, 2002, 9001, 2]
    assert stream.getvalue() == lines


def test_a_file_gets_all_lines_in_one_piece(tmp_path: Path) -> None:
    """Nothing that others write lands inside a write to a file."""

    class Stream(io.TextIOWrapper):
        sizes: tuple[int, ...] = ()

        def write(self, text: str) -> int:
            self.sizes += (len(text),)
            return super().write(text)

    lines = ("x" * 1000 + "\n") * 10
    path = tmp_path / "stderr"
    with Stream(path.open("wb")) as stream:
        StreamOutput(stream).write(lines.encode())
        assert stream.sizes == (len(lines),)
        assert path.read_text() == lines


def test_a_file_is_appended_to_and_opened_anew(tmp_path: Path) -> None:
    """Only its owner can read it. After it was moved, reopening makes a new one; failing to keeps the old one."""
    path = tmp_path / "oxd.log"
    path.write_text("before\n")
    path.chmod(0o600)
    log = LogFile(path)
    log.write(b"a\n")
    path.rename(tmp_path / "oxd.log.1")
    log.write(b"b\n")
    log.reopen()
    log.write(b"c\n")
    assert (tmp_path / "oxd.log.1").read_text() == "before\na\nb\n"
    assert path.read_text() == "c\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.rename(tmp_path / "oxd.log.2")
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        log.reopen()
    log.write(b"d\n")
    assert (tmp_path / "oxd.log.2").read_text() == "c\nd\n"


# --- the log of a process -----------------------------------------------------------------------


def line(**changes: Any) -> CommandLine:
    values: dict[str, Any] = {
        "level": "info", "timestamp": datetime(2026, 1, 2, tzinfo=UTC), "request_id": "1-1", "entrance": "socket",
        "peer": "127.0.0.1:5", "command": "get_rp", "dialect": "3", "outcome": "ok", "duration_ms": 0.5, "op_ms": 0.0,
    }  # fmt: skip
    return CommandLine(**{**values, **changes})


def test_a_line_of_a_command_as_json_and_for_people() -> None:
    """The same facts, and of those that are not known none."""
    stream = io.StringIO()
    configure_logging("info", "json", stream).gather(line(oxd_id="a"))
    assert json.loads(stream.getvalue()) == {
        "event": "command", "level": "info", "timestamp": "2026-01-02T00:00:00Z", "request_id": "1-1",
        "entrance": "socket", "peer": "127.0.0.1:5", "command": "get_rp", "dialect": "3", "outcome": "ok",
        "duration_ms": 0.5, "op_ms": 0.0, "oxd_id": "a",
    }  # fmt: skip
    stream = io.StringIO()
    configure_logging("info", "console", stream).gather(line(error="x\x1b[2J"))
    shown = stream.getvalue()
    assert "command=get_rp" in shown
    assert "2026-01-02T00:00:00Z" in shown
    assert "\x1b[2J" not in shown
    assert shown.count("\n") == 1


def test_the_level_changes_while_it_runs() -> None:
    """Loggers that were made before take the new level, and so do the lines of commands."""
    stream = io.StringIO()
    log = configure_logging("info", "json", stream, names={"host": "node-1", "worker": 2})
    logger = structlog.get_logger("x")
    told = [log.tells_commands]
    log.set_level("warning")
    logger.info("quiet")
    told.append(log.tells_commands)
    log.set_level("debug")
    logger.debug("loud")
    (said,) = map(json.loads, stream.getvalue().splitlines())
    assert told == [True, False]
    assert (said["event"], said["host"], said["worker"]) == ("loud", "node-1", 2)


def test_a_flood_is_counted_but_no_error_that_somebody_was_given_the_id_of() -> None:
    """What repeats becomes one line; a traceback under an id is always there."""
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    logger = structlog.get_logger("x")
    for number in range(30):
        logger.warning("flood", op="op.example.org")
        logger.error("bug", error_id=str(number))
    events = [json.loads(text)["event"] for text in stream.getvalue().splitlines()]
    assert (events.count("flood"), events.count("bug")) == (10, 30)


async def test_sums_and_losses_are_told() -> None:
    """What was not written is told of when the log ends, at the level of what it was; lost lines as soon as can be."""
    stream = io.StringIO()
    log = configure_logging("info", "json", stream, file=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        for _ in range(12):
            structlog.get_logger("x").info("flood", op="op.example.org")
        log._writer.lost += 5
        with trio.fail_after(5):
            while "log_lines_lost" not in stream.getvalue():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    lost, told = map(json.loads, stream.getvalue().splitlines()[-2:])
    assert (lost["level"], lost["count"]) == ("warning", 5)
    assert (told["event"], told["level"], told["of"], told["count"]) == ("repeated", "info", "flood", 2)


# --- the line of a command ----------------------------------------------------------------------


def ended(log: Log, name: str = "get_rp", **facts: Any) -> None:
    """Have a command end with these facts."""
    calls = Calls([command_log(log)])
    call = calls.begin(Caller("192.0.2.1:9", "4", "r-1"), "https", name)
    error = facts.pop("error", None)
    for fact, value in facts.items():
        setattr(call, fact, value)
    calls.end(call, error)
    calls.leave(call)


def test_what_is_told_of_a_command() -> None:
    """Everything that is known, and nothing that is a secret."""
    stream = io.StringIO()
    log = configure_logging("info", "json", stream, names={"host": "node-1", "worker": 3})
    ended(log, command="get_rp", oxd_id="site-1", op_seconds=0.25)
    ended(log, f"client_secret={SECRET}", error="unsupported_operation", description=f"no token={SECRET}")
    ended(log, command="get_rp", error="server_busy", limit="max_commands_in_flight")
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    duration = first.pop("duration_ms")
    assert duration >= 0
    datetime.fromisoformat(first.pop("timestamp"))
    assert first == {
        "event": "command", "level": "info", "request_id": "r-1", "entrance": "https", "peer": "192.0.2.1:9",
        "command": "get_rp", "dialect": "4", "outcome": "ok", "op_ms": 250.0, "oxd_id": "site-1",
        "host": "node-1", "worker": 3,
    }  # fmt: skip
    assert (second["outcome"], second["error"]) == ("error", "unsupported_operation")
    assert SECRET not in stream.getvalue()
    assert third["limit"] == "max_commands_in_flight"


def test_refusals_that_repeat_are_counted_and_answers_are_not() -> None:
    """Every command that was done has its line. Of refusals for the same reason so many do, and all with an id."""
    stream = io.StringIO()
    log = configure_logging("info", "json", stream)
    for _ in range(30):
        ended(log, command="get_rp")
        ended(log, command="get_rp", error="invalid_oxd_id", description="x")
        ended(log, command="get_rp", error="internal_error", error_id="e")
    lines = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert [line["outcome"] for line in lines].count("ok") == 30
    assert [line.get("error") for line in lines].count("invalid_oxd_id") == 10
    assert [line.get("error_id") for line in lines].count("e") == 30


def test_above_info_there_are_no_lines_of_commands() -> None:
    """They are at info."""
    stream = io.StringIO()
    ended(configure_logging("warning", "json", stream), command="get_rp")
    assert stream.getvalue() == ""


def test_a_call_has_a_name_of_its_own() -> None:
    """Unless the caller gave it one."""
    calls = Calls()
    made = [calls.begin(Caller(), "socket", "x") for _ in range(3)]
    assert len({call.request_id for call in made}) == 3
    assert isinstance(made[0], Call)
    for call in reversed(made):
        calls.leave(call)
