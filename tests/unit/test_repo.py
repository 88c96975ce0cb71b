"""The repository's own rules: nothing of one machine in it, two commands, scripts that explain themselves."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# A file with a suffix is a part of one of them.
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix)

# Written in parts, so that this file does not match itself.
MACHINE_PATHS = re.compile(
    rb"(?<![\w.~}])/(?:" + rb"|".join([rb"work", rb"home/\w+", rb"root", rb"Users/\w+"]) + rb")/"
)
REGISTRIES = re.compile(
    rb"|".join(re.escape(b".".join(host)) for host in [(b"registry", b"npmjs"), (b"pythonhosted", b"org")])
    + rb"|"
    + re.escape(b".".join([b"pypi", b"org"]))
    + rb"/simple"
    + rb'|"resolved": *"'
)


def repository_files() -> list[Path]:
    """List the files that are in the repository or would be after `git add .`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize(
    ("pattern", "sample"),
    [
        (MACHINE_PATHS, b"see " + b"/home/" + b"ada/oxd"),
        (MACHINE_PATHS, b'"/wo' + b'rk/main"'),
        (REGISTRIES, b'"resolved"' + b': "x"'),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[bytes], sample: bytes) -> None:
    """Each pattern matches a sample of what it must find, and leaves a path of the product alone."""
    assert pattern.search(sample)
    assert not pattern.search(b"/etc/oxd-server/oxd-conf.json ./root/x https://op.example.org/home/ada/")


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRIES], ids=["machine paths", "registries"])
def test_no_file_names_a_machine_or_a_registry(pattern: re.Pattern[bytes]) -> None:
    """No file holds an absolute path of somebody's machine or the address of a package registry."""
    files = repository_files()
    assert ROOT / "setup.cfg" in files
    found = [
        f"{path.relative_to(ROOT)}: {match.group()!r}"
        for path in files
        for match in pattern.finditer(path.read_bytes())
    ]
    assert found == []


def test_the_readme_begins_with_exactly_two_commands() -> None:
    """The first screen of the README names `./scripts/run` and `./scripts/test`, and no other script."""
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:40])
    assert set(re.findall(r"\./scripts/[\w-]+", first_screen)) == {"./scripts/run", "./scripts/test"}


def test_ci_runs_the_test_script_and_nothing_else() -> None:
    """What CI runs is what a person runs."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines == ["#!/usr/bin/env bash", 'cd "$(dirname "$0")/.." && exec ./scripts/test']
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.name))
def test_a_script_is_executable_and_explains_itself(script: Path) -> None:
    """Every script runs from any folder and prints its usage when asked with --help, and does nothing else."""
    assert os.access(script, os.X_OK)
    answer = subprocess.run([script, "--help"], cwd="/", capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.lower().startswith("usage:"), answer.stdout
    assert answer.stderr == ""


def test_every_pinned_version_is_exact() -> None:
    """The constraints file pins every package to one version, and covers what setup.cfg asks for."""
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line]
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), pins
    pinned = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    settings = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    asked = re.findall(r"^    ([\w-]+)(?:>=[\d.]+)?$", settings.partition("install_requires")[2], re.MULTILINE)
    packages = {"trio", "msgspec", "pytest", "ruff"}
    assert packages <= set(asked)
    assert {name.lower() for name in asked} & pinned >= packages


PAGES = sorted([ROOT / name for name in ("README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md")])
PAGES += sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "protocol" / "README.md", ROOT / "scripts/examples/README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository, and every fragment a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, fragment = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.is_file(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            assert fragment in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, target


def test_the_readme_is_short() -> None:
    """The first page is read to its end."""
    assert len((ROOT / "README.md").read_text("utf-8").split()) < 900
