"""Pages are templates: no HTML is put together in Python, and nothing is escaped by hand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from oxd_server.entrances.pages import front_page

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted((ROOT / "oxd_server").rglob("*.py"))
TAG = re.compile(r"</?(?:html|body|head|div|span|p|a|form|input|button|section|table|t[rdh]|li|[uo]l|h[1-6]|code|b)\b")
# It reads the pages that others made.
READERS = {"oxd_server/sandbox/browser.py"}


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text of a module that is not a docstring."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_there_is_no_html_in_python(path: Path) -> None:
    """No text of the packages has a tag in it, and nobody imports `html.escape`."""
    source = path.read_text("utf-8")
    assert not re.search(r"\bhtml import\b.*\bescape\b|\bhtml\.escape\b", source)
    if str(path.relative_to(ROOT)) not in READERS:
        assert [text for text in texts(ast.parse(source)) if TAG.search(text)] == []


def test_tags_are_found() -> None:
    """The search finds what it looks for, and leaves docstrings alone."""
    source = 'def f():\n    """Not <p>this</p>."""\n    return f"<a href={x}>" + "<td>"\n'
    assert [text for text in texts(ast.parse(source)) if TAG.search(text)] == ["<td>", "<a href="]


def test_the_front_page_is_complete_and_escaped() -> None:
    """The page of the HTTPS front names its version and port, and a version cannot bring HTML of its own."""
    page = front_page("<b>5</b>", 8443)
    assert "version &lt;b&gt;5&lt;/b&gt;" in page
    assert "https://localhost:8443" in page
    assert 'id="get_authorization_url"' in page
    assert "&lt;code&gt;" not in page
