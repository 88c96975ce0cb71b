"""A person with a real browser tries the demo application, which talks to a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.integration.chromium import Browser, browser
from tests.integration.oxd_process import ServerProcess
from tests.integration.sandbox_provider import running_sandbox

pytestmark = [pytest.mark.browser, pytest.mark.hardening]


@dataclass(frozen=True)
class Demo:
    """A browser, and what it looks at."""

    window: Browser
    sandbox: RunningSandbox
    server: ServerProcess

    async def begin_login(self) -> None:
        """Open the demo, click on Log in, and enter alice's password at the provider."""
        await self.window.open(self.sandbox.demo_url)
        await self.window.wait_for_text("Welcome")
        await self.window.click('form[action="/login"] button')
        await self.window.fill('input[name="username"]', "alice")
        await self.window.fill('input[name="password"]', "wonderland")
        await self.window.click('form[action$="/login"] button[type="submit"]')
        await self.window.wait_for(
            lambda driver: driver.find_elements("css selector", 'form[action$="/consent"]'), "the consent page"
        )

    async def answer_consent(self, decision: str) -> None:
        """Click on one of the consent page's buttons."""
        await self.window.click(f'form[action$="/consent"] button[value="{decision}"]')


@pytest.fixture
async def demo(server: ServerProcess) -> AsyncIterator[Demo]:
    async with running_sandbox(oxd_port=server.port) as sandbox, browser() as window:
        yield Demo(window, sandbox, server)


async def test_log_in_look_around_and_log_out(demo: Demo) -> None:
    """Log in, see the claims and the frames of each click, refresh, log out."""
    window = demo.window
    await demo.begin_login()
    await demo.answer_consent("allow")
    await window.wait_for_text("Hello, Alice Jensen")
    page = await window.text()
    assert "alice@example.org" in page
    for command in ("get_tokens_by_code", "get_user_info"):
        assert command in page
    await window.click('form[action="/refresh"] button')
    await window.wait_for_text("get_access_token_by_refresh_token")
    assert "Hello, Alice Jensen" in await window.text()
    await window.click('form[action="/logout"] button')
    await window.wait_for(
        lambda driver: not driver.find_elements("css selector", 'form[action="/logout"]'), "no account"
    )
    if "You are logged out" not in await window.text():  # the provider asks first
        await window.click('form[action$="/end_session"] button')
    await window.wait_for_text("You are logged out")
    assert "get_logout_uri" in await window.text()
    await window.open(demo.sandbox.demo_url)
    await window.wait_for_text("Welcome")
    assert "Hello" not in await window.text()


async def test_consent_is_denied(demo: Demo) -> None:
    """Whoever denies the consent gets a page that says so, and can start again."""
    await demo.begin_login()
    await demo.answer_consent("deny")
    await demo.window.wait_for_text("You are not logged in")
    assert "access_denied" in await demo.window.text()
    await demo.window.open(demo.sandbox.demo_url)
    await demo.window.wait_for_text("Welcome")


async def test_the_server_is_down(demo: Demo) -> None:
    """Without the oxd server the demo says that it cannot be reached, and how to start it."""
    await demo.window.open(demo.sandbox.demo_url)
    await demo.server.terminate()
    await demo.window.click('form[action="/login"] button')
    await demo.window.wait_for_text("The oxd server cannot be reached")
    assert "oxd-server serve" in await demo.window.text()
