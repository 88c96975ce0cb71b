"""The documentation as a site: it builds without a warning, no link is broken, and it loads nothing from elsewhere."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.integration.axe import findings
from tests.integration.chromium import browser

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 300
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("object", "data")}
RELATIONS_THAT_LOAD_NOTHING = {"canonical", "next", "prev", "author", "index", "search", "copyright"}


@dataclass
class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that a link can name."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.places |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        for name, value in attributes.items():
            if (tag, name) in LOADED and attributes.get("rel") not in RELATIONS_THAT_LOAD_NOTHING:
                self.loaded.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the script that people run: every warning fails it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [ROOT / "scripts" / "docs", folder], capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "index.html").is_file()
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = Page()
        pages[path].feed(path.read_text("utf-8"))
    return pages


def test_every_page_of_the_repository_is_there(site: Path) -> None:
    """Each Markdown file that a reader is sent to is a page of the site."""
    sources = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "protocol" / "README.md"]
    missing = [path for path in sources if not (site / path.relative_to(ROOT)).with_suffix(".html").is_file()]
    assert missing == []


def test_links_lead_to_pages_and_places_that_are_there(pages: dict[Path, Page]) -> None:
    """Within the site no link is broken, down to the heading that it names."""
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in pages[target].places):
                broken.append((path.name, link))
    assert broken == []


def test_links_to_elsewhere_are_encrypted(pages: dict[Path, Page]) -> None:
    """What leads out of the site is https, or a program on the reader's own machine."""
    plain = {link for page in pages.values() for link in page.links if urlsplit(link).scheme not in ("", "https")}
    assert {urlsplit(link).hostname for link in plain} <= {"localhost", "127.0.0.1"}


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Scripts, style sheets, fonts and pictures lie in the site: a reader's browser tells nobody what they read."""
    for path, page in pages.items():
        assert page.loaded, path
        for url in page.loaded:
            parts = urlsplit(url)
            assert (parts.scheme, parts.netloc) in (("", ""), ("data", "")), (path.name, url)
            if not parts.scheme:
                assert (path.parent / unquote(parts.path)).is_file(), (path.name, url)
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert "@import" not in text, sheet
        assert "url(http" not in text.replace('"', "").replace("'", ""), sheet
        assert "url(//" not in text.replace('"', "").replace("'", ""), sheet


def test_the_search_knows_the_pages(site: Path) -> None:
    """The index of the search, which works without a server, holds every page."""
    text = (site / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    assert {"README", "SECURITY", "protocol/README", "docs/reference/errors"} <= set(index["docnames"])


@pytest.mark.browser
@pytest.mark.node
async def test_the_site_can_be_used_by_everybody(site: Path) -> None:
    """axe-core finds nothing, in the light and in the dark, narrow and wide, and no page is wider than the window."""
    async with browser() as window:
        for page in ("index", "docs/how-to/production"):
            await window.open((site / page).with_suffix(".html").as_uri())
            assert await findings(window) == []
