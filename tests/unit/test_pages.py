"""Pages are templates: no HTML is put together in Python, and nothing is escaped by hand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from oxd_server.entrances.pages import FrontPage

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
    page = FrontPage("<b>5</b>", 8443).render().decode()
    assert "version &lt;b&gt;5&lt;/b&gt;" in page
    assert "https://localhost:8443" in page
    assert 'id="get_authorization_url"' in page
    assert "&lt;code&gt;" not in page


HOSTS = ("oxd.example.org", "oxd.example.org:8443", "10.0.0.7:8443", "[::1]:8443", "localhost")
NO_HOSTS = (
    *(None, "", "a b", "<script>", "$(reboot)", "a;b", "a:port", "a/../b", "-a", "a" * 254, "a:8443\n", "ä.example"),
    *("a`b`", "a'b", "[::1", "a:123456"),
)


@pytest.mark.parametrize("host", HOSTS)
def test_the_examples_name_the_host_that_was_asked(host: str) -> None:
    """Whoever copies an example reaches the server that showed it."""
    assert f"OXD=https://{host}\n" in FrontPage("5", 1).render(host).decode()


@pytest.mark.parametrize("host", NO_HOSTS)
def test_a_host_that_is_none_is_not_shown(host: str | None) -> None:
    """The examples are for a shell: nothing gets into them that means something there."""
    page = FrontPage("5", 8443).render(host).decode()
    assert "OXD=https://localhost:8443\n" in page
    assert not host or f"https://{host}" not in page


def names_on(page: str) -> list[str]:
    """The commands that a page shows, in order."""
    return re.findall(r'<div id="(\w+)">', page)


def test_commands_are_found_by_words() -> None:
    """By name, with dashes too, by what they do, and by a parameter; all of the words must be there."""
    page = FrontPage("5", 8443)

    def found(query: str) -> list[str]:
        return names_on(page.render(None, query).decode())

    assert found("q=get_rp_jwks") == found("q=GET-rp-jwks") == ["get_rp_jwks"]
    assert "uma_rs_check_access" in found("q=http_method+uma")
    assert set(found("q=logout+uri")) >= {"get_logout_uri"}
    assert found("q=nothing-has-this-word") == []
    assert found("") == found("q=") == found("q=+") == found("other=x") == names_on(page.render().decode())


def test_few_commands_that_were_found_are_open() -> None:
    """Who knows what he looks for sees it at once; the query is shown, escaped and not at any length."""
    page = FrontPage("5", 8443)
    assert '<details class="command" open>' in page.render(None, "q=get_rp_jwks").decode()
    assert " open>" not in page.render(None, "q=uma").decode()
    text = page.render(None, "q=%3Cb%3E%22" + "x" * 100 + "%ff").decode()
    assert "0 commands for “&lt;b&gt;&#34;" in text
    assert "x" * 61 not in text
