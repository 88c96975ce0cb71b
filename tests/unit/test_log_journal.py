"""The journal: a line of the log is an entry with fields, whatever stands in it."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from oxd_server.log import configure_logging
from oxd_server.log.journal import JournalOutput

SECONDS = 5.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket where entries arrive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "socket"))
        opened.settimeout(SECONDS)
        yield opened


def entry(journal: socket.socket) -> dict[str, str]:
    """Read one entry: `NAME=value` in a line, or the name, eight bytes of length and a value of several lines."""
    data, fields = journal.recv(1_000_000), {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if is_short:
            data = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def test_lines_become_entries(journal: socket.socket, tmp_path: Path) -> None:
    """Each with its priority and its fields; a value with line ends cannot make up a field."""
    output = JournalOutput(tmp_path / "socket")
    output.write(
        b'{"event":"command","level":"info","timestamp":"t","host":"h","oxd_id":"site-1","duration_ms":0.5}\n'
        b'{"event":"bug","level":"error","error_id":"e","reason":"a\\nMESSAGE=forged","paths":["/a","/b"]}\n'
    )
    output.reopen()
    output._transport.socket.close()
    assert entry(journal) == {
        "MESSAGE": "command oxd_id=site-1 duration_ms=0.5", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "oxd-server",
        "OXD_EVENT": "command", "OXD_OXD_ID": "site-1", "OXD_DURATION_MS": "0.5",
    }  # fmt: skip
    second = entry(journal)
    assert second["PRIORITY"] == "3"
    assert second["MESSAGE"].startswith("bug error_id=e reason=a\\nMESSAGE=forged")
    assert second["OXD_REASON"] == "a\nMESSAGE=forged"
    assert (second["OXD_PATHS_0"], second["OXD_PATHS_1"]) == ("/a", "/b")


def test_the_log_goes_to_the_journal(journal: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With log_format journal, events and warnings of libraries alike."""
    output = JournalOutput(tmp_path / "socket")
    monkeypatch.setattr("oxd_server.log.journal.JournalOutput", lambda: output)
    configure_logging("info", "journal")
    structlog.get_logger("x").warning("something", code="hunter2-hunter2", op="op.example.org")
    structlog.reset_defaults()
    output._transport.socket.close()
    said = entry(journal)
    assert (said["OXD_EVENT"], said["PRIORITY"], said["OXD_OP"]) == ("something", "4", "op.example.org")
    assert said["OXD_CODE"] == "[redacted]"


def test_without_a_journal_the_server_does_not_start(tmp_path: Path) -> None:
    """Better than a server whose log goes nowhere."""
    with pytest.raises(OSError, match="journal"):
        JournalOutput(tmp_path / "socket")
