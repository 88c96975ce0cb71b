"""The examples of the old documents, with every key that they show: blank texts, empty lists, lists for texts."""

from __future__ import annotations

from typing import Any

from oxd_server.sandbox import RunningSandbox
from tests.integration.logins import data_of
from tests.integration.oxd_process import ServerProcess

REGISTRATION: dict[str, Any] = {
    "authorization_redirect_uri": "https://client.example.org/cb",
    "post_logout_redirect_uri": "https://client.example.org/cb",
    "application_type": "web",
    "response_types": ["code"],
    "grant_types": ["authorization_code", "client_credentials"],
    "scope": ["openid", "uma_protection"],
    "acr_values": ["basic"],
    "client_name": "",
    "client_jwks_uri": "",
    "client_token_endpoint_auth_method": "",
    "client_token_endpoint_auth_signing_alg": "",
    "client_request_uris": [],
    "client_frontchannel_logout_uris": [],
    "client_sector_identifier_uri": [],
    "contacts": ["team@example.org"],
    "ui_locales": [],
    "claims_locales": [],
    "claims_redirect_uri": ["https://client.example.com/cb"],
}
UPDATE: dict[str, Any] = {
    "post_logout_redirect_uri": "https://client.example.org/bye",
    "client_frontchannel_logout_uris": ["https://client.example.org/logout"],
    "response_type": ["code"],
    "grant_types": [],
    "scope": ["openid", "profile"],
    "acr_values": ["duo"],
    "client_name": "",
    "client_secret_expires_at": 1335205592410,
    "client_jwks_uri": "",
    "client_token_endpoint_auth_method": "",
    "client_request_uris": [],
    "client_sector_identifier_uri": "",
    "ui_locales": [],
}
EXPRESSION = {"rule": {"and": [{"or": [{"var": 0}, {"var": 1}]}, {"var": 2}]}, "data": ["all", "add", "internal"]}
RESOURCES = [
    {
        "path": "/photo",
        "conditions": [
            {"httpMethods": ["GET"], "scope_expression": EXPRESSION},
            {"httpMethods": ["PUT", "POST"], "scopes": ["all", "add"], "ticketScopes": ["add"]},
        ],
    }
]


async def test_every_example_is_understood(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Blank and empty values are as if they were not there, and what the documents show comes out."""
    op = {"op_host": sandbox.issuer}
    setup = data_of(await server.call("setup_client", **op, **REGISTRATION, setup_client_name=""))
    client = {name: setup[name] for name in ("client_id", "client_secret")}
    wanted = {"op_discovery_path": "", "scope": [], "authentication_method": "", "algorithm": "", "key_id": ""}
    token = data_of(await server.call("get_client_token", **op, **client, **wanted))["access_token"]
    told = data_of(
        await server.call("introspect_access_token", oxd_id=setup["setup_client_oxd_id"], access_token=token)
    )
    assert told["active"] is True
    site = {"oxd_id": data_of(await server.call("register_site", **op, **REGISTRATION))["oxd_id"]}
    assert data_of(await server.call("uma_rs_protect", **site, overwrite=False, resources=RESOURCES)) == site
    access = {**site, "path": "/photo", "http_method": "POST"}
    ticket = data_of(await server.call("uma_rs_check_access", **access, rpt=""))["ticket"]
    gathering = {**site, "ticket": ticket, "claims_redirect_uri": "https://client.example.com/cb"}
    assert ticket in data_of(await server.call("uma_rp_get_claims_gathering_url", **gathering))["url"]
    rpt = data_of(await server.call("uma_rp_get_rpt", **site, ticket=ticket, scope=["add"]))["access_token"]
    assert data_of(await server.call("introspect_rpt", **site, rpt=rpt))["active"] is True
    assert data_of(await server.call("uma_rs_check_access", **access, rpt=rpt)) == {"access": "granted"}
    assert data_of(await server.call("update_site", **site, **UPDATE)) == site
    node = data_of(await server.call("get_rp", **site))["node"]
    assert (node["acr_values"], node["grant_types"]) == (["duo"], REGISTRATION["grant_types"])
    logout = {"id_token_hint": "", "post_logout_redirect_uri": "", "state": "", "session_state": ""}
    uri = data_of(await server.call("get_logout_uri", **site, **logout))["uri"]
    assert uri.startswith(f"{sandbox.issuer}/end_session?")
    assert data_of(await server.call("remove_site", **site)) == site
