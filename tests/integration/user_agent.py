"""A person with a web browser, without the browser: follows redirects, keeps cookies, fills in forms."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urljoin

import httpx2

MAX_STEPS = 20


@dataclass
class Form:
    """One form of a page: where it goes and the values that a browser would send."""

    action: str = ""
    method: str = "get"
    id: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def submission(self, answers: Mapping[str, str]) -> dict[str, str]:
        """Fill in what `answers` has a value for; press the first button, unless `answers` names another.

        A button that is answered with nothing is not pressed.
        """
        data = {name: answers.get(name, value) for name, value in self.fields.items()}
        buttons = [(name, value) for name, value in self.buttons if answers.get(name) != ""]
        named = [(name, value) for name, value in buttons if answers.get(name) == value]
        return data | dict((named or buttons)[:1])


class _FormParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(
                attributes.get("action", ""), attributes.get("method", "get").lower(), attributes.get("id")
            )
            self.forms.append(self._open)
        elif tag in ("input", "button"):
            self._control(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None

    def _control(self, tag: str, attributes: dict[str, str]) -> None:
        owner = attributes.get("form")
        form = next((known for known in self.forms if known.id == owner), None) if owner else self._open
        name, kind = attributes.get("name"), attributes.get("type", "submit" if tag == "button" else "text")
        if form is None or name is None:
            return
        if kind == "submit":
            form.buttons.append((name, attributes.get("value", "")))
        elif kind not in ("checkbox", "radio") or "checked" in attributes:
            form.fields[name] = attributes.get("value", "")


def parse_forms(html: str) -> list[Form]:
    """List the forms of a page in their order."""
    parser = _FormParser()
    parser.feed(html)
    parser.close()
    return parser.forms


class UserAgent:
    """Keeps the cookies of one person; every address that it shows is in `visited`."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self.visited: list[str] = []

    async def visit(self, url: str, *, until: str, answers: Mapping[str, str]) -> str:
        """Open `url` and go on, through redirects and forms, to the first address that starts with `until`.

        That address is returned, not opened: it belongs to the relying party. A page without a form, or
        more than `MAX_STEPS` steps, is an `AssertionError` that shows the page.
        """
        request = self._client.build_request("GET", url)
        for _ in range(MAX_STEPS):
            self.visited.append(str(request.url))
            response = await self._client.send(request)
            location = response.headers.get("location")
            if location is not None:
                target = urljoin(str(request.url), location)
                if target.startswith(until):
                    return target
                request = self._client.build_request("GET", target)
            else:
                request = self._submit(response, answers)
        raise AssertionError(f"still not at {until} after {MAX_STEPS} steps: {self.visited}")

    def _submit(self, response: httpx2.Response, answers: Mapping[str, str]) -> httpx2.Request:
        forms = [form for form in parse_forms(response.text) if form.method == "post"]
        page = f"{response.url}: {response.status_code} {response.text}"
        assert response.status_code == 200, page
        assert forms, f"no form to fill in at {page}"
        action = urljoin(str(response.url), forms[0].action)
        return self._client.build_request("POST", action, data=forms[0].submission(answers))


@asynccontextmanager
async def user_agent(verify: ssl.SSLContext | bool = True) -> AsyncIterator[UserAgent]:
    """Open a `UserAgent` that has no cookies yet; `verify` trusts whom it is to trust."""
    # Browsers send secure cookies to loopback without TLS as well.
    cookies = CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https")))
    async with httpx2.AsyncClient(
        trust_env=False, follow_redirects=False, timeout=30, cookies=cookies, verify=verify
    ) as client:
        yield UserAgent(client)
