"""The pages on providers: each JSON text on them is run, with a stub that answers as that provider does."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from oxd_server.config.declaring import declared_keys
from oxd_server.config.keys import Config
from tests.integration.bendable_op import CLIENT_SECRET, REFRESH_TOKEN, BendableOp, bendable_op
from tests.integration.logins import data_of
from tests.integration.oxd_process import ServerProcess, running_server
from tests.integration.personalities import LOGOUT_URI, PERSONALITIES, REDIRECT_URI, get_claims, log_out

PAGES = Path(__file__).parents[2] / "docs" / "how-to" / "providers"
OXD_ID = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
PERSONALITY_OF = {
    "keycloak": "Keycloak", "gluu": "Gluu 3.x", "entra-id": "Entra ID", "google": "Google", "okta": "Okta",
    "auth0": "Auth0", "apple": "Apple", "cognito": "Cognito", "zitadel": "Zitadel", "authentik": "Authentik",
}  # fmt: skip
"""Which stub answers as the provider of a page."""
BLOCK = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass
class Page:
    """The JSON texts of a page: what is configured, and the commands in their order."""

    name: str
    settings: dict[str, Any]
    commands: list[dict[str, Any]]

    @property
    def op_host(self) -> str:
        """The provider's address on the page."""
        return str(self.commands[0]["params"]["op_host"])

    def at(self, op: BendableOp) -> Page:
        """The page with the stub in the place of the provider."""
        parts = urlsplit(self.op_host)
        text = json.dumps([self.settings, self.commands]).replace(f"https://{parts.netloc}", op.origin)
        settings, commands = json.loads(text)
        return Page(self.name, settings, commands)


def read_page(name: str) -> Page:
    texts = [json.loads(block) for block in BLOCK.findall((PAGES / f"{name}.md").read_text("utf-8"))]
    commands = [text for text in texts if "command" in text]
    settings = {name: value for text in texts if "command" not in text for name, value in text.items()}
    return Page(name, settings, commands)


def test_every_page_is_run() -> None:
    """Each page has a stub, begins with a registration, and is in the list of the first page."""
    assert {path.stem for path in PAGES.glob("*.md")} == {*PERSONALITY_OF, "index"}
    assert {name for name in PERSONALITY_OF if read_page(name).commands[0]["command"] == "register_site"} == set(
        PERSONALITY_OF
    )
    first = (PAGES / "index.md").read_text("utf-8")
    assert [name for name in PERSONALITY_OF if f"]({name}.md)" not in first] == []


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: str(path.stem))
def test_what_is_no_command_is_configuration(path: Path) -> None:
    """Each other text holds keys of the configuration alone."""
    known = {key.name for key in declared_keys(Config)}
    for block in BLOCK.findall(path.read_text("utf-8")):
        text = json.loads(block)
        assert text.keys() == {"command", "params"} or text.keys() <= known


async def test_what_the_pages_show_works(tmp_path: Path) -> None:
    """One server with the settings of all pages: at each provider a user logs in as its page says."""
    async with AsyncExitStack() as stack:
        ops = {
            name: await stack.enter_async_context(bendable_op(PERSONALITIES[personality]))
            for name, personality in PERSONALITY_OF.items()
        }
        pages = {name: read_page(name).at(op) for name, op in ops.items()}
        settings: dict[str, Any] = {}
        for page in pages.values():
            for key, value in page.settings.items():
                settings[key] = settings.get(key, {}) | value if isinstance(value, dict) else value
        server = await stack.enter_async_context(running_server(tmp_path, settings))
        problems: dict[str, AssertionError] = {}
        for name, page in pages.items():
            try:
                await walk(server, ops[name], page)
            except AssertionError as error:
                problems[name] = error
    assert problems == {}


async def walk(server: ServerProcess, op: BendableOp, page: Page) -> None:
    """Send what the page shows, in its order; then log a user in, refresh, and out."""
    assert page.op_host == op.url
    oxd_id, asked, logout = "", {}, None
    for shown in page.commands:
        params = {**shown["params"], "oxd_id": oxd_id}
        match shown["command"]:
            case "register_site":
                oxd_id = data_of(await server.call("register_site", **own_client(op, shown["params"])))["oxd_id"]
            case "update_site":
                assert data_of(await server.call("update_site", **own_client(op, params))) == {"oxd_id": oxd_id}
            case "get_authorization_url":
                asked = params
            case "get_logout_uri":
                logout = params
            case other:
                raise AssertionError(f"no page should need {other}")
    url = data_of(await server.call("get_authorization_url", **(asked or {"oxd_id": oxd_id})))["authorization_url"]
    redirect = op.authorize(url)
    assert op.asked["redirect_uri"] == REDIRECT_URI
    assert asked.get("custom_parameters", {}).items() <= op.asked.items()
    for name in ("prompt", "hd"):
        assert op.asked.get(name) == asked.get(name)
    assert op.asked["scope"].split() == (asked.get("scope") or page.commands[0]["params"]["scope"])
    tokens = data_of(await server.call("get_tokens_by_code", oxd_id=oxd_id, **redirect))
    assert tokens["id_token_claims"]["sub"] == ["user-1"]
    await get_claims(server, op, oxd_id, tokens["access_token"])
    refreshed = await server.call("get_access_token_by_refresh_token", oxd_id=oxd_id, refresh_token=REFRESH_TOKEN)
    assert data_of(refreshed)["access_token"] == "access-2"
    if logout:
        uri = data_of(await server.call("get_logout_uri", **logout))["uri"]
        assert f"state={logout['state']}" in uri
    else:
        await log_out(server, op, oxd_id)
    assert op.refused == []


def own_client(op: BendableOp, params: dict[str, Any]) -> dict[str, Any]:
    """The params with the stub's client in the place of the page's."""
    client = {"client_id": op.personality.client_id, "client_secret": CLIENT_SECRET}
    assert params.get("authorization_redirect_uri", REDIRECT_URI) == REDIRECT_URI
    assert params.get("post_logout_redirect_uri", LOGOUT_URI) == LOGOUT_URI
    return {**params, **{name: value for name, value in client.items() if name in params}}
