"""The two clients of a UMA authorization server, in a test: a resource server with its PAT, a requesting party."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2

from tests.unit.sandbox.conftest import Op

UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"
CLAIMS_REDIRECT_URI = "http://127.0.0.1:9/claims"


@dataclass
class ResourceServer:
    """A client with a PAT."""

    op: Op
    client: dict[str, Any]
    pat: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.pat}"}

    async def request(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        """A request with the PAT."""
        return await self.op.http.request(method, path, headers=self.headers, **arguments)

    async def get(self, path: str) -> httpx2.Response:
        return await self.request("GET", path)

    async def post(self, path: str, body: Any) -> httpx2.Response:
        return await self.request("POST", path, json=body)

    async def register(self, *scopes: str, **members: Any) -> str:
        """A new resource; returns its id."""
        answer = await self.post("/uma/resources", {"resource_scopes": list(scopes), **members})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["_id"])

    async def ticket(self, *wishes: tuple[str, list[str]]) -> str:
        """A ticket for (resource id, scopes) pairs."""
        body = [{"resource_id": resource_id, "resource_scopes": scopes} for resource_id, scopes in wishes]
        answer = await self.post("/uma/permissions", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["ticket"])

    async def ticket_for(self, *scopes: str, **members: Any) -> str:
        """A ticket for all scopes of a new resource."""
        return await self.ticket((await self.register(*scopes, **members), list(scopes)))

    async def introspect(self, token: str) -> dict[str, Any]:
        """What the PAT is told of a token."""
        answer = await self.request("POST", "/introspect", data={"token": token})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def granted(self, token: str) -> dict[str, list[str]]:
        """The scopes that an RPT has, by resource."""
        permissions = (await self.introspect(token))["permissions"]
        return {permission["resource_id"]: permission["resource_scopes"] for permission in permissions}


@dataclass
class RequestingParty:
    """A client that comes with tickets."""

    op: Op
    client: dict[str, Any]

    async def ask(self, ticket: str | None, **params: str) -> httpx2.Response:
        """A token request with a ticket."""
        given = {"grant_type": UMA_TICKET} | ({"ticket": ticket} if ticket else {}) | params
        return await self.op.token(self.client, **given)

    async def rpt(self, ticket: str, **params: str) -> dict[str, Any]:
        """The answer with the RPT."""
        answer = await self.ask(ticket, **params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def refused(self, ticket: str | None, **params: str) -> dict[str, Any]:
        """The error answer; `status` is beside its members."""
        answer = await self.ask(ticket, **params)
        assert answer.status_code >= 400, answer.text
        return {"status": answer.status_code, **answer.json()}


async def resource_server(op: Op) -> ResourceServer:
    """Register a client and get its PAT."""
    client = await op.register()
    answer = await op.token(client, grant_type="client_credentials", scope="uma_protection openid")
    assert answer.status_code == 200, answer.text
    return ResourceServer(op, client, answer.json()["access_token"])


async def requesting_party(op: Op, **metadata: Any) -> RequestingParty:
    """Register a client that may show tickets."""
    grant_types = ["authorization_code", UMA_TICKET]
    member = {"grant_types": grant_types, "claims_redirect_uris": [CLAIMS_REDIRECT_URI]}
    return RequestingParty(op, await op.register(**(member | metadata)))
