"""The worked example of CONTRIBUTING.md: its steps are applied to a copy of the repository, and the command works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
COPIED = ("conf", "docs", "oxd_server", "protocol", "scripts", "tests")
NOT_COPIED = shutil.ignore_patterns("node_modules", "__pycache__", "captures*", "fuzz_corpus", "keycloak")
STEP = re.compile(
    r"(?:At the end of|[Ii]n a new file|In) (`[^`]+`)(?:, after (?:`` ?(?P<row>.+?) ?``|`(?P<line>[^`]+)`))?:\n\n"
    r"```\w+\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
TESTS = (
    "tests/integration/test_client_name.py", "tests/test_catalog.py", "tests/test_layering.py",
    "tests/unit/protocol/test_catalog.py", "tests/unit/protocol/test_readme.py", "tests/unit/test_made_pages.py",
)  # fmt: skip
SECONDS = 300


def apply_steps(folder: Path) -> list[str]:
    """Do what the page says; returns the files that were changed."""
    section = PAGE.read_text("utf-8").partition("## Add a command\n")[2].partition("\n## ")[0]
    changed = []
    for step in STEP.finditer(section):
        name, text = step[1].strip("`"), step["text"]
        path = folder / name
        if after := step["row"] or step["line"]:
            before, found, rest = path.read_text("utf-8").partition(f"\n{after}\n")
            assert found, f"{name} has no line {after!r}"
            path.write_text(f"{before}{found}{text}{rest}", "utf-8")
        else:
            assert path.exists() is ("At the end of" in step[0]), name
            with path.open("a", encoding="utf-8") as file:
                file.write(f"\n\n{text}" if path.stat().st_size else text)
        changed.append(name)
    assert section.count("\n```") == 2 * len(changed), "a block of the page is no step"
    return changed


@pytest.mark.hardening
def test_the_example_works(tmp_path: Path) -> None:
    """The steps, the pages made anew, and then its own test and those that hold the catalogue together."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=NOT_COPIED)
    for name in ("setup.cfg", "pyproject.toml", *(page.name for page in ROOT.glob("*.md"))):
        shutil.copy(ROOT / name, tmp_path)
    assert len(apply_steps(tmp_path)) == 8
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{tmp_path / 'protocol'}"}
    for command in (["-m", "scripts.made_pages"], ["-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "docs" / "reference" / "commands.md").read_text("utf-8")
    assert "### get_client_name" in reference
