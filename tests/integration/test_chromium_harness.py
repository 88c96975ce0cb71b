"""The browser that the integration tests use works by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.chromium import browser

pytestmark = pytest.mark.browser

FIRST_PAGE = """<!doctype html><title>First</title>
<form action="second.html"><label>Name <input name="name"></label><button id="go">Go</button></form>"""
SECOND_PAGE = """<!doctype html><title>Second</title><p id="greeting"></p>
<script>document.getElementById("greeting").textContent = "Hello, " +
new URLSearchParams(location.search).get("name");</script>"""


async def test_a_form_is_filled_in_and_sent(tmp_path: Path) -> None:
    """A typed value arrives on the page that the form leads to, and a screenshot of it is a PNG file."""
    first, second, picture = tmp_path / "first.html", tmp_path / "second.html", tmp_path / "second.png"
    first.write_text(FIRST_PAGE, encoding="utf-8")
    second.write_text(SECOND_PAGE, encoding="utf-8")
    async with browser() as window:
        await window.open(first.as_uri())
        await window.fill("input[name=name]", "Ada")
        await window.click("#go")
        await window.wait_for_text("Hello, Ada")
        assert await window.url() == f"{second.as_uri()}?name=Ada"
        assert await window.text() == "Hello, Ada"
        await window.screenshot(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
