"""Whose token counts in dialect 4: the site's own client's, or with AuthorizationOxdId another site's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oxd_server.sandbox import RunningSandbox
from tests.integration.dialect_4_world import CALLBACK, registered, world_of
from tests.integration.https_client import running_front


async def test_the_order_of_the_checks(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Whatever is wrong with a token has its own code and status, and only the site's own client's token is good."""
    async with world_of(tmp_path, sandbox) as world:
        other = await registered(world.front, sandbox)
        body = {"oxd_id": world.site["oxd_id"]}

        async def refused(token: str | None, oxd_id: str = body["oxd_id"], **headers: str) -> tuple[int, str]:
            bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
            response = await world.front.client.post(
                "/get-logout-uri", json={"oxd_id": oxd_id}, headers={**bearer, **headers}
            )
            return response.status_code, response.json()["error"]

        assert await refused(None, AuthorizationOxdId="nobody") == (400, "authorization_oxd_id_not_found")
        assert await refused(None) == (403, "blank_access_token")
        assert await refused("nonsense") == (403, "inactive_access_token")
        client = {name: other[name] for name in ("client_id", "client_secret")}
        answer = await world.post("/get-client-token", {"op_host": sandbox.issuer, "scope": ["oxd"], **client})
        others = answer.json()["access_token"]
        assert await refused(others) == (403, "invalid_access_token")
        answer = await world.post("/get-client-token", {"op_host": sandbox.issuer, "scope": ["profile"], **client})
        assert await refused(answer.json()["access_token"], other["oxd_id"]) == (403, "access_token_insufficient_scope")
        response = await world.post("/get-logout-uri", body | {"oxd_id": other["oxd_id"]}, others)
        assert response.status_code == 200


async def test_a_judge_that_is_not_listed(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Where protect_commands_with_oxd_id names sites, no other site's token counts with AuthorizationOxdId."""
    config = {"protect_commands_with_oxd_id": ["11111111-2222-3333-4444-555555555555"]}
    async with running_front(tmp_path, config) as front:
        site = await registered(front, sandbox)
        response = await front.client.post(
            "/get-logout-uri", json={"oxd_id": site["oxd_id"]}, headers={"AuthorizationOxdId": site["oxd_id"]}
        )
        assert (response.status_code, response.json()["error"]) == (400, "invalid_authorization_oxd_id")
        answer = await front.client.post("/get-rp", json={"oxd_id": site["oxd_id"]})
        assert (answer.status_code, answer.json()["error"]) == (403, "blank_access_token")


async def test_a_site_of_3_1_has_no_other_judge(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A site that belongs to a setup client obeys the token of no other site."""
    async with world_of(tmp_path, sandbox) as world:
        old = await world.post(
            "/setup-client", {"op_host": sandbox.issuer, "authorization_redirect_uri": CALLBACK, "scope": ["openid"]}
        )
        oxd_id = old.json()["data"]["oxd_id"]
        headers = {"Authorization": f"Bearer {world.token}", "AuthorizationOxdId": world.site["oxd_id"]}
        response = await world.front.client.post("/get-logout-uri", json={"oxd_id": oxd_id}, headers=headers)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_authorization_oxd_id")


async def test_another_site_neither_changes_nor_empties_a_site(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """With AuthorizationOxdId a site that nobody named reads along at its OP, and does no more to another site."""
    async with world_of(tmp_path, sandbox) as world:
        other = await registered(world.front, sandbox)
        headers = {"Authorization": f"Bearer {world.token}", "AuthorizationOxdId": world.site["oxd_id"]}
        more: dict[str, dict[str, Any]] = {
            "/get-rp": {},
            "/update-site": {"redirect_uris": ["https://eve.example/callback"]},
            "/remove-site": {},
            "/get-logout-uri": {},
            "/uma-rs-protect": {
                "resources": [{"path": "/a", "conditions": [{"httpMethods": ["GET"], "scopes": ["s"]}]}]
            },
            "/uma-rs-modify": {"path": "/a", "http_method": "GET", "scopes": ["all"]},
            "/uma-rp-get-rpt": {"ticket": "a-ticket"},
            "/start-device-login": {},
            "/poll-device-login": {"device_code": "a-code"},
            "/get-site-token": {},
            "/exchange-token": {"subject_token": "a-token"},
            "/get-dpop-proof": {"http_method": "GET", "url": "https://api.example/"},
            "/revoke-token": {"token": "a-token"},
        }
        for path, params in more.items():
            body = {"oxd_id": other["oxd_id"], **params}
            response = await world.front.client.post(path, json=body, headers=headers)
            told = (response.status_code, response.json()["error"])
            assert (path, *told) == (path, 400, "invalid_authorization_oxd_id")
        body = {"oxd_id": other["oxd_id"]}
        response = await world.front.client.post("/get-authorization-url", json=body, headers=headers)
        assert response.status_code == 200
