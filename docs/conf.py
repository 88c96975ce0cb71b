"""How Sphinx builds the site: from the Markdown files of the repository, as they lie and link to each other.

`./scripts/docs` runs it. Every warning is an error there: a link that leads nowhere, a page that no list names.
"""

import sys
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from oxd_server import __version__  # noqa: E402 - the path comes first

project = "oxd-server"
author = "the oxd-server project"
release = version = __version__

extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "protocol/README.md", "scripts/examples/README.md"]
exclude_patterns = [".venv", ".tools", "build", "**/node_modules", "**/.*"]
myst_heading_anchors = 6

html_theme = "furo"
html_title = f"oxd-server {version}"
html_copy_source = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

CONTENTS = {
    "Tutorial": ["docs/tutorial/*"],
    "How-to guides": [
        "docs/how-to/providers/index",
        "docs/how-to/replacing-oxd",
        "docs/how-to/production",
        "docs/how-to/*",
        "scripts/examples/README",
    ],
    "Reference": ["protocol/README", "docs/reference/*"],
    "Explanation": ["docs/explanation/how-it-works", "docs/explanation/*", "ARCHITECTURE", "SECURITY"],
    "Project": ["CONTRIBUTING", "CHANGELOG", "docs/*"],
}
"""The site's table of contents. A pattern stands for the pages that are not named yet, so that a new page is found."""


def contents() -> dict[str, list[str]]:
    """List the pages under each caption, each page once."""
    listed: dict[str, None] = {}
    chapters = {}
    for caption, patterns in CONTENTS.items():
        found = [path for pattern in patterns for path in sorted(ROOT.glob(f"{pattern}.md"))]
        names = [str(path.relative_to(ROOT).with_suffix("")) for path in found]
        chapters[caption] = [name for name in dict.fromkeys(names) if name not in listed]
        listed |= dict.fromkeys(names)
    return chapters


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page, and that of a folder, the list of pages, which other readers of the file have no use for."""
    del app
    if name == root_doc:
        for caption, pages in contents().items():
            listed = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"
    elif name.endswith("/index"):
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


ACCESSIBLE = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="On this page">',
    "<pre>": '<pre tabindex="0">',
    'docutils container">': 'docutils container" tabindex="0">',
    '<div id="search-results">': '<h1>Search</h1><div id="search-results">',
}
"""What the theme leaves out: levels and names for those who hear a page, and keys for what scrolls sideways."""


def finish_pages(app: Sphinx, error: Exception | None) -> None:
    """Make each page usable without a mouse and without eyes."""
    if error is None:
        for path in Path(app.outdir).rglob("*.html"):
            text = path.read_text("utf-8")
            for theirs, ours in ACCESSIBLE.items():
                text = text.replace(theirs, ours)
            path.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what Sphinx does not know: the contents, what the theme leaves out, and frames as a language."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", finish_pages)
    app.add_lexer("frames", TextLexer)
    return {"parallel_read_safe": True}
