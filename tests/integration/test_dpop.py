"""Tokens that are bound to a key of the server's: at the sandbox, at the certified provider, and at a gateway."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from oxd_server.sandbox import RunningSandbox
from tests.integration.background import Background
from tests.integration.logins import REDIRECT_URI, Rp, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import real_provider
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.stored import stored_rows

API = "https://api.example.org/photos"
BOUND = {"dpop_bound_access_tokens": True}


@pytest.fixture
def server(running: Background) -> ServerProcess:
    """The server."""
    return running.server


@pytest.fixture
async def op() -> AsyncIterator[RunningSandbox]:
    """An OP of the test's own."""
    async with running_sandbox() as op:
        yield op


def private_key(running: Background, oxd_id: str) -> dict[str, Any]:
    """Return the site's key as it lies in the store."""
    (row,) = (row for row in stored_rows(running.folder)["site"] if oxd_id in row)
    document = json.loads(next(cell for cell in row if isinstance(cell, str) and cell.startswith("{")))
    key: dict[str, Any] = json.loads(document["dpop_key"])
    return key


async def test_the_key_is_made_kept_and_never_shown(running: Background, op: RunningSandbox) -> None:
    """It is in the store, survives an update, binds the tokens, and stands in no answer and no line of the log."""
    rp = await register(running.server, op.issuer, **BOUND)
    key = private_key(running, rp.oxd_id)
    await rp.ok("update_site", client_name="Renamed")
    assert private_key(running, rp.oxd_id) == key
    tokens = await rp.log_in()
    token = op.state.live_access_token(tokens["access_token"])
    assert token is not None
    assert token.thumbprint == ECKey.import_key({name: key[name] for name in ("kty", "crv", "x", "y")}).thumbprint()
    stored = await rp.stored()
    assert stored["dpop_bound_access_tokens"] is True
    assert "dpop_key" not in stored
    assert key["d"] not in json.dumps(stored)
    assert (await rp.ok("get_user_info", access_token=tokens["access_token"]))["claims"]["sub"]
    fresh = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
    assert (await rp.ok("get_user_info", access_token=fresh["access_token"]))["claims"]["sub"]
    assert key["d"] not in running.server.log_text()


async def test_an_unbound_site_sends_no_proof(server: ServerProcess, op: RunningSandbox) -> None:
    """It is off unless the site asks for it; then it has no proofs to give."""
    rp = await register(server, op.issuer)
    tokens = await rp.log_in()
    token = op.state.live_access_token(tokens["access_token"])
    assert token is not None
    assert token.thumbprint is None
    refused = await rp.error("get_dpop_proof", http_method="GET", url=API)
    assert refused["error"] == "invalid_request"
    await rp.ok("update_site", **BOUND)
    tokens = await rp.log_in()
    token = op.state.live_access_token(tokens["access_token"])
    assert token is not None
    assert token.thumbprint is not None


async def test_proofs_for_the_applications_own_requests(server: ServerProcess, op: RunningSandbox) -> None:
    """The application calls an API itself: here the userinfo endpoint, with a proof from the server."""
    rp = await register(server, op.issuer, **BOUND)
    access_token, url = (await rp.log_in())["access_token"], f"{op.issuer}/userinfo"
    request = {"access_token": access_token, "http_method": "GET", "url": url}
    proof = (await rp.ok("get_dpop_proof", **request))["dpop"]
    async with httpx2.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": f"DPoP {access_token}", "DPoP": proof}
        assert (await http.get(url, headers=headers)).json()["sub"]
        assert (await http.get(url, headers=headers)).status_code == 400, "a proof worked twice"
        assert (await http.get(url, headers={"Authorization": f"Bearer {access_token}"})).status_code == 401
    for changed in ({"http_method": "GET /"}, {"url": "/photos"}, {"url": "ftp://a/"}, {"nonce": "a b"}):
        assert (await rp.error("get_dpop_proof", **{**request, **changed}))["error"] == "invalid_request"


async def test_a_site_that_protects_itself_is_not_bound(running: Background, op: RunningSandbox) -> None:
    """Its own client's tokens protect its commands, and are shown without a proof."""
    site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": ["openid"], "dialect": "4"}
    answer = await running.server.call("register_site", **site, **BOUND)
    assert answer["data"]["error"] == "invalid_request"
    assert len(op.state.clients) == 0


async def test_a_setup_client_is_not_bound(running: Background, op: RunningSandbox) -> None:
    """Its tokens protect commands; the site beside it is bound."""
    site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": ["openid"]}
    data = (await running.server.call("setup_client", **site, **BOUND))["data"]
    bound = [client.metadata.get("dpop_bound_access_tokens") for _, client in op.state.clients._entries.values()]
    assert sorted(map(bool, bound)) == [False, True]
    assert private_key(running, data["oxd_id"])


# --- the gateway's side -----------------------------------------------------------------------


async def proof_of(rp: Rp, token: str, **request: str) -> str:
    """Return a proof of the site's key, as one of its users would send it."""
    usual = {"http_method": "GET", "url": API, **request}
    return str((await rp.ok("get_dpop_proof", access_token=token, **usual))["dpop"])


async def test_a_gateway_has_tokens_and_proofs_checked(server: ServerProcess, op: RunningSandbox) -> None:
    """introspect_access_token: the proof's key is the token's, and method, URL, token and time are the request's."""
    rp, other = await register(server, op.issuer, **BOUND), await register(server, op.issuer, **BOUND)
    plain = await register(server, op.issuer)
    token = (await rp.log_in())["access_token"]
    request = {"access_token": token, "http_method": "GET", "url": f"{API}?size=large"}
    proof = await proof_of(rp, token)
    answer = await plain.ok("introspect_access_token", **request, dpop=proof)
    assert (answer["active"], answer["token_type"]) == (True, "DPoP")
    refused: dict[str, dict[str, Any]] = {
        "used": {"dpop": proof},
        "wrong_key": {"dpop": await proof_of(other, token)},
        "wrong_htm": {"dpop": await proof_of(rp, token, http_method="POST")},
        "wrong_htu": {"dpop": await proof_of(rp, token, url=f"{API}/1")},
        "wrong_ath": {"dpop": await proof_of(rp, "another token")},
        "malformed": {"dpop": "nonsense"},
    }
    for check, changed in refused.items():
        error = await plain.error("introspect_access_token", **{**request, **changed})
        assert (error["error"], error["details"]["check"]) == ("invalid_dpop_proof", check)
    unbound = (await plain.log_in())["access_token"]
    held = {**request, "access_token": unbound, "dpop": await proof_of(rp, unbound)}
    assert (await plain.error("introspect_access_token", **held))["details"]["check"] == "not_bound"
    odd = await plain.error("introspect_access_token", **{**request, "url": "/photos"}, dpop=await proof_of(rp, token))
    assert odd["error"] == "invalid_request"
    missing = await plain.error("introspect_access_token", access_token=token, dpop=await proof_of(rp, token))
    assert missing["error"] == "bad_request"
    assert (await plain.ok("introspect_access_token", access_token="unknown", dpop=proof))["active"] is False
    assert (await plain.ok("introspect_access_token", access_token=token))["cnf"]["jkt"]


async def test_old_proofs_are_refused(server: ServerProcess, op: RunningSandbox) -> None:
    """A proof is for now: one of a client's own key that was made long ago is refused."""
    rp = await register(server, op.issuer)
    token, key = (await rp.log_in())["access_token"], ECKey.generate_key("P-256")
    known = op.state.live_access_token(token)
    assert known is not None
    known.thumbprint = key.thumbprint()
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    claims = {"jti": "1", "htm": "GET", "htu": API, "iat": int(time.time()) - 600}
    request = {"access_token": token, "http_method": "GET", "url": API, "dpop": jwt.encode(header, claims, key)}
    assert (await rp.error("introspect_access_token", **request))["details"]["check"] == "not_recent"


async def test_a_bound_rpt_needs_its_proof(server: ServerProcess, op: RunningSandbox) -> None:
    """uma_rs_check_access: an RPT that is bound to a key counts with a proof of it only."""
    uma = {"scope": ["openid", "uma_protection"], "grant_types": ["authorization_code", "client_credentials"]}
    rs = await register(server, op.issuer, **uma)
    rp = await register(server, op.issuer, **uma, **BOUND)
    protected = [{"path": "/photos", "conditions": [{"httpMethods": ["GET"], "scopes": ["https://app/view"]}]}]
    await rs.ok("uma_rs_protect", resources=protected)
    request = {"path": "/photos", "http_method": "GET"}
    ticket = (await rs.ok("uma_rs_check_access", **request))["ticket"]
    answer = await rp.ok("uma_rp_get_rpt", ticket=ticket)
    assert answer["token_type"] == "DPoP"
    rpt = answer["access_token"]
    held = {**request, "rpt": rpt, "url": API}
    assert (await rs.ok("uma_rs_check_access", **held, dpop=await proof_of(rp, rpt)))["access"] == "granted"
    assert (await rs.error("uma_rs_check_access", **held))["details"]["check"] == "missing_proof"
    stolen = await rs.error("uma_rs_check_access", **held, dpop=await proof_of(rp, rpt, http_method="POST"))
    assert (stolen["error"], stolen["details"]["check"]) == ("invalid_dpop_proof", "wrong_htm")


# --- the certified provider -------------------------------------------------------------------


@pytest.mark.node
@pytest.mark.parametrize("nonce", [False, True])
async def test_the_certified_provider(server: ServerProcess, nonce: bool) -> None:
    """A whole login with bound tokens; where it asks for nonces, each challenge is answered once."""
    async with real_provider(dpopNonce=nonce) as provider:
        rp = await register(server, provider.issuer, **BOUND)
        registered = json.loads((await rp.stored())["registered_metadata"])
        assert registered["dpop_bound_access_tokens"] is True
        tokens = await rp.log_in()
        assert (await provider.requests()).count("POST /token") == 1 + nonce
        user = await rp.ok("get_user_info", access_token=tokens["access_token"])
        assert user["claims"]["sub"] == ["alice"]
        fresh = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
        introspection = await rp.ok("introspect_access_token", access_token=fresh["access_token"])
        assert introspection["cnf"]["jkt"]
        request = {"access_token": fresh["access_token"], "http_method": "GET", "url": API}
        proof = (await rp.ok("get_dpop_proof", **request))["dpop"]
        assert (await rp.ok("introspect_access_token", **request, dpop=proof))["active"] is True
