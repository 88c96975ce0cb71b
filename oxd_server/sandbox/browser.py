"""A person with a browser, in a few lines: opens the authorization URL, logs in, allows, comes back."""

import re
from html import unescape
from urllib.parse import urljoin

import httpx2

__all__ = ["LoginFailed", "log_in"]

_FORM = re.compile(r'<form method="post" action="([^"]+)">(.*?)</form>', re.DOTALL)
_INPUT = re.compile(r'<input type="[a-z]+"(?: id="[^"]*")? name="([^"]+)" value="([^"]*)"')
_MAX_STEPS = 10


class LoginFailed(Exception):
    """The provider showed a page that cannot be got past; the text is what the page says."""


async def log_in(
    http: httpx2.AsyncClient, authorization_url: str, username: str, password: str, *, allow: bool = True
) -> str:
    """Fill in the sandbox's login and consent pages; returns the URL that the browser is sent back to.

    `http` is the browser: its cookies are the session, so a second login with it needs no password. It
    must not follow redirects by itself. Raises LoginFailed and httpx2's errors.
    """
    url = authorization_url
    origin = _origin(authorization_url)
    answer = await http.get(url)
    for _ in range(_MAX_STEPS):
        if answer.is_redirect:
            url = urljoin(url, answer.headers["location"])
            if _origin(url) != origin:
                return url
            answer = await http.get(url)
            continue
        action, fields = _read_form(answer)
        fields |= {"username": username, "password": password} if action == "/login" else {}
        fields |= {"decision": "allow" if allow else "deny"} if action == "/consent" else {}
        url = urljoin(url, action)
        answer = await http.post(url, data=fields)
    raise LoginFailed("the provider asks and asks")


def _origin(url: str) -> str:
    parsed = httpx2.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode()}"


def _read_form(answer: httpx2.Response) -> tuple[str, dict[str, str]]:
    """Action and hidden fields of the page's form."""
    form = _FORM.search(answer.text)
    if answer.status_code != 200 or form is None:
        text = re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2])
        raise LoginFailed(f"HTTP {answer.status_code}: {' '.join(unescape(text).split())[:300]}")
    action, inputs = form.groups()
    return unescape(action), {name: unescape(value) for name, value in _INPUT.findall(inputs)}
