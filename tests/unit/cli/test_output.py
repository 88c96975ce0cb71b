"""Where output goes, and in which colours."""

from __future__ import annotations

import argparse
import io
import json
import stat
from pathlib import Path

import pytest

from oxd_server.cli.errors import CliError
from oxd_server.cli.output import output_of, print_json
from oxd_server.cli.progress import progress
from oxd_server.log.plain import colours_wanted


class Terminal(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def to(path: Path | None) -> argparse.Namespace:
    return argparse.Namespace(output=path)


def test_output_goes_to_a_file_of_the_owner(tmp_path: Path) -> None:
    """The file is new and nobody else's, whatever the umask."""
    path = tmp_path / "sites.json"
    with output_of(to(path)) as stream:
        print_json({"client_secret": "ü"}, stream)
    assert json.loads(path.read_text("utf-8")) == {"client_secret": "ü"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    """It is not written over, and neither is what a link leads to."""
    path, link = tmp_path / "there", tmp_path / "link"
    path.write_text("precious")
    link.symlink_to(path)
    for one in (path, link, tmp_path / "none" / "file"):
        with pytest.raises(CliError, match="cannot be written"), output_of(to(one)):
            pass
    assert path.read_text() == "precious"


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    """Half an answer is none."""
    path = tmp_path / "half"
    with pytest.raises(RuntimeError), output_of(to(path)) as stream:
        stream.write("half")
        raise RuntimeError
    assert not path.exists()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm"}, True),
    ],
)
def test_colours(environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours, unless its owner wants none or it has none; anything else never does."""
    assert colours_wanted(True, environment) is wanted
    assert colours_wanted(False, environment) is False
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    print_json({"a": 1}, terminal)
    assert ("\x1b[" in terminal.getvalue()) is wanted


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar says what is done and how far; at the end it is gone from the screen."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("reading") as shown:
        shown("pass 2", 3, 4)
    printed = terminal.getvalue()
    assert "pass 2" in printed
    assert "75%" in printed
    assert printed.endswith("\x1b[2K")  # the line is erased


def test_no_progress_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe or a log there is no bar."""
    with progress("reading") as shown:
        shown("pass 2", 3, 4)
    assert capsys.readouterr() == ("", "")
