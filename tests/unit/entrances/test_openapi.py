"""The OpenAPI description and the page for people: both follow the catalogue."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator

from oxd_protocol.catalog import COMMANDS
from oxd_protocol.errors import ERROR_CODES
from oxd_protocol.params import decode_params
from oxd_server.entrances.openapi import openapi_document
from oxd_server.entrances.openapi_flat import flat_document
from oxd_server.entrances.pages import POLICY, FrontPage
from oxd_server.entrances.reference import GROUPS, example_params, http_path, parameters
from oxd_server.entrances.style import style_sheet

DOCUMENT = openapi_document("1.2.3")
OLDER = [command for command in COMMANDS if command.generation == 3]


def test_dialect_4_is_openapi_3_1_too() -> None:
    """The description of dialect 4 is valid, has its paths, and asks for no token to register."""
    document = json.loads(json.dumps(flat_document("1.2.3")))
    OpenAPIV31SpecValidator(document).validate()
    assert {"/get-jwks", "/check-id-token", "/register-site"} <= document["paths"].keys()
    assert "/setup-client" not in document["paths"]
    assert document["paths"]["/register-site"]["post"]["security"] == []
    assert document["components"]["schemas"].keys() >= {"RegisterSiteParams", "RegisteredSite", "IssuedTokens"}
    token = document["components"]["schemas"]["ClientTokenResult"]
    assert token["properties"]["scope"] == {"type": "array", "items": {"type": "string"}}
    assert token["required"] == ["access_token"]
    assert "null" not in json.dumps([document["components"]["schemas"][name] for name in ("RegisteredSite",)])


def test_the_variant_of_the_beta() -> None:
    """Its description is valid, and its claims are lists of texts."""
    document = json.loads(json.dumps(flat_document("1.2.3", "4-beta")))
    OpenAPIV31SpecValidator(document).validate()
    lists = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
    schemas = document["components"]["schemas"]
    assert schemas["ClaimsOfUser"]["properties"] == {"claims": lists}
    assert schemas["IssuedTokens"]["properties"]["id_token_claims"] == lists
    assert document["info"]["title"].endswith("4-beta")


def test_it_is_openapi_3_1() -> None:
    """The description is valid, and JSON."""
    OpenAPIV31SpecValidator(json.loads(json.dumps(DOCUMENT))).validate()
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_command_is_described() -> None:
    """Each has its path, says whether it needs a token, and documents every answer that the front can give."""
    for command in OLDER:
        operation = DOCUMENT["paths"][http_path(command)]["post"]
        assert operation["operationId"] == command.name
        assert operation["security"] == ([{"protection_access_token": []}] if command.protected else [])
        assert operation["responses"].keys() == {"200", "400", "403", "404", "405", "408", "413", "4XX", "5XX"}
        assert bool(operation.get("deprecated")) == bool(command.unsupported)
    assert DOCUMENT["paths"].keys() == {http_path(command) for command in OLDER} | {
        *("/", "/health-check", "/ready", "/openapi.json", "/jwks", "/logout", "/update-site-registration"),
        "/backchannel-logout/{oxd_id}",
    }


def test_every_command_is_in_one_group() -> None:
    """No command is left out of the reference, and none is told twice."""
    assert sorted(each.name for _, group in GROUPS for each in group) == sorted(each.name for each in COMMANDS)


def test_the_examples_fit_their_schemas_and_are_understood() -> None:
    """The example of every command is valid by its schema and is read by the server."""
    for command in OLDER:
        content = DOCUMENT["paths"][http_path(command)]["post"]["requestBody"]["content"]["application/json"]
        schema: dict[str, Any] = {**content["schema"], "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema).validate(content["example"])
        assert content["example"] == example_params(command)
        decode_params(command, content["example"])


def test_parameters_are_told_with_required_ones_first() -> None:
    """A reader sees first what cannot be left out; the token is not among them, for it goes into the header."""
    for command in COMMANDS:
        rows = parameters(command)
        assert [row.required for row in rows] == sorted((row.required for row in rows), reverse=True)
        assert {row.name for row in rows if row.required} >= set(command.fields.required)
        assert "protection_access_token" not in {row.name for row in rows}


class _Page(HTMLParser):
    """Collects ids and links, and checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.tags: set[str] = set()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), "no inline script"
            assert name != "style", "no inline style"
            if name == "id":
                assert value not in self.ids
                self.ids.add(str(value))
            if name == "href":
                self.links.add(str(value))
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def close(self) -> None:
        super().close()
        assert self._open == []


def test_the_page_is_a_reference_of_everything() -> None:
    """Every command and error code is there, links lead somewhere, and there is no script."""
    page = _Page()
    text = FrontPage("<1>", 8443).render().decode()
    page.feed(text)
    page.close()
    assert page.ids >= {command.name for command in COMMANDS}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert not page.tags & {"script", "iframe", "img", "style"}
    assert text.count("<form") == text.count('<form class="search" role="search" method="get" action="/">') == 1
    assert all(f"<code>{code}</code>" in text for code in ERROR_CODES)
    assert "&lt;1&gt;" in text
    assert "script-src" not in POLICY
    assert b"prefers-color-scheme: dark" in style_sheet()
