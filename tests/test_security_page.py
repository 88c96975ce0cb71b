"""SECURITY.md names tests: each of them has to be there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
FILES = list((ROOT / "tests").rglob("test_*.py"))


def test_every_file_that_the_page_names_is_there() -> None:
    """A path that leads into the tests leads to something, and a bare name is that of a test file."""
    paths = set(re.findall(r"`(tests/[\w./-]+)`", PAGE))
    names = set(re.findall(r"`(test_\w+\.py)", PAGE))
    assert len(paths) > 20
    assert len(names) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert names <= {path.name for path in FILES}


def test_every_test_that_the_page_names_is_there() -> None:
    """An attack's row names the test that holds it, as `file::test`, and that file has that test."""
    named = set(re.findall(r"(test_\w+\.py)::(test_\w+)", PAGE))
    assert len(named) > 20
    assert [
        f"{file}::{test}"
        for file, test in sorted(named)
        if not any(path.name == file and f"def {test}(" in path.read_text("utf-8") for path in FILES)
    ] == []


def test_every_attack_has_a_test() -> None:
    """No row of the table of attacks has an empty last column, and there is one such table."""
    assert PAGE.count("| attack |") == 1
    rows = PAGE.split("| attack |")[1].split("\n\n")[0].splitlines()[2:]
    assert [row for row in rows if "`" not in row.rstrip(" |").rsplit("|", 1)[-1]] == []
