"""TLS between the server and an OP: a bad certificate is refused at every endpoint, and nothing is sent there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import preloaded
from tests.integration.background import Background, background
from tests.integration.conftest import StartServer
from tests.integration.logins import REDIRECT_URI, SCOPES, Rp, data_of, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.stored import stored_rows
from tests.integration.tls_op import KINDS, Certificates, TlsOp, make_certificates, tls_op

WHY = {"expired": "expired", "wrong host": "Hostname mismatch", "untrusted": "unable to get local issuer certificate"}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates of all tests here."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def running(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """A server that trusts the good authority."""
    with background(tmp_path_factory.mktemp("tls"), {"trust_store_path": str(certificates.trust_store)}) as both:
        yield both


async def log_in(rp: Rp, op: TlsOp) -> dict[str, str]:
    """Return the params of `get_tokens_by_code` after a login."""
    return op.log_in((await rp.ok("get_authorization_url"))["authorization_url"])


async def whole_login(server: ServerProcess, op: TlsOp) -> dict[str, Any]:
    """Register, log in, get claims, update: every endpoint is used."""
    rp = await register(server, op.issuer)
    tokens = await rp.ok("get_tokens_by_code", **await log_in(rp, op))
    await rp.ok("get_user_info", access_token=tokens["access_token"])
    await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
    await rp.ok("introspect_access_token", access_token=tokens["access_token"])
    await rp.ok("update_site", client_name="New")
    return tokens


def site_at(op_host: str) -> dict[str, Any]:
    """The params of `register_site`."""
    return {"op_host": op_host, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}


def check_refusal(answer: dict[str, Any], code: str, kind: str) -> None:
    """Assert that the answer is this error and says what is wrong with the certificate."""
    assert answer["status"] == "error", answer
    data = answer["data"]
    assert data["error"] == code
    assert "certificate is not trusted" in data["error_description"]
    assert WHY[kind] in data["error_description"]
    assert data["details"]["reason"] == "op_unreachable"


async def test_a_good_certificate(running: Background, certificates: Certificates) -> None:
    """With the authority in the trust store, every endpoint is used."""
    async with tls_op(certificates, "untrusted") as op:
        await whole_login(running.server, op)
        assert {request.split()[0] for request in op.requests} == {"good"}


@each_kind
async def test_a_bad_certificate_at_the_discovery(running: Background, certificates: Certificates, kind: str) -> None:
    """Nothing is sent to an OP whose certificate is bad, and no site is made."""
    before = stored_rows(running.folder)
    async with tls_op(certificates, kind, all_bad=True) as op:
        answer = await running.server.call("register_site", **site_at(op.issuer))
        check_refusal(answer, "no_connect_discovery_response", kind)
        assert op.requests == []
    assert stored_rows(running.folder) == before


@each_kind
async def test_a_bad_certificate_at_the_registration(
    running: Background, certificates: Certificates, kind: str
) -> None:
    """The same where only the registration endpoint lies behind it."""
    before = stored_rows(running.folder)
    async with tls_op(certificates, kind) as op:
        op.moved = {"registration_endpoint"}
        check_refusal(await running.server.call("register_site", **site_at(op.issuer)), "op_unreachable", kind)
        assert "bad" not in {request.split()[0] for request in op.requests}
    assert stored_rows(running.folder) == before


@each_kind
@pytest.mark.parametrize("endpoint", ["token_endpoint", "jwks_uri"])
async def test_a_bad_certificate_in_the_middle_of_a_login(
    running: Background, certificates: Certificates, kind: str, endpoint: str
) -> None:
    """The same for the token endpoint and for the key set: no code and no secret gets there, no login succeeds."""
    async with tls_op(certificates, kind) as op:
        op.moved = {endpoint}
        rp = await register(running.server, op.issuer)
        params = await log_in(rp, op)
        before = stored_rows(running.folder)["site_session"]
        check_refusal(
            await running.server.call("get_tokens_by_code", oxd_id=rp.oxd_id, **params), "op_unreachable", kind
        )
        assert "bad" not in {request.split()[0] for request in op.requests}
        assert stored_rows(running.folder)["site_session"] == before


@each_kind
@pytest.mark.parametrize(
    ("endpoint", "command"),
    [
        ("userinfo_endpoint", "get_user_info"),
        ("introspection_endpoint", "introspect_access_token"),
        ("registration_client_uri", "update_site"),
    ],
)
async def test_a_bad_certificate_after_the_login(
    running: Background, certificates: Certificates, kind: str, endpoint: str, command: str
) -> None:
    """The same for userinfo, introspection and the client's configuration: no token gets there."""
    async with tls_op(certificates, kind) as op:
        op.moved = {endpoint}
        rp = await register(running.server, op.issuer)
        tokens = await rp.ok("get_tokens_by_code", **await log_in(rp, op))
        params = {"client_name": "New"} if command == "update_site" else {"access_token": tokens["access_token"]}
        answer = await running.server.call(command, oxd_id=rp.oxd_id, **params)
        if command == "update_site":  # it is of another origin than the registration endpoint, and not called at all
            assert answer["data"]["error"] == "restricted_op_host"
        else:
            check_refusal(answer, "op_unreachable", kind)
        assert "bad" not in {request.split()[0] for request in op.requests}


async def test_by_default_the_system_decides(start_server: StartServer, certificates: Certificates) -> None:
    """Without a trust store an authority that the system does not know is not trusted."""
    async with start_server() as server, tls_op(certificates, "untrusted") as op:
        answer = await server.call("register_site", **site_at(op.issuer))
        check_refusal(answer, "no_connect_discovery_response", "untrusted")
        assert op.requests == []


@each_kind
async def test_trust_all_certs(start_server: StartServer, certificates: Certificates, kind: str) -> None:
    """With trust_all_certs everything goes through, and the log warns loudly."""
    async with start_server({"trust_all_certs": True}) as server, tls_op(certificates, kind, all_bad=True) as op:
        await whole_login(server, op)
        warnings = [line.get("message", "") for line in server.log_lines() if line.get("level") == "warning"]
        assert any("trust_all_certs is true: no certificate is checked" in warning for warning in warnings)


async def test_an_https_op_cannot_lead_to_plain_http(running: Background, certificates: Certificates) -> None:
    """An OP on TLS that names an endpoint without TLS: the step that needs it is refused, and the code goes nowhere."""
    async with tls_op(certificates, "untrusted") as op:
        op.moved, op.bad_url = {"token_endpoint"}, "http://127.0.0.1:9"
        rp = await register(running.server, op.issuer)
        answer = await running.server.call("get_tokens_by_code", oxd_id=rp.oxd_id, **await log_in(rp, op))
        assert answer["data"]["error"] == "op_invalid_response"
        assert "token_endpoint is not an https URL" in answer["data"]["error_description"]


async def test_https_is_meant_where_no_scheme_is_given(running: Background, certificates: Certificates) -> None:
    """op_host may be a bare host and port, and may end with a slash: it is reached over TLS."""
    async with tls_op(certificates, "untrusted") as op:
        answer = data_of(await running.server.call("register_site", **site_at(f"{op.issuer[len('https://') :]}/")))
        assert answer["op_host"] == op.issuer


def test_the_trust_store_may_not_be_missing(tmp_path: Path) -> None:
    """A trust store that cannot be read stops the start; it is never replaced by trusting the system."""
    config = tmp_path / "oxd-conf.json"
    config.write_text('{"storage": "memory", "trust_store_path": "no-such-file.pem"}')
    ran = preloaded.run("serve", "--config", config)
    assert ran.returncode != 0
    assert "no-such-file.pem" in ran.stderr + ran.stdout
