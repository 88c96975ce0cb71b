"""Which texts are absolute URLs."""

from __future__ import annotations

import pytest

from oxd_server.op.urls import is_absolute_url


@pytest.mark.parametrize("url", ["https://rp/cb", "http://127.0.0.1:8080", "com.example.app:/cb", "app://cb?x=1#y"])
def test_absolute(url: str) -> None:
    """A scheme with a host, or a scheme of an app's own with a path."""
    assert is_absolute_url(url)


@pytest.mark.parametrize(
    "url",
    ["", "/cb", "rp.example", "https:foo", "http:///x", "https://", "app:", "https://rp:70000/", "https://[::1/",
     "https://rp/a b", "https://rp/\n", "https://:443/"],
)  # fmt: skip
def test_not_absolute(url: str) -> None:
    """No scheme, no host, a port that is none, or characters that no URL has."""
    assert not is_absolute_url(url)
