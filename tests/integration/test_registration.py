"""Registration of clients and its management (RFC 7591, 7592): what reaches the OP, and what is kept of its answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oxd_protocol.site import RegisterSiteParams, UpdateSiteParams
from oxd_protocol.site_metadata import NEW_SITE_ALIASES, SITE_ALIASES
from oxd_server.sandbox.provider.model import Client
from tests.integration.background import Background
from tests.integration.faulty_op import DISCOVERY, REGISTRATION, TOKEN, Exchange, Fault, FaultyOp, altered
from tests.integration.logins import REDIRECT_URI, SCOPES, Rp, error_of, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.registration_fields import GENERATION_4, NOT_METADATA, PARAMS, REGISTERED, STORED
from tests.integration.stored import stored_rows

HOUR = 3600
CAPTURES = Path(__file__).parents[1] / "captures-4x" / "captures.jsonl"


@pytest.fixture
def server(running: Background) -> ServerProcess:
    """The server."""
    return running.server


def recorded(bodies: list[dict[str, Any]]) -> Fault:
    """Answer correctly, and note the JSON that came."""

    async def answer(exchange: Exchange) -> None:
        bodies.append(json.loads(exchange.body))
        await exchange.reply(await exchange.forward())

    return answer


async def client_of(op: FaultyOp, rp: Rp) -> Client:
    """Return the site's client as the OP has it."""
    client = op.sandbox.state.clients.get((await rp.stored())["client_id"])
    assert client is not None
    return client


# --- what reaches the OP ---------------------------------------------------------------------


async def test_every_field_reaches_the_op_and_is_kept(server: ServerProcess, op: FaultyOp) -> None:
    """register_site sends each documented field under its registered name, and get_rp shows it."""
    bodies: list[dict[str, Any]] = []
    op.faults[REGISTRATION] = recorded(bodies)
    rp = await register(server, op.issuer, **PARAMS)
    assert bodies == [REGISTERED]
    stored = await rp.stored()
    assert {name: stored[name] for name in STORED} == STORED


async def test_every_field_can_be_updated(server: ServerProcess, op: FaultyOp) -> None:
    """update_site does the same, and sends along what the OP answered before, its own members included."""
    rp = await register(server, op.issuer)
    bodies: list[dict[str, Any]] = []
    op.faults[REGISTRATION] = recorded(bodies)
    await rp.ok("update_site", **PARAMS)
    stored = await rp.stored()
    assert bodies == [{**REGISTERED, "subject_type": "public", "client_id": stored["client_id"]}]
    assert {name: stored[name] for name in STORED} == STORED


async def test_every_field_of_generation_4_reaches_the_op(server: ServerProcess, op: FaultyOp) -> None:
    """Each arrives in the registration request and in an update; what this server cannot do is named in the log."""
    bodies: list[dict[str, Any]] = []

    async def takes_everything(exchange: Exchange) -> None:
        bodies.append(json.loads(exchange.body))
        own = {"client_id": "c", "client_secret": "s" * 40, "registration_access_token": "token"}
        place = {"registration_client_uri": f"{op.issuer}{REGISTRATION}"}
        body = json.dumps({**bodies[-1], **own, **place}).encode()
        await exchange.reply((201, [(b"Content-Type", b"application/json")], body))

    op.faults[REGISTRATION] = takes_everything
    sent = {name: value for name, (value, _, _) in GENERATION_4.items()}
    due = {name: value for _, name, value in GENERATION_4.values()}
    uris = ["https://rp.example/logout", "https://rp.example/other"]
    rp = await register(server, op.issuer, **sent, client_frontchannel_logout_uris=uris)
    await rp.ok(
        "update_site", **{name: value for name, value in sent.items() if name != "logo_uri"}, logo_uri="https://b"
    )
    registered, updated = bodies
    assert {name: registered.get(name) for name in due} == due
    assert {name: updated.get(name) for name in due} == {**due, "logo_uri": "https://b"}
    lines = [json.dumps(line) for line in server.log_lines() if rp.oxd_id in json.dumps(line)]
    assert sum(uris[1] in line and uris[0] not in line for line in lines) == 2
    unable = [line for line in lines if "id_token_encrypted_response_alg" in line]
    assert len(unable) == 2
    assert "tls_client_auth_subject_dn" in unable[0]


def test_every_parameter_is_in_a_table_here() -> None:
    """So is every alias, and every parameter of the recorded requests of oxd 4.x; so none is dropped in silence."""
    tested = {*PARAMS, *GENERATION_4, *NOT_METADATA}
    for command, aliases in ((RegisterSiteParams, NEW_SITE_ALIASES), (UpdateSiteParams, SITE_ALIASES)):
        known = {field.encode_name for field in msgspec.structs.fields(command)}
        plain = {aliases.get(name, name) for name in tested}
        assert known - plain == {"client_secret_expires_at"} & known
    records = [json.loads(line) for line in CAPTURES.read_text("utf-8").splitlines()]
    sent = {name for one in records if one["path"] in ("/register-site", "/update-site") for name in one["body"]}
    assert {NEW_SITE_ALIASES.get(name, name) for name in sent} - tested == {"oxd_url"}  # Konga's own


async def test_the_documents_spelling_of_response_types(server: ServerProcess, op: FaultyOp) -> None:
    """update_site takes response_type as well, which is how its documentation spells it."""
    rp = await register(server, op.issuer)
    await rp.ok("update_site", response_type=["code id_token"])
    assert (await client_of(op, rp)).metadata["response_types"] == ["code id_token"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"client_token_endpoint_auth_method": "private_key_jwt"}, "invalid_request"),
        ({"client_token_endpoint_auth_method": "by_telephone"}, "invalid_request"),
        ({"client_token_endpoint_auth_signing_alg": "RS1"}, "invalid_algorithm"),
        (
            {
                "client_token_endpoint_auth_method": "client_secret_jwt",
                "client_token_endpoint_auth_signing_alg": "RS256",
            },
            "invalid_algorithm",
        ),
        ({"id_token_signed_response_alg": "none"}, "invalid_algorithm"),
        ({"userinfo_signed_response_alg": "none"}, "invalid_algorithm"),
        ({"authorization_redirect_uri": "/callback"}, "invalid_authorization_redirect_uri"),
        ({"redirect_uris": ["https://rp.example/#fragment"]}, "invalid_authorization_redirect_uri"),
    ],
    ids=str,
)
async def test_what_cannot_work_is_refused_before_the_op_is_asked(
    server: ServerProcess, op: FaultyOp, params: dict[str, Any], code: str
) -> None:
    """Neither register_site nor update_site bothers the OP with it, and the site stays as it is."""
    rp = await register(server, op.issuer)
    before = await rp.stored()
    op.requests.clear()
    site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
    assert error_of(await server.call("register_site", **{**site, **params})) == code
    assert (await rp.error("update_site", **params))["error"] == code
    assert op.requests == []
    assert await rp.stored() == before


async def test_a_refused_registration_stores_nothing(running: Background, op: FaultyOp) -> None:
    """What the OP says about a registration that it refuses reaches the caller; no site is made."""
    before = stored_rows(running.folder)
    site = {"op_host": op.issuer, "authorization_redirect_uri": "javascript:alert(1)", "scope": SCOPES}
    answer = await running.server.call("register_site", **site)
    assert error_of(answer) == "http_status_400"
    assert answer["data"]["details"]["error"] == "invalid_redirect_uri"
    assert stored_rows(running.folder) == before


async def test_a_refused_update_changes_nothing(server: ServerProcess, op: FaultyOp) -> None:
    """When the OP refuses an update, the site stays as it is."""
    rp = await register(server, op.issuer)
    before = await rp.stored()
    error = await rp.error("update_site", client_name="New", application_type="toaster")
    assert (error["error"], error["details"]["error"]) == ("http_status_400", "invalid_client_metadata")
    assert await rp.stored() == before


async def test_a_public_client_always_uses_pkce(server: ServerProcess, op: FaultyOp) -> None:
    """Without a secret there is PKCE even at an OP that does not say that it knows it; else only where it does."""
    op.faults[DISCOVERY] = altered(code_challenge_methods_supported=None)
    public = await register(server, op.issuer, client_token_endpoint_auth_method="none")
    confidential = await register(server, op.issuer)
    assert "code_challenge=" in (await public.ok("get_authorization_url"))["authorization_url"]
    assert "code_challenge=" not in (await confidential.ok("get_authorization_url"))["authorization_url"]
    await public.log_in()
    await confidential.log_in()


# --- what is kept of the answer --------------------------------------------------------------


async def test_what_the_application_asked_for_stays(server: ServerProcess, op: FaultyOp) -> None:
    """Whatever the OP makes of the request, the site goes on asking for the same; the answer is kept beside it."""
    changes = {
        "scope": "address phone",
        "client_name": "The OP's name for it",
        "grant_types": ["authorization_code"],
        "response_types": ["none", "code"],
        "redirect_uris": [""],
        "contacts": None,
        "invented": {"by": "the OP"},
    }
    op.faults[REGISTRATION] = altered(**changes)
    rp = await register(server, op.issuer, **PARAMS)
    stored = await rp.stored()
    assert {name: stored[name] for name in STORED} == STORED
    answered = json.loads(stored["registered_metadata"])
    assert {name: answered[name] for name in changes if name != "contacts"} | {"contacts": None} == changes
    bodies: list[Any] = []
    op.faults[REGISTRATION] = recorded(bodies)
    await rp.ok("update_site", client_name="New")
    assert bodies[0] == REGISTERED | {
        "client_name": "New",
        "client_id": stored["client_id"],
        "subject_type": "public",
        "contacts": REGISTERED["contacts"],
        "invented": {"by": "the OP"},
    }
    lines = (text for text in map(json.dumps, server.log_lines()) if rp.oxd_id in text)
    warning = next(text for text in lines if "did not register all" in text)
    assert "profile" in warning
    assert "id_token" in warning


async def test_an_op_that_repeats_nothing(server: ServerProcess, op: FaultyOp) -> None:
    """An OP whose answer holds nothing but the client's credentials has dropped nothing."""
    op.faults[REGISTRATION] = altered(**dict.fromkeys({*REGISTERED, "subject_type"}))
    rp = await register(server, op.issuer, **PARAMS)
    stored = await rp.stored()
    assert {name: stored[name] for name in STORED} == STORED


async def test_rotated_secrets_are_used_from_then_on(server: ServerProcess, op: FaultyOp) -> None:
    """An update that answers a new secret and a new registration token: login and next update use the new ones."""

    async def rotate(exchange: Exchange) -> None:
        status, headers, body = await exchange.forward()
        members = json.loads(body)
        client = op.sandbox.state.clients.get(members["client_id"])
        assert client is not None
        client.secret, client.registration_access_token = "a-new-secret", "a-new-token"
        members |= {"client_secret": client.secret, "registration_access_token": client.registration_access_token}
        await exchange.reply((status, headers, json.dumps(members).encode()))

    rp = await register(server, op.issuer)
    op.faults[REGISTRATION] = rotate
    await rp.ok("update_site", client_name="Second")
    stored = await rp.stored()
    assert stored["client_secret"] == "a-new-secret"
    assert stored["client_registration_access_token"] == "a-new-token"
    op.faults.clear()
    await rp.log_in()
    await rp.ok("update_site", client_name="Third")
    assert (await client_of(op, rp)).name == "Third"


# --- secrets that expire ---------------------------------------------------------------------


async def test_an_expired_secret_is_noticed_before_it_is_used(server: ServerProcess, op: FaultyOp) -> None:
    """The log warns, the command says so, the secret is not sent; a secret that never expires is no matter."""
    expired_at = int(time.time()) - HOUR
    op.faults[REGISTRATION] = altered(client_secret_expires_at=expired_at)
    rp = await register(server, op.issuer)
    stored = await rp.stored()
    assert stored["client_secret_expires_at"] == expired_at * 1000
    redirect = await rp.authorize()
    op.requests.clear()
    error = await rp.error("get_tokens_by_code", code=redirect["code"], state=redirect["state"])
    assert error["error"] == "invalid_request"
    assert "expired" in error["error_description"]
    assert error["details"] == {"client_id": stored["client_id"], "expired_at": expired_at}
    assert f"POST {TOKEN}" not in op.requests
    warning = [line for line in server.log_lines() if line.get("oxd_id") == rp.oxd_id and line["level"] == "warning"]
    assert [line["event"] for line in warning] == ["client_secret_expires"]
    assert stored["client_secret"] not in server.log_text()


async def test_a_secret_that_expires_soon_is_warned_about_and_used(server: ServerProcess, op: FaultyOp) -> None:
    """Within a day of its end the secret still works, and the log warns."""
    op.faults[REGISTRATION] = altered(client_secret_expires_at=int(time.time()) + HOUR)
    rp = await register(server, op.issuer)
    await rp.log_in()
    lines = [line for line in server.log_lines() if line.get("oxd_id") == rp.oxd_id and line["event"] != "command"]
    assert [line["level"] for line in lines] == ["warning"]


async def test_an_op_that_honours_the_expiry(server: ServerProcess, op: FaultyOp) -> None:
    """Milliseconds come in, seconds go to the OP, and its answer revives a client whose secret had expired."""
    sent: list[dict[str, Any]] = []
    later = int(time.time()) + 90 * 24 * HOUR

    async def honour(exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        sent.append(dict(body))
        expires_at = body.pop("client_secret_expires_at")
        exchange.body = json.dumps(body).encode()
        await altered(client_secret_expires_at=expires_at)(exchange)

    op.faults[REGISTRATION] = altered(client_secret_expires_at=int(time.time()) - HOUR)
    rp = await register(server, op.issuer)
    op.faults[REGISTRATION] = honour
    await rp.ok("update_site", client_secret_expires_at=later * 1000)
    assert [body["client_secret_expires_at"] for body in sent] == [later]
    assert (await rp.stored())["client_secret_expires_at"] == later * 1000
    await rp.log_in()


async def test_an_op_that_refuses_the_expiry(server: ServerProcess, op: FaultyOp) -> None:
    """The rest of the update happens without it, and the expiry stays what the OP said."""
    rp = await register(server, op.issuer)
    op.requests.clear()
    await rp.ok("update_site", client_name="New", client_secret_expires_at=2_000_000_000_000)
    assert op.requests == [f"PUT {REGISTRATION}", f"PUT {REGISTRATION}"]
    stored = await rp.stored()
    assert (stored["client_name"], stored["client_secret_expires_at"]) == ("New", 0)


async def test_without_registration_management(server: ServerProcess, op: FaultyOp) -> None:
    """A site that has no client configuration endpoint cannot be updated, and the error says why."""
    op.faults[REGISTRATION] = altered(registration_client_uri=None, registration_access_token=None)
    rp = await register(server, op.issuer)
    assert (await rp.error("update_site", client_name="New"))["error"] == "invalid_registration_client_url"


async def test_a_foreign_registration_uri_is_never_kept(server: ServerProcess, op: FaultyOp) -> None:
    """A bearer token would go there: register_site and setup_client refuse it, update_site does not take it."""
    foreign = {"client_registration_client_uri": "http://127.0.0.1:9/register/x", "client_secret": "a-made-up-secret"}
    rp = await register(server, op.issuer)
    brought = {
        "authorization_redirect_uri": REDIRECT_URI,
        "scope": ["openid"],
        "op_host": op.issuer,
        "client_id": "brought",
        **foreign,
    }
    for command in ("register_site", "setup_client"):
        assert error_of(await server.call(command, **brought)) == "restricted_op_host"
    await server.call("update_site", oxd_id=rp.oxd_id, **foreign)
    assert (await rp.stored())["client_registration_client_uri"].startswith(op.issuer)
    op.faults[REGISTRATION] = altered(registration_client_uri=None, registration_access_token=None)
    unmanaged = await register(server, op.issuer)
    params = {**foreign, "client_registration_access_token": "a-made-up-token"}
    assert (await unmanaged.error("update_site", **params))["error"] == "restricted_op_host"
    assert (await unmanaged.stored()).get("client_registration_client_uri") is None
