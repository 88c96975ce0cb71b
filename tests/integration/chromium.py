"""A real browser: Debian's headless Chromium, driven by Selenium over its own driver. Nothing is downloaded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PAGE_SECONDS = 20
# Without the background flags Chromium asks the outside world at every start; the tests are offline.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--force-prefers-reduced-motion",  # a page that still scrolls moves a button away from under the click
    "--window-size=1100,900",
)
Result = TypeVar("Result")


class Browser:
    """A browser window; each method runs Selenium's blocking call in a thread."""

    def __init__(self, driver: Chrome) -> None:
        self._driver = driver

    async def run(self, call: Callable[[Chrome], Result]) -> Result:
        """Run any Selenium code with the driver, in a thread."""
        return await trio.to_thread.run_sync(call, self._driver)

    async def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        await self.run(lambda driver: driver.get(url))

    async def url(self) -> str:
        """Return the address in the address bar."""
        return await self.run(lambda driver: str(driver.current_url))

    async def text(self) -> str:
        """Return the text that a person sees on the page."""
        return await self.run(lambda driver: str(driver.find_element(By.TAG_NAME, "body").text))

    async def fill(self, selector: str, value: str) -> None:
        """Type a value into the field that a CSS selector finds."""

        def type_value(driver: Chrome) -> None:
            element = _find(driver, selector)
            element.clear()
            element.send_keys(value)

        await self.run(type_value)

    async def click(self, selector: str) -> None:
        """Click on the element that a CSS selector finds; the page it leads to may still be loading."""
        await self.run(lambda driver: _find(driver, selector).click())

    async def wait_for(self, condition: Callable[[Chrome], object], what: str) -> None:
        """Wait until a condition holds; an error says `what` was awaited and shows the page."""

        def wait(driver: Chrome) -> None:
            WebDriverWait(driver, PAGE_SECONDS, poll_frequency=0.05).until(
                condition, message=f"waited for {what}; at {driver.current_url}:\n{driver.page_source}"
            )

        await self.run(wait)

    async def wait_for_text(self, text: str) -> None:
        """Wait until the page shows a text."""
        await self.wait_for(lambda driver: text in _visible_text(driver), repr(text))

    async def screenshot(self, path: Path) -> None:
        """Save what the window shows as a PNG file."""
        assert await self.run(lambda driver: driver.save_screenshot(str(path))), path


def _find(driver: Chrome, selector: str) -> WebElement:
    return WebDriverWait(driver, PAGE_SECONDS, poll_frequency=0.05).until(
        lambda _: driver.find_element(By.CSS_SELECTOR, selector),
        message=f"no {selector} at {driver.current_url}",
    )


def _visible_text(driver: Chrome) -> str:
    # The page may be replaced while it is read: an old <body> is stale, a new one may not be there yet.
    return str(driver.execute_script("return document.body ? document.body.innerText : ''"))


def _start(profile: str, flags: tuple[str, ...]) -> Chrome:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "Chromium is missing: ./scripts/test says how to install it"
    assert driver, "Chromium's driver is missing: ./scripts/test says how to install it"
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return Chrome(options, Service(driver))


@asynccontextmanager
async def browser(*flags: str) -> AsyncIterator[Browser]:
    """Start a browser with an empty profile and more flags; it is closed, and the profile removed, at the end."""
    with tempfile.TemporaryDirectory(prefix="oxd-chromium-", ignore_cleanup_errors=True) as profile:
        driver = await trio.to_thread.run_sync(_start, profile, flags)
        try:
            yield Browser(driver)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(driver.quit)
