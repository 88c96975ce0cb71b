"""The pages that are made from the code are up to date, and say something about everything."""

from pathlib import Path

import pytest

from oxd_protocol.catalog import COMMANDS
from oxd_server.entrances.reference import parameters
from scripts.made_pages import FILES, ROOT, made, with_shown_files

MADE = made()


@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_as_the_code_is(path: Path) -> None:
    """Each file is what `python -m scripts.made_pages` would write."""
    assert path.read_text("utf-8") == MADE[path]


def test_all_made_pages_are_known() -> None:
    """The reference and the sample are among what is made."""
    assert {ROOT / name for name in FILES} <= MADE.keys()
    assert len(FILES) >= 5


@pytest.mark.parametrize("command", [one for one in COMMANDS if not one.unsupported], ids=lambda command: command.name)
def test_every_parameter_is_explained(command) -> None:  # type: ignore[no-untyped-def]
    """No row of the reference is empty."""
    assert [row.name for row in parameters(command) if not row.description] == []


def test_a_shown_file_takes_the_place_of_an_older_text(tmp_path: Path) -> None:
    """The block below the mark is replaced, and nothing else."""
    (tmp_path / "a.py").write_text("print(2)\n")
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- file: a.py python -->\n```python\nprint(1)\n```\n\nAfter.\n")
    assert with_shown_files(page) == "Before.\n\n<!-- file: a.py python -->\n```python\nprint(2)\n```\n\nAfter.\n"
