"""Logins on another device, tokens for other servers, for others and for the site itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.background import Background
from tests.integration.faulty_op import Exchange, FaultyOp
from tests.integration.logins import REDIRECT_URI, Rp, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import SharedProviders, callback_params, log_in, shared_providers
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.user_agent import user_agent

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
GRANTS = ["authorization_code", "refresh_token", "client_credentials", DEVICE, EXCHANGE]
ALICE = {"username": "alice", "password": "wonderland"}
SECONDS = 30
DETAILS = [{"type": "payment_initiation", "actions": ["initiate"]}]


@pytest.fixture
def server(running: Background) -> ServerProcess:
    """The server."""
    return running.server


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    """An OP of the test's own."""
    async with running_sandbox() as op:
        yield op


@pytest.fixture(scope="module")
def providers() -> Iterator[SharedProviders]:
    """The certified provider, in one process for all tests here."""
    with shared_providers() as shared:
        yield shared


async def decide(started: dict[str, Any], decision: str = "allow") -> None:
    """Go to the sandbox's page with the code, as the user does, and decide."""
    url = started["verification_uri_complete"]
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert started["user_code"] in (await http.get(url)).text
        answer = await http.post(
            started["verification_uri"], data={"user_code": started["user_code"], "decision": decision, **ALICE}
        )
        assert answer.status_code == 303, answer.text


# --- another device ---------------------------------------------------------------------------


async def test_a_login_on_another_device(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Start, poll too early, the user logs in, tokens: whose they are is known and checked afterwards."""
    rp = await register(server, sandbox.issuer, grant_types=GRANTS)
    started = await rp.ok("start_device_login")
    assert started["verification_uri"] == f"{sandbox.issuer}/device"
    assert (started["interval"], started["expires_in"]) == (1, 600)
    code = {"device_code": started["device_code"]}
    early = await rp.ok("poll_device_login", **code)
    assert (early["status"], early["interval"]) == ("pending", 1)
    (login,) = sandbox.state.device_logins.values()
    assert login.asked_at <= sandbox.state.seconds()
    await decide(started)
    with trio.fail_after(SECONDS):
        while (polled := await rp.ok("poll_device_login", **code))["status"] == "pending":
            await trio.sleep(polled["interval"])
    assert polled["status"] == "complete"
    status = await rp.ok("id_token_status", id_token=polled["id_token"], access_token=polled["access_token"])
    user = await rp.ok("get_user_info", access_token=polled["access_token"])
    assert user["claims"]["sub"] == status["claims"]["sub"]
    sandbox.state.faults = {"userinfo_bad_sub"}
    refused = await rp.error("get_user_info", access_token=polled["access_token"])
    assert refused["details"]["check"] == "bad_subject"
    for secret in (started["device_code"], polled["access_token"]):
        assert secret not in server.log_text()


async def test_a_user_who_says_no(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """The OP's word is passed on, and so is that for a code that it does not know."""
    rp = await register(server, sandbox.issuer, grant_types=GRANTS)
    started = await rp.ok("start_device_login", scope=["openid"])
    await decide(started, "deny")
    with trio.fail_after(SECONDS):
        while True:
            answer = await server.call("poll_device_login", oxd_id=rp.oxd_id, device_code=started["device_code"])
            if answer["status"] == "error":
                break
            await trio.sleep(answer["data"]["interval"])
    assert answer["data"]["details"]["error"] == "access_denied"
    assert (await rp.error("poll_device_login", device_code="unknown"))["error"] == "http_status_400"
    (login,) = sandbox.state.device_logins.values()
    assert login.scope == "openid"


async def test_an_op_that_does_not_answer_is_asked_later(server: ServerProcess, op: FaultyOp) -> None:
    """A connection that breaks makes the next poll wait longer."""
    rp = await register(server, op.issuer, grant_types=GRANTS)
    started = await rp.ok("start_device_login")

    async def hang_up(exchange: Exchange) -> None:
        await exchange.stream.aclose()

    op.faults["/token"] = hang_up
    code = {"device_code": started["device_code"]}
    with trio.fail_after(SECONDS):
        while (answer := await server.call("poll_device_login", oxd_id=rp.oxd_id, **code))["status"] == "ok":
            await trio.sleep(answer["data"]["interval"])
    assert answer["data"]["error"] == "op_unreachable"
    assert (await rp.ok("poll_device_login", **code))["interval"] == 2


async def test_an_answer_without_a_token(server: ServerProcess, op: FaultyOp) -> None:
    """An OP that says yes and gives nothing has given nothing."""
    rp = await register(server, op.issuer, grant_types=GRANTS)

    async def nothing(exchange: Exchange) -> None:
        await exchange.reply((200, [(b"Content-Type", b"application/json")], b'{"token_type": "Bearer"}'))

    op.faults["/token"] = nothing
    assert (await rp.error("get_site_token"))["error"] == "no_access_token"
    # A code that was started elsewhere may be asked about at once.
    assert (await rp.error("poll_device_login", device_code="elsewhere"))["error"] == "no_access_token"


@pytest.mark.node
async def test_the_certified_provider_on_another_device(server: ServerProcess, providers: SharedProviders) -> None:
    """A person enters the code on its pages; the application gets the tokens."""
    issuer = providers.open()
    rp = await register(server, issuer, grant_types=GRANTS[:4])
    started = await rp.ok("start_device_login")
    async with user_agent() as person:
        url = started["verification_uri_complete"]
        with pytest.raises(AssertionError, match="no form"):  # its last page has none: the person is done
            await person.visit(url, until="nowhere", answers={"login": "alice", "password": "any", "abort": ""})
    with trio.fail_after(SECONDS):
        while (polled := await rp.ok("poll_device_login", device_code=started["device_code"]))["status"] == "pending":
            await trio.sleep(polled["interval"])
    user = await rp.ok("get_user_info", access_token=polled["access_token"])
    assert user["claims"]["sub"] == ["alice"]


# --- tokens for the site, for others and for other servers -----------------------------------


async def test_a_token_for_the_site(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Client credentials of the site itself, with its scope; bound, if its tokens are."""
    rp = await register(server, sandbox.issuer, grant_types=GRANTS, scope=["openid", "profile"])
    answer = await rp.ok("get_site_token", scope=["profile"])
    assert (answer["token_type"], answer["scope"], answer["expires_in"]) == ("Bearer", "profile", 3600)
    token = sandbox.state.live_access_token(answer["access_token"])
    assert token is not None
    assert token.grant.client_id == (await rp.stored())["client_id"]
    await rp.ok("update_site", dpop_bound_access_tokens=True)
    assert (await rp.ok("get_site_token"))["token_type"] == "DPoP"


async def test_one_token_for_another(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """The token of another application's user, exchanged for one of our own about the same user."""
    rp, other = [await register(server, sandbox.issuer, grant_types=GRANTS) for _ in range(2)]
    theirs = (await other.log_in())["access_token"]
    answer = await rp.ok("exchange_token", subject_token=theirs, scope=["openid", "profile"])
    assert answer["issued_token_type"].endswith(":access_token")
    assert (answer["token_type"], answer["refresh_token"]) == ("Bearer", None)
    ours = sandbox.state.live_access_token(answer["access_token"])
    assert ours is not None
    assert ours.grant.client_id == (await rp.stored())["client_id"]
    assert (await rp.ok("get_user_info", access_token=answer["access_token"]))["claims"]["sub"]
    refused = await rp.error("exchange_token", subject_token="unknown")
    assert refused["details"]["error"] == "invalid_request"
    half = await rp.error("exchange_token", subject_token=theirs, actor_token_type="jwt")
    assert half["error"] == "invalid_request"


def recorded(queries: list[dict[str, list[str]]]) -> Any:
    """Answer correctly, and note the form that came."""

    async def answer(exchange: Exchange) -> None:
        queries.append(parse_qs(exchange.body.decode()))
        await exchange.reply(await exchange.forward())

    return answer


async def test_what_a_token_is_for_is_said_everywhere(server: ServerProcess, op: FaultyOp) -> None:
    """Resource indicators and authorization details: in the URL, and in every request for tokens."""
    rp = await register(server, op.issuer, grant_types=GRANTS)
    wanted: dict[str, Any] = {"resource": ["https://a.example/", "urn:b"], "authorization_details": DETAILS}
    url = (await rp.ok("get_authorization_url", **wanted))["authorization_url"]
    sent = parse_qs(urlsplit(url).query)
    assert (sent["resource"], json.loads(sent["authorization_details"][0])) == (wanted["resource"], DETAILS)
    forms = list[dict[str, list[str]]]()
    op.faults["/token"] = op.faults["/device_authorization"] = recorded(forms)
    as_text = {"resource": "https://a.example/", "authorization_details": json.dumps(DETAILS)}
    redirect = await rp.authorize()
    code = {name: redirect[name] for name in ("code", "state")}
    tokens = await rp.ok("get_tokens_by_code", **code, **as_text)
    assert "authorization_details" not in tokens, "the OP told of none"
    await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"], **wanted)
    await rp.ok("get_site_token", **wanted, audience=["backend"])
    exchanged = {"subject_token": tokens["access_token"], "actor_token": tokens["access_token"], "audience": ["x", "y"]}
    await rp.ok("exchange_token", **exchanged, requested_token_type="access_token", **wanted)
    await rp.ok("start_device_login", acr_values=["basic"], **wanted)
    assert [form["resource"] for form in forms] == [["https://a.example/"], *[wanted["resource"]] * 4]
    assert [json.loads(form["authorization_details"][0]) for form in forms] == [DETAILS] * 5
    assert (forms[2]["audience"], forms[3]["audience"], forms[4]["acr_values"]) == (["backend"], ["x", "y"], ["basic"])
    assert forms[3]["actor_token_type"] == forms[3]["requested_token_type"]
    assert rp_asked_for_nothing(await plain_url(rp))


async def plain_url(rp: Rp) -> dict[str, list[str]]:
    """Return the query of a login that asks for nothing special."""
    return parse_qs(urlsplit((await rp.ok("get_authorization_url"))["authorization_url"]).query)


def rp_asked_for_nothing(query: dict[str, list[str]]) -> bool:
    """Tell whether no new parameter is there."""
    return not {"resource", "authorization_details", "dpop_jkt"} & query.keys()


@pytest.mark.parametrize(
    "wanted",
    [
        {"resource": "/relative"},
        {"resource": ["https://a.example/#part"]},
        {"authorization_details": "no JSON"},
        {"authorization_details": {"type": "alone"}},
        {"authorization_details": [{"actions": ["read"]}]},
        {"authorization_details": ["text"]},
    ],
    ids=str,
)
async def test_what_no_token_can_be_for(server: ServerProcess, sandbox: RunningSandbox, wanted: dict[str, Any]) -> None:
    """It is refused before anything is sent."""
    rp = await register(server, sandbox.issuer, grant_types=GRANTS)
    for command in ("get_authorization_url", "get_site_token", "start_device_login"):
        assert (await rp.error(command, **wanted))["error"] == "invalid_request"


@pytest.mark.node
async def test_the_certified_provider_and_other_servers(server: ServerProcess, providers: SharedProviders) -> None:
    """A token for one server, of the site and of a login."""
    issuer = providers.open()
    rp = await register(server, issuer, grant_types=GRANTS[:3])
    api = "https://api.example.org/"
    own = await rp.ok("get_site_token", resource=[api], scope=["read"])
    assert own["scope"] == "read"
    assert (await rp.ok("introspect_access_token", access_token=own["access_token"]))["aud"] == api
    redirect = await rp.authorize(resource=[api], scope=["openid", "write"])
    code = {name: redirect[name] for name in ("code", "state")}
    tokens = await rp.ok("get_tokens_by_code", **code, resource=[api])
    told = await rp.ok("introspect_access_token", access_token=tokens["access_token"])
    assert (told["aud"], told["scope"]) == (api, "write")


@pytest.mark.node
async def test_the_certified_provider_and_what_is_allowed(server: ServerProcess, providers: SharedProviders) -> None:
    """Authorization details: the person allows them, tokens have them, and a token request may ask for some of them."""
    api, types = {"resource": "https://api.example.org/"}, ["payment_initiation", "account_information"]
    accounts = [{"type": "account_information", "actions": ["read"], "locations": ["https://api.example.org/"]}]
    issuer = providers.open(authorizationDetailsTypes=types)
    rp = await register(server, issuer, grant_types=GRANTS[:3], authorization_details_types=types)
    redirect = await rp.authorize(**api, authorization_details=[*DETAILS, *accounts])
    tokens = await rp.ok("get_tokens_by_code", code=redirect["code"], state=redirect["state"], **api)
    assert tokens["authorization_details"] == await allowed(rp, tokens) == [*DETAILS, *accounts]
    refresh = {"refresh_token": tokens["refresh_token"], "authorization_details": accounts, **api}
    fresh = await rp.ok("get_access_token_by_refresh_token", **refresh)
    assert fresh["authorization_details"] == await allowed(rp, fresh) == accounts
    assert await allowed(rp, await rp.ok("get_site_token", authorization_details=DETAILS, **api)) == DETAILS
    refused = await rp.error("get_site_token", authorization_details=[{"type": "unknown"}], **api)
    assert refused["details"]["error"] == "invalid_authorization_details"


async def allowed(rp: Rp, tokens: dict[str, Any]) -> Any:
    """Ask the OP what the access token allows."""
    return (await rp.ok("introspect_access_token", access_token=tokens["access_token"]))["authorization_details"]


@pytest.mark.node
async def test_the_certified_provider_and_what_is_pushed(server: ServerProcess, providers: SharedProviders) -> None:
    """A pushed login has its authorization details as well."""
    pushed = {"pushedAuthorizationRequests": {"enabled": True, "requirePushedAuthorizationRequests": True}}
    api, types = {"resource": "https://api.example.org/"}, ["payment_initiation"]
    issuer = providers.open(authorizationDetailsTypes=types, features=pushed)
    rp = await register(server, issuer, authorization_details_types=types)
    url = (await rp.ok("get_authorization_url", authorization_details=DETAILS, **api))["authorization_url"]
    assert parse_qs(urlsplit(url).query).keys() == {"client_id", "request_uri"}
    redirect = callback_params(await log_in(url, redirect_uri=REDIRECT_URI))
    tokens = await rp.ok("get_tokens_by_code", code=redirect["code"], state=redirect["state"], **api)
    assert tokens["authorization_details"] == DETAILS
