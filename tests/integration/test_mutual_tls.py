"""Clients that show a certificate in TLS (RFC 8705), at the certified `oidc-provider`."""

from __future__ import annotations

import json
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from oxd_server.op.client_identity import thumbprint_of
from tests.integration.background import background
from tests.integration.conftest import StartServer
from tests.integration.faulty_op import Exchange, FaultyOp
from tests.integration.logins import REDIRECT_URI, Rp, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import SharedProviders, callback_params, log_in, shared_providers
from tests.integration.tls_op import make_authority, write_certificate

pytestmark = pytest.mark.node


@dataclass(frozen=True)
class World:
    """A server, the certificates that it shows, and a provider on TLS that its trust store knows."""

    server: ServerProcess
    folder: Path
    providers: SharedProviders
    issuer: str
    trust: ssl.SSLContext

    async def register(self, method: str, **params: Any) -> Rp:
        """Register a site that authenticates by this method."""
        return await register(self.server, self.issuer, client_token_endpoint_auth_method=method, **params)

    async def authorize(self, rp: Rp) -> dict[str, str]:
        """Log a person in; return the code and the state that come back."""
        url = (await rp.ok("get_authorization_url"))["authorization_url"]
        callback = callback_params(await log_in(url, redirect_uri=REDIRECT_URI, verify=self.trust))
        return {"code": callback["code"], "state": callback["state"]}

    async def log_in(self, rp: Rp) -> dict[str, Any]:
        """Log a person in; return the tokens."""
        return await rp.ok("get_tokens_by_code", **await self.authorize(rp))

    def requests(self) -> list[str]:
        """What the provider was asked since the last call."""
        return self.providers.requests(self.issuer)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One server and one provider for all tests here."""
    folder = tmp_path_factory.mktemp("mtls")
    authority = make_authority("an authority")
    (folder / "trust.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    write_certificate(folder / "client.pem", authority, "the-client")
    write_certificate(folder / "op.pem", authority, "localhost")
    (folder / "sites").mkdir()
    config = {
        "trust_store_path": str(folder / "trust.pem"),
        "mtls_client_key_store_path": str(folder / "client.pem"),
        "mtls_client_key_stores_path": str(folder / "sites"),
    }
    tls = {
        name: (folder / file).read_text() for name, file in (("key", "op.pem"), ("cert", "op.pem"), ("ca", "trust.pem"))
    }
    with shared_providers() as providers, background(folder, config) as both:
        trust = ssl.create_default_context(cafile=str(folder / "trust.pem"))
        yield World(both.server, folder, providers, providers.open(tls=tls), trust)


@pytest.mark.parametrize("method", ["tls_client_auth", "self_signed_tls_client_auth"])
async def test_a_login(world: World, method: str) -> None:
    """The OP knows the client by the certificate's subject, or by its key; all requests go to the aliases."""
    rp = await world.register(method)
    world.requests()
    tokens = await world.log_in(rp)
    await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
    asked = [request for request in world.requests() if request.endswith("/token")]
    assert asked == ["mtls POST /token"] * 2
    stored = await rp.stored()
    registered = stored["registered_metadata"]
    assert ("CN=the-client" in registered, "x5c" in registered) == (
        method == "tls_client_auth",
        method != "tls_client_auth",
    )


async def test_a_client_known_by_a_name_in_its_certificate(world: World) -> None:
    """The site says by which one; the OP refuses a certificate that has another."""
    rp = await world.register("tls_client_auth", tls_client_auth_san_dns="the-client")
    assert "subject_dn" not in (await rp.stored())["registered_metadata"]
    assert (await world.log_in(rp))["access_token"]
    foreign = await world.register("tls_client_auth", tls_client_auth_san_dns="another")
    redirect = await world.authorize(foreign)
    assert (await foreign.error("get_tokens_by_code", **redirect))["details"]["error"] == "invalid_client"


async def test_pushed_requests_too(world: World) -> None:
    """The endpoint of RFC 9126 authenticates clients as the token endpoint does."""
    rp = await world.register("tls_client_auth", require_pushed_authorization_requests=True)
    world.requests()
    await world.log_in(rp)
    assert "mtls POST /request" in world.requests()


async def test_tokens_that_are_bound_to_the_certificate(world: World) -> None:
    """Userinfo is asked for with it, and a resource server has it checked which certificate came with a token."""
    rp = await world.register("client_secret_basic", tls_client_certificate_bound_access_tokens=True)
    tokens = await world.log_in(rp)
    token = {"access_token": tokens["access_token"]}
    world.requests()
    assert (await rp.ok("get_user_info", **token))["claims"]["sub"] == ["alice"]
    told = await rp.ok("introspect_access_token", **token)
    assert told["cnf"]["x5t#S256"]
    assert {"mtls GET /me", "mtls POST /token/introspection"} <= set(world.requests())
    ours = (world.folder / "client.pem").read_text().partition("-----BEGIN CERTIFICATE")
    assert (await rp.ok("introspect_access_token", **token, client_certificate=ours[1] + ours[2]))["active"] is True
    other = write_certificate(world.folder / "other.pem", make_authority("another"), "the-client")
    refused = await rp.error("introspect_access_token", **token, client_certificate=other)
    assert refused["error"] == "invalid_client_certificate"
    assert (await rp.error("introspect_access_token", **token, client_certificate="x"))["error"] == "invalid_request"
    gone = await rp.ok("introspect_access_token", access_token="unknown", client_certificate=other)
    assert gone["active"] is False


async def test_a_token_that_is_not_bound(world: World) -> None:
    """Where the resource server wants a bound token, a plain one is refused."""
    rp = await world.register("client_secret_basic")
    tokens = await world.log_in(rp)
    ours = (world.folder / "client.pem").read_text().partition("-----BEGIN CERTIFICATE")
    refused = await rp.error(
        "introspect_access_token", access_token=tokens["access_token"], client_certificate=ours[1] + ours[2]
    )
    assert "not bound" in refused["error_description"]


async def test_an_rpt_that_is_bound_to_a_certificate(world: World, op: FaultyOp) -> None:
    """uma_rs_check_access: it counts with its certificate only, and what is bound to none counts without one only."""
    uma = {"scope": ["openid", "uma_protection"], "grant_types": ["authorization_code", "client_credentials"]}
    rs, rp = [await register(world.server, op.issuer, **uma) for _ in range(2)]
    protected = [{"path": "/photos", "conditions": [{"httpMethods": ["GET"], "scopes": ["https://app/view"]}]}]
    await rs.ok("uma_rs_protect", resources=protected)
    request = {"path": "/photos", "http_method": "GET"}
    ticket = (await rs.ok("uma_rs_check_access", **request))["ticket"]
    held = {**request, "rpt": (await rp.ok("uma_rp_get_rpt", ticket=ticket))["access_token"]}
    authority = make_authority("somebody")
    theirs, other = [write_certificate(world.folder / "rp.pem", authority, "rp") for _ in range(2)]
    refused = await rs.error("uma_rs_check_access", **held, client_certificate=theirs)
    assert "not bound" in refused["error_description"]
    confirmation = {"cnf": {"x5t#S256": thumbprint_of(theirs)}}

    async def bound(exchange: Exchange) -> None:
        status, headers, body = await exchange.forward()
        await exchange.reply((status, headers, json.dumps({**json.loads(body), **confirmation}).encode()))

    op.faults["/introspect"] = bound
    assert await rs.ok("uma_rs_check_access", **held, client_certificate=theirs) == {"access": "granted"}
    for wrong in ({}, {"client_certificate": other}):
        refused = await rs.error("uma_rs_check_access", **held, **wrong)
        assert refused["error"] == "invalid_client_certificate"
    refused = await rs.error("uma_rs_check_access", **held, client_certificate="x")
    assert refused["error"] == "invalid_request"


async def test_a_site_with_a_certificate_of_its_own(world: World) -> None:
    """The operator names it by the site's oxd_id; a reload finds it, and the client of the old one is no more."""
    rp = await world.register("tls_client_auth")
    await world.log_in(rp)
    own = world.folder / "sites" / f"{rp.oxd_id}.pem"
    write_certificate(own, make_authority("nobody knows it"), "the-client")
    await reload(world.server, 1)
    redirect = await world.authorize(rp)
    assert (await rp.error("get_tokens_by_code", **redirect))["details"]["error"] == "invalid_client"
    own.unlink()
    await reload(world.server, 2)
    await rp.ok("get_tokens_by_code", **redirect)


async def reload(server: ServerProcess, times: int) -> None:
    """Have the server read its files again; it has done so that many times then."""
    server.signal(signal.SIGHUP)
    while sum(line["event"] == "configuration_reloaded" for line in server.log_lines()) < times:
        await server.call("license_status")


async def test_without_a_certificate(start_server: StartServer, world: World) -> None:
    """A site that has to show one is not registered where there is none, and the error names the key."""
    async with start_server({"trust_store_path": str(world.folder / "trust.pem")}) as server:
        for site in (
            {"client_token_endpoint_auth_method": "tls_client_auth"},
            {"tls_client_certificate_bound_access_tokens": True},
        ):
            refused = await server.call(
                "register_site", op_host=world.issuer, authorization_redirect_uri=REDIRECT_URI, scope=["openid"], **site
            )
            assert refused["data"]["error"] == "invalid_request"
            assert "mtls_client_key_store_path" in refused["data"]["error_description"]
