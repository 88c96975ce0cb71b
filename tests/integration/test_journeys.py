"""The journeys: the scripts that a reader starts, run as they are."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.integration.chromium import browser

pytestmark = pytest.mark.hardening

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "scripts" / "examples"
SCRIPTS = ("photo_album", "gateway", "gateway_tutorial", "management_api")
SCRIPT_SECONDS = 120
ADDRESS = re.compile(r"^ +(http://127\.0\.0\.1:\d+/uma/gather\?\S+)$", re.MULTILINE)


async def run(name: str, *arguments: str) -> str:
    """Run a script from another folder; returns what it says after it succeeded."""
    with trio.fail_after(SCRIPT_SECONDS):
        done = await trio.run_process(
            [EXAMPLES / name, *arguments], capture_stdout=True, capture_stderr=True, check=False, cwd="/"
        )
    text = done.stdout.decode()
    assert done.returncode == 0, text + done.stderr.decode()
    return text


def in_order(text: str, *parts: str) -> None:
    """Assert that a text has these parts, one after the other."""
    position = 0
    for part in parts:
        found = text.find(part, position)
        assert found >= 0, f"{part!r} does not come after the first {position} characters of:\n{text}"
        position = found + len(part)


async def test_the_photo_album() -> None:
    """Denied with a ticket, granted with an RPT; then an id_token, the user, and an expression decide."""
    text = await run("photo_album")
    in_order(
        text,
        '"command":"uma_rs_protect"',
        '"error":"uma_protection_exists"',
        '"access":"denied","ticket":"',
        '"command":"uma_rp_get_rpt"',
        '"access_token":"',
        '"access":"granted"',
        '"access":"denied"',
        '"command":"introspect_rpt"',
        '"error":"invalid_ticket"',
        '"error":"need_info"',
        '"error":"request_denied"',
        '"error":"need_info"',
        "Bob is a friend",
        '"access":"granted"',
        '"error":"need_info"',
        '"command":"uma_rp_get_claims_gathering_url"',
        "the city is NY",
        '"access":"granted"',
        '"overwrite":true',
        '"access":"granted"',
        "All steps done",
    )


async def test_the_gateway_without_claims() -> None:
    """Turned away with a ticket, let through with an RPT; tricks with the path get nobody past."""
    text = await run("gateway")
    in_order(
        text,
        '< HTTP 401 UMA realm="rs",as_uri="http://127.0.0.1:',
        '"command":"uma_rp_get_rpt"',
        "< HTTP 200",
        "Where the herons nest",
        "< HTTP 401 UMA",
        "< HTTP 400",
        "< HTTP 404",
        "All steps done",
    )
    assert "need_info" not in text


async def test_the_gateway_with_claims() -> None:
    """Somebody in Boston is refused, somebody in New York gets in."""
    text = await run("gateway", "--with-claims")
    in_order(
        text,
        "< HTTP 401 UMA",
        '"error":"need_info"',
        "the city is Boston",
        '"error":"request_denied"',
        "refused: only New York, US gets in.",
        '"error":"need_info"',
        "the city is NY",
        '"access_token":"',
        "< HTTP 200",
        "All steps done",
    )


async def test_the_tutorial_of_the_gateway() -> None:
    """Over HTTPS in dialect 4, with patterns as paths: let through without claims, and from New York with claims."""
    text = await run("gateway_tutorial")
    in_order(
        text,
        "> POST /register-site",
        "> POST /get-client-token",
        '"path": "/users/?/{posts|photos}"',
        '< 400 {"error":"uma_protection_exists"',
        '"overwrite": true',
        "Without claims gathering",
        '"rpt": "", "path": "/posts/??"',
        "the gateway answers 401: UMA realm=",
        "> POST /uma-rp-get-rpt",
        "> POST /introspect-rpt",
        '< 200 {"access":"granted"}',
        "the gateway answers 200: ",
        "With claims gathering",
        '< 403 {"error":"need_info"',
        "the city is Boston",
        '< 403 {"error":"request_denied"',
        "refused: only New York, US gets in.",
        "the city is NY",
        '< 200 {"access_token":"',
        "the gateway answers 200: ",
        "All steps done",
    )
    assert '"status":"ok"' not in text


@asynccontextmanager
async def script_that_waits(output: Path, name: str, *arguments: str) -> AsyncIterator[trio.Process]:
    """Start a script whose output goes to a file; it gets SIGTERM if it still runs at the end."""
    with output.open("wb") as file:
        process = await trio.lowlevel.open_process(
            [EXAMPLES / name, *arguments], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.terminate()
            await process.wait()


async def nth_address(output: Path, process: trio.Process, number: int) -> str:
    """Wait until the script has printed so many addresses to open; returns the last of them."""
    with trio.fail_after(SCRIPT_SECONDS):
        while len(found := ADDRESS.findall(output.read_text())) < number:
            assert process.poll() is None, output.read_text()
            await trio.sleep(0.05)
    return str(found[number - 1])


@pytest.mark.browser
async def test_claims_are_gathered_in_a_real_browser(tmp_path: Path) -> None:
    """Chromium answers the questions: an empty form is not sent, Boston is refused, New York gets in."""
    output = tmp_path / "output"
    async with script_that_waits(output, "gateway", "--with-claims", "--browser", "wait") as script:
        async with browser() as chromium:
            for number, city in enumerate(("Boston", "NY"), start=1):
                await chromium.open(await nth_address(output, script, number))
                await chromium.wait_for_text("A few questions")
                await chromium.click("button[value=send]")  # the browser asks for the required fields
                assert "/uma/claims?id=" in await chromium.url()
                await chromium.fill("#country", "US")
                await chromium.fill("#city", city)
                await chromium.click("button[value=send]")
                await chromium.wait_for_text("Thank you. The script goes on.")
                assert "/claims?ticket=" in await chromium.url()
        with trio.fail_after(SCRIPT_SECONDS):
            assert await script.wait() == 0, output.read_text()
    in_order(
        output.read_text(),
        '"error":"need_info"',
        "refused: only New York, US gets in.",
        '"access_token":"',
        "< HTTP 200",
        "All steps done",
    )


async def test_the_management_api_in_test_mode() -> None:
    """A token by client credentials opens the API, no token and another one do not."""
    text = await run("management_api")
    in_order(text, "< HTTP 401 Bearer", '"command":"get_client_token"', "< HTTP 200", "Managers", "< HTTP 401 Bearer")
    assert "All steps done" in text


async def test_the_management_api_in_uma_mode() -> None:
    """401 with a ticket, a request signed with the key file, an RPT, 200; the client has no secret in use."""
    text = await run("management_api", "--uma")
    in_order(
        text,
        '"client_token_endpoint_auth_method":"private_key_jwt"',
        "< HTTP 401 UMA",
        '"command":"uma_rp_get_rpt"',
        '"access_token":"',
        "< HTTP 200",
        "Managers",
        "All steps done",
    )


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_journey_explains_itself(name: str) -> None:
    """With --help a script prints its usage, and does nothing else."""
    text = await run(name, "--help")
    assert text.startswith(f"usage: ./scripts/examples/{name}")
    assert os.access(EXAMPLES / name, os.X_OK)


def test_the_readme_names_every_journey() -> None:
    """Each script of the folder is in its README."""
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in EXAMPLES.iterdir() if path.is_file() and not path.suffix}
    assert scripts == set(SCRIPTS)
    assert all(f"./scripts/examples/{name}" in readme for name in scripts)
