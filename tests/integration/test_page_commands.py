"""Every command on every page: a block for a shell is run, here or by a test that is named, or it says why not."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from oxd_protocol.catalog import find_command
from oxd_protocol.site_metadata import SiteMetadata
from oxd_server.cli.command_line import make_parser
from oxd_server.config.declaring import declared_keys
from oxd_server.config.keys import Config
from tests.integration.background import Background
from tests.integration.logins import register

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("scripts/*/*.md"),
    ]
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
SHELL = ("sh", "console", "bash")
NOT_SHELL = (
    "json",
    "text",
    "http",
    "frames",
    "python",
    "php",
    "javascript",
    "yaml",
    "ini",
    "toml",
    "dockerfile",
    "http",
    "diff",
    "lua",
)
COMMAND = re.compile(r"^\s*\$ ", re.MULTILINE)
OXD_ID = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
SECONDS = 120


class By(NamedTuple):
    """The test, or the step of a script, that runs a block."""

    where: str


class Not(NamedTuple):
    """Why nobody runs a block."""

    reason: str


RUN_HERE = {
    "README.md",
    "docs/how-to/production.md",
    "docs/how-to/providers/index.md",
    "docs/how-to/replacing-oxd.md",
    "docs/how-to/troubleshooting.md",
}
"""Pages whose blocks in `sh` are run by this module: a new page has to say so, for not every command is harmless."""

ELSEWHERE: dict[tuple[str, str], By | Not] = {
    ("README.md", "./scripts/run "): By("tests/integration/test_login.py"),
    ("docs/tutorial/first-login.md", "./scripts/run --once"): By("tests/integration/test_login.py"),
    ("docs/tutorial/first-login.md", "$ .venv/bin/oxd-server serve"): By("tests/integration/test_tutorial.py"),
    ("docs/tutorial/first-login.md", "$ cd docs/tutorial/python"): By("tests/integration/test_tutorial.py"),
    ("docs/tutorial/first-login.md", "$ cd docs/tutorial/php"): By("tests/integration/test_tutorial.py"),
    ("docs/tutorial/first-login.md", "$ cd docs/tutorial/node"): By("tests/integration/test_tutorial.py"),
    ("docs/how-to/https.md", '$ echo \'{"https"'): By("tests/integration/test_curl_walk.py"),
    ("docs/how-to/https.md", "OXD=${OXD:-"): By("tests/integration/test_curl_walk.py"),
    ("docs/how-to/https.md", "curl --silent --cacert"): By("tests/integration/test_curl_walk.py"),
    ("docs/how-to/debian.md", ""): By("scripts/package"),  # --try
    ("docs/how-to/operating.md", "$ oxd-server call"): By("tests/integration/test_cli.py"),
    ("docs/how-to/production.md", "$ oxd-server restore"): By("tests/integration/test_cli.py"),
    ("docs/how-to/production.md", "$ cp conf/systemd"): Not("it changes the machine, as root, with systemd"),
    ("docs/how-to/replacing-oxd.md", "python3 -m venv /opt/oxd"): By("scripts/test"),  # check_packages
    ("docs/how-to/replacing-oxd.md", "$ keytool"): Not("it needs a JDK, and the key store of an old server"),
    ("docs/reference/logging.md", "journalctl"): Not("it needs systemd; test_log_journal.py reads the entries"),
    ("docs/reference/metrics.md", "pip install"): Not("it needs a collector of traces; test_traces.py has the spans"),
    ("CONTRIBUTING.md", "./scripts/test --fast"): Not("it would run the unit tests within a test"),
    ("CONTRIBUTING.md", ".venv/bin/python -m pip wheel"): By("scripts/test"),  # check_packages
}
"""Blocks that are not run here, by their page and how they begin."""


@dataclass
class Block:
    """One block of a page that is for a shell."""

    page: str
    text: str

    @property
    def elsewhere(self) -> By | Not | None:
        """Who runs it, if it is not run here."""
        found = [
            value for (page, start), value in ELSEWHERE.items() if page == self.page and self.text.startswith(start)
        ]
        return found[0] if found else None


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in one of these languages."""
    return [
        Block(str(page), textwrap.dedent(match["text"]))
        for page in PAGES
        for match in FENCE.finditer((ROOT / page).read_text("utf-8"))
        if match["language"] in languages
    ]


@dataclass
class Shop:
    """Where blocks are run: a folder, and the environment in which `oxd-server` talks to the test's own server."""

    folder: Path
    environment: dict[str, str]
    stand_ins: dict[str, str]

    def run(self, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a block as a person would paste it, with real places for those that the page made up."""
        for name in ("oxd-conf.json", "oxd-default-site-config.json"):
            if not (folder / name).exists():
                shutil.copy(self.folder / name, folder)
        for shown, real in self.stand_ins.items():
            text = text.replace(shown, real)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def shop(running: Background, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A running server's folder, an old configuration, and the data of old servers."""
    folder = tmp_path_factory.mktemp("shop")
    tools, old = folder / "bin", folder / "old"
    tools.mkdir()
    program = f"""#!/bin/sh
case "$1" in call) set -- "$@" --port {running.server.port} ;; esac
exec "{sys.executable}" -m oxd_server "$@"
"""
    (tools / "oxd-server").write_text(program)
    (tools / "oxd-server").chmod(0o755)
    (tools / "python3").symlink_to(sys.executable)
    shutil.copy(running.folder / "oxd-conf.json", folder)
    shutil.copy(running.folder / "oxd-default-site-config.json", folder)
    for name in ("etc", "2", "3", "4"):
        (old / name).mkdir(parents=True)
    (old / "etc" / "oxd-conf.json").write_text(json.dumps({"port": 0, "license_id": "1", "server_name": "old"}))
    (old / "4" / "oxd-server.yml").write_text(
        "storage: memory\nserver:\n  applicationConnectors:\n    - type: https\n      port: 0\n"
    )
    (old / "2" / "one.json").write_text(
        json.dumps(
            {
                "oxd_id": "a2",
                "op_host": running.sandbox.issuer,
                "client_id": "c",
                "client_secret": "s",
                "scope": ["openid"],
                "authorization_redirect_uri": "https://app.example/cb",
            }
        )
    )
    shutil.copy(ROOT / "tests" / "unit" / "store" / "old" / "oxd_db.mv.db", old / "3")
    stand_ins = {
        "https://op.example.org": running.sandbox.issuer,
        "/etc/oxd/": f"{old}/etc/",
        "/opt/oxd-2/conf": f"{old}/2",
        "/opt/oxd-3/data/": f"{old}/3/",
        "/opt/oxd-server/conf/": f"{old}/4/",
    }
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder)}
    return Shop(folder, environment, stand_ins)


@pytest.mark.parametrize("page", sorted(RUN_HERE))
async def test_the_commands_of_a_page_work(page: str, shop: Shop, running: Background, tmp_path: Path) -> None:
    """The blocks of a page are run in their order, from one folder."""
    site = await register(running.server, running.sandbox.issuer, client_name=page)
    shop.stand_ins[OXD_ID] = site.oxd_id
    for block in blocks("sh"):
        if block.page == page and block.elsewhere is None:
            done = shop.run(block.text, tmp_path)
            assert done.returncode == 0, f"{block.text}\n{done.stdout}{done.stderr}"


def test_the_way_back_writes_what_can_be_read_again(shop: Shop, tmp_path: Path) -> None:
    """What the page on replacing the old server writes for it is a folder of site files, private, and complete."""

    def run(text: str) -> str:
        done = shop.run(text, tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (block,) = [one for one in blocks("sh") if "mkdir -m 700 sites" in one.text]
    run("oxd-server sites import /opt/oxd-3/data/oxd_db.mv.db --config /etc/oxd/oxd-conf.json")
    run(block.text)
    assert stat.S_IMODE((tmp_path / "sites").stat().st_mode) == 0o700
    listed = json.loads(run("oxd-server sites export --config /etc/oxd/oxd-conf.json"))
    assert len(listed) >= 5
    assert {path.stem for path in (tmp_path / "sites").iterdir()} == {site["oxd_id"] for site in listed}
    run("oxd-server sites import sites --config oxd-conf.json --dry-run")


def test_every_block_has_a_language_that_says_what_it_is() -> None:
    """A block is for a shell, or it is known not to be: no command hides in another one."""
    for page in PAGES:
        for match in FENCE.finditer((ROOT / page).read_text("utf-8")):
            assert match["language"] in (*SHELL, *NOT_SHELL), f"{page}: {match.group()[:60]}"


def test_every_block_is_run_by_somebody() -> None:
    """It is run here, or it is in the table; what has prompts needs a terminal, or a machine, of its own."""
    assert [block for block in blocks("console", "bash") if block.elsewhere is None] == []
    assert {block.page for block in blocks("sh") if block.elsewhere is None} == RUN_HERE


def test_the_table_is_about_blocks_that_are_there() -> None:
    """Each entry names a block of a page, and a test that exists or a reason."""
    there = blocks(*SHELL)
    for (page, start), value in ELSEWHERE.items():
        assert [block for block in there if block.page == page and block.text.startswith(start)], (page, start)
        if isinstance(value, By):
            assert (ROOT / value.where).is_file(), value
        else:
            assert len(value.reason.split()) > 3, value


PARSER = make_parser()
INLINE = re.compile(r"(?<!`)`(?:\./|\.venv/bin/)?((?:oxd-server|scripts/[\w./]+) [^`]+)`(?!`)")
LINES = re.compile(
    r"^(?:\$ )?(?:\./|\.venv/bin/|/opt/oxd/bin/)?((?:oxd-server|scripts/[\w./]+)(?: .+)?)$", re.MULTILINE
)
SHOWN = sorted(
    {(str(page), found[1]) for page in PAGES for found in INLINE.finditer((ROOT / page).read_text("utf-8"))}
    | {(block.page, found[1]) for block in blocks(*SHELL, "text") for found in LINES.finditer(block.text)}
)


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_command_that_is_mentioned_exists(page: str, line: str) -> None:
    """Its subcommand and its options are those of the program, wherever a page names it."""
    if line.startswith("scripts/"):
        name, *rest = line.split()
        text = (ROOT / name).read_text("utf-8")
        module = ROOT / f"{name}.py"
        text += module.read_text("utf-8") if module.is_file() else ""
        text += "".join(path.read_text("utf-8") for path in ROOT.glob(f"scripts/*/{Path(name).name}.py"))
        assert [word for word in rest if word.startswith("--") and word not in text] == [], page
        return
    try:
        words = shlex.split(line.partition(" | ")[0].partition(" > ")[0].partition("   ")[0])[1:]
    except ValueError:  # a text that goes on in the next line
        words = line.split()[1:]
    here = PARSER
    for word in words:
        choices = next((one.choices for one in here._actions if isinstance(one, argparse._SubParsersAction)), None)
        if choices is not None and not word.startswith("-"):
            names = word.split("|")
            assert set(names) <= choices.keys(), f"{page}: {line}: {word}"
            here = choices[names[0]]
        elif word.startswith("--"):
            known = {option for action in here._actions for option in action.option_strings}
            assert word.partition("=")[0] in known, f"{page}: {line}: {word}"


DECLARED = tuple(declared_keys(Config))
SETTINGS = {key.name for key in DECLARED} | {f"{key.name}_file" for key in DECLARED if key.is_secret}
DEFAULT_SITE = {field.encode_name for field in msgspec.structs.fields(SiteMetadata)}


def json_texts() -> Iterator[tuple[str, str]]:
    """Each JSON text of the pages: a block, or the lines of a block that is a conversation."""
    for block in blocks("json"):
        lines = block.text.splitlines()
        together = not all(line.startswith("{") for line in lines)
        yield from ((block.page, text) for text in ([block.text] if together else lines))


@pytest.mark.parametrize(("page", "text"), sorted(set(json_texts())))
def test_json_on_a_page_is_what_the_server_reads(page: str, text: str) -> None:
    """A command with parameters that it has, an answer, or keys of the configuration."""
    shown = json.loads(text)
    if "command" in shown:
        command = find_command(shown["command"])
        assert command is not None, f"{page}: {shown}"
        known = {field.encode_name for field in msgspec.structs.fields(command.params)} | {"..."}
        assert shown["params"].keys() <= known, f"{page}: {shown}"
    elif "status" in shown:
        assert shown.keys() == {"status", "data"}
    else:
        assert shown.keys() <= SETTINGS | DEFAULT_SITE | {"op_host"}, f"{page}: {shown}"
