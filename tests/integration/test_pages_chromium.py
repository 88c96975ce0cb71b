"""Every page in a real browser: axe-core has nothing to say, in the light and in the dark, narrow and wide."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.integration.axe import findings
from tests.integration.chromium import Browser, browser
from tests.integration.https_client import CERT, running_front
from tests.integration.sandbox_provider import running_sandbox

pytestmark = [pytest.mark.browser, pytest.mark.hardening]


@pytest.fixture
async def window() -> AsyncIterator[Browser]:
    """A browser that takes the front's certificate for what it is."""
    async with browser("--ignore-certificate-errors") as opened:
        yield opened


async def test_the_pages_of_the_front(tmp_path: Path, window: Browser) -> None:
    """The reference, what a search finds, and a command that a link leads to."""
    async with running_front(tmp_path) as front:
        assert ssl.PEM_cert_to_DER_cert((tmp_path / CERT).read_text())
        for path in ("/", "/?q=get_rp_jwks", "/?q=nothing-has-this"):
            await window.open(front.url + path)
            assert await findings(window) == []
        await window.open(front.url + "/#get_tokens_by_code")
        await window.wait_for_text("/get-tokens-by-code")
        await window.open(front.url)
        assert f"OXD={front.url}" in await window.text()


async def open_in_turn(window: Browser, base: str, *paths: str) -> None:
    """Open pages, and have axe-core look at each."""
    for path in paths:
        await window.open(base + path)
        assert await findings(window) == []


async def look_at_login(window: Browser, sandbox: RunningSandbox) -> None:
    """A login at the demo, page by page."""
    await window.open(sandbox.demo_url)
    await window.click('form[action="/login"] button')
    await window.wait_for_text("Somebody to be")
    assert await findings(window) == []
    await window.fill('input[name="username"]', "alice")
    await window.fill('input[name="password"]', "wrong")
    await window.click('form[action$="/login"] button[type="submit"]')
    await window.wait_for_text("User name or password is wrong.")
    assert await findings(window) == []
    kept = await window.run(lambda driver: driver.find_element("css selector", "#username").get_attribute("value"))
    assert kept == "alice"
    await window.fill('input[name="password"]', "wonderland")
    await window.click('form[action$="/login"] button[type="submit"]')
    await window.wait_for_text("Allow access?")
    assert await findings(window) == []
    await window.click('button[value="allow"]')
    await window.wait_for_text("Hello, Alice Jensen")
    folded = "return document.querySelectorAll('details[open]').length"
    assert await window.run(lambda driver: driver.execute_script(folded)) == 0
    assert await findings(window) == []


async def look_at_console(window: Browser, sandbox: RunningSandbox) -> None:
    """A login in the console at a provider that makes a mistake: the id_token is shown claim by claim."""
    await window.open(sandbox.demo_url + "/console")
    await window.run(lambda driver: driver.find_element("css selector", 'option[value="id_token_bad_nonce"]').click())
    await window.click('form[action="/console/fault"] button')
    await window.wait_for_text("it makes the mistake")
    for command in ("register_site", "get_authorization_url"):
        await window.open(f"{sandbox.demo_url}/console/command?name={command}")
        await window.click('form[action="/console/command"] button')
        await window.wait_for_text("What the server asked the provider")
        assert await findings(window) == []
    await window.click("a.button")
    await window.wait_for_text("Allow access?")
    await window.click('button[value="allow"]')
    await window.wait_for_text("get_tokens_by_code")
    await window.click('form[action="/console/command"] button')
    await window.wait_for_text("The id_token, claim by claim")
    refused = "return document.querySelector('tr.refused').innerText"
    assert (await window.run(lambda driver: driver.execute_script(refused))).startswith("nonce")
    assert await findings(window) == []


async def test_the_pages_of_the_sandbox(server: Any, window: Browser) -> None:
    """Provider, demo and console, with a login in each, and pages that say what went wrong."""
    async with running_sandbox(oxd_port=server.port) as sandbox:
        await open_in_turn(window, sandbox.issuer, "/", "/nothing", "/authorize")
        await open_in_turn(window, sandbox.demo_url, "/", "/callback", "/console", "/console?q=uma", "/console/nothing")
        await look_at_login(window, sandbox)
        await look_at_console(window, sandbox)
        await open_in_turn(window, sandbox.issuer, "/", "/end_session")
