"""UMA with an authorization server that is not ours: Keycloak, through our socket, with the clients brought along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oxd_process import ServerProcess, running_server
from tests.keycloak.keycloak import Keycloak, running_keycloak

pytestmark = pytest.mark.keycloak

BOTH = {"rule": {"and": [{"var": 0}, {"var": 1}]}, "data": ["edit", "internal"]}
PHOTO = {
    "path": "/photo",
    "conditions": [
        {"httpMethods": ["GET"], "scopes": ["view", "all"], "ticketScopes": ["view"]},
        {"httpMethods": ["PUT", "POST"], "scope_expression": BOTH},
        {"httpMethods": ["DELETE"], "scope_expression": BOTH, "ticketScopes": ["edit"]},
    ],
}
DOCUMENT = {"path": "/document", "conditions": [{"httpMethods": ["GET"], "scopes": ["view"]}]}


@dataclass(frozen=True)
class Photos:
    """The server, a site that is the resource server, and one that is the requesting party."""

    server: ServerProcess
    resource_server: str
    requesting_party: str
    issuer: str

    async def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Run a command of the resource server and return the data of its answer."""
        answer = await self.server.call(command, **{"oxd_id": self.resource_server, **params})
        return dict(answer["data"])

    async def check(self, http_method: str, rpt: str | None = None, path: str = "/photo") -> dict[str, Any]:
        """Ask whether a request may go on."""
        return await self.call("uma_rs_check_access", path=path, http_method=http_method, rpt=rpt)

    async def rpt(self, http_method: str, path: str = "/photo") -> str:
        """Get an RPT for what a request needs."""
        ticket = (await self.check(http_method, path=path))["ticket"]
        got = await self.call("uma_rp_get_rpt", oxd_id=self.requesting_party, ticket=ticket)
        return str(got["access_token"])

    async def protect(self, *resources: dict[str, Any]) -> dict[str, Any]:
        """Protect these resources and no others."""
        return await self.call("uma_rs_protect", resources=list(resources), overwrite=True)


@pytest.fixture(scope="module")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """A Keycloak without DPoP: with that feature, version 26.0 answers every request for an RPT with status 500."""
    with running_keycloak(tmp_path_factory.mktemp("uma")) as started:
        yield started


@pytest.fixture
async def photos(keycloak: Keycloak, tmp_path: Path) -> AsyncIterator[Photos]:
    """A server of its own for each test, and nothing protected at Keycloak but what the test protects."""
    issuer = keycloak.issuer("oxd")
    async with running_server(tmp_path) as server:

        async def register(client_id: str) -> str:
            registered = await server.call(
                "register_site",
                op_host=issuer,
                authorization_redirect_uri="https://photos.example.com/cb",
                scope=["openid", "uma_protection"],
                client_id=client_id,
                client_secret=f"{client_id}-secret",
            )
            return str(registered["data"]["oxd_id"])

        yield Photos(server, await register("photo-service"), await register("photo-app"), issuer)


async def test_protect_deny_and_grant(photos: Photos) -> None:
    """Who comes without an RPT gets a ticket, and with the RPT for it gets in."""
    assert "error" not in await photos.protect(PHOTO)
    denied = await photos.check("GET")
    assert denied["www-authenticate_header"] == (
        f'UMA realm="rs",as_uri="{photos.issuer}",error="insufficient_scope",ticket="{denied["ticket"]}"'
    )
    rpt = await photos.rpt("GET")
    assert await photos.check("GET", rpt) == {"access": "granted"}
    assert (await photos.check("PUT", rpt))["access"] == "denied"
    assert (await photos.check("GET", "made up"))["access"] == "denied"


async def test_expression(photos: Photos) -> None:
    """Both scopes of an expression get in; one of them does not, although Keycloak knows nothing of expressions."""
    await photos.protect(PHOTO)
    assert await photos.check("POST", await photos.rpt("POST")) == {"access": "granted"}
    rpt = await photos.rpt("DELETE")
    (permission,) = (await photos.call("introspect_rpt", rpt=rpt))["permissions"]
    assert permission["resource_scopes"] == ["edit"]
    assert (await photos.check("DELETE", rpt))["access"] == "denied"


async def test_introspection(photos: Photos) -> None:
    """An RPT is described in the documented shape; what is no RPT is not active."""
    await photos.protect(DOCUMENT)
    ticket = (await photos.check("GET", path="/document"))["ticket"]
    got = await photos.call("uma_rp_get_rpt", oxd_id=photos.requesting_party, ticket=ticket)
    assert (got["token_type"], got["updated"]) == ("Bearer", False)
    answer = await photos.call("introspect_rpt", rpt=got["access_token"])
    assert answer["active"] is True
    assert answer["exp"] > answer["iat"]
    assert [one["resource_scopes"] for one in answer["permissions"]] == [["view"]]
    assert (await photos.call("introspect_rpt", rpt="made up"))["active"] is False


async def test_overwrite(photos: Photos) -> None:
    """Protecting anew replaces the resources, although Keycloak wants their names to be unique; old RPTs end."""
    album = {**PHOTO, "path": "/album"}  # the names of the other tests are taken by their resources
    await photos.protect(album)
    rpt = await photos.rpt("GET", "/album")
    assert (await photos.call("uma_rs_protect", resources=[album]))["error"] == "uma_protection_exists"
    assert "error" not in await photos.protect(album)
    assert (await photos.check("GET", rpt, "/album"))["access"] == "denied"
    assert await photos.check("GET", await photos.rpt("GET", "/album"), "/album") == {"access": "granted"}
    assert "error" not in await photos.protect({**DOCUMENT, "path": "/letter"})
    assert (await photos.check("GET", path="/album"))["error"] == "invalid_request"
    assert "warning" not in [line.get("level") for line in photos.server.log_lines()]


async def test_a_ticket_that_is_none(photos: Photos) -> None:
    """A made-up ticket has the error code that the libraries know."""
    refused = await photos.call("uma_rp_get_rpt", oxd_id=photos.requesting_party, ticket="made up")
    assert refused["error"] == "invalid_ticket"
    assert refused["details"]["error"]
