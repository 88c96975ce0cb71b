"""`introspect_rpt`, `uma_rp_get_rpt`, `uma_rp_get_claims_gathering_url`, and the PAT."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from oxd_server.store import Site, SiteSession
from tests.clock import NOW
from tests.integration.uma_as import CLIENT_ID, CLIENT_SECRET, INTROSPECT, PAT, RPT, answer, error, fail, lose_pat
from tests.integration.uma_services import OXD_ID, House, uma_house

CALLERS = 200
PHOTO = [{"path": "/photo", "conditions": [{"httpMethods": ["GET"], "scopes": ["view"]}]}]
BACK = "https://client.example.com/cb?a=1&b=ü"


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with uma_house() as opened:
        yield opened


NOT_ACTIVE = {"active": False, "permissions": (), **dict.fromkeys(("nbf", "client_id", "sub", "aud", "iss", "jti"))}


async def test_introspection_in_the_documented_shape(house: House) -> None:
    """The documented members are passed on, under their names, and nothing else."""
    rpt = house.authorization_server.issue_rpt(
        {"resource_id": "r", "resource_scopes": ["view"], "exp": NOW, "resource_name": "x"},
        exp=int(NOW), iat="1799999999", nbf=None, client_id="c", sub="s", aud=["a"], iss="i", jti="j", username="bob",
    )  # fmt: skip
    assert await house.call("introspect_rpt", rpt=rpt) == {
        "active": True,
        "exp": NOW,
        "iat": 1_799_999_999,
        "nbf": None,
        "permissions": ({"resource_id": "r", "resource_scopes": ("view",), "exp": NOW},),
        "client_id": "c",
        "sub": "s",
        "aud": ["a"],
        "iss": "i",
        "jti": "j",
    }
    assert house.authorization_server.forms[-1]["token"] == rpt


async def test_introspection_of_an_unknown_rpt(house: House) -> None:
    """An RPT that the server does not know is not active, and there is nothing else to say."""
    assert await house.call("introspect_rpt", rpt="nobody's") == NOT_ACTIVE


async def test_introspection_needs_an_rpt(house: House) -> None:
    """Without an RPT there is nothing to ask."""
    assert (await house.call("introspect_rpt", rpt=""))["error"] == "invalid_rpt_parameter"
    assert house.requests() == []


async def _ticket(house: House) -> str:
    if not await house.protected():
        await house.call("uma_rs_protect", resources=PHOTO)
    ticket = (await house.call("uma_rs_check_access", path="/photo", http_method="GET"))["ticket"]
    house.requests()
    return str(ticket)


async def test_rpt_for_a_ticket(house: House) -> None:
    """A ticket gives an RPT, which then gets its bearer in."""
    got = await house.call("uma_rp_get_rpt", ticket=await _ticket(house))
    rpt = got.pop("access_token")
    assert got == {"token_type": "Bearer", "pct": "pct-1", "updated": False}
    assert house.authorization_server.forms[-1].keys() == {"grant_type", "ticket"}
    granted = await house.call("uma_rs_check_access", path="/photo", http_method="GET", rpt=rpt)
    assert granted == {"access": "granted"}


async def test_everything_that_is_shown_is_sent(house: House) -> None:
    """The claim token, its format, the PCT, the old RPT and the scopes reach the server, and its answer comes back."""
    shown = {"claim_token": "ct", "claim_token_format": "f", "pct": "p", "rpt": "old"}
    got = await house.call("uma_rp_get_rpt", ticket=await _ticket(house), scope="a b", **shown)
    assert got["updated"] is True
    sent = house.authorization_server.forms[-1]
    assert {name: sent[name] for name in shown} == shown
    assert sent["scope"] == "a b"


async def test_every_ticket_gets_its_own_rpt(house: House) -> None:
    """Nobody is ever handed the RPT of somebody else: every call asks the server with its own ticket."""
    first = await house.call("uma_rp_get_rpt", ticket=await _ticket(house))
    second = await house.call("uma_rp_get_rpt", ticket=await _ticket(house))
    assert first["access_token"] != second["access_token"]
    assert (await house.call("uma_rp_get_rpt", ticket="stolen"))["error"] == "invalid_ticket"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "invalid_ticket_parameter"),
        ({"ticket": " "}, "invalid_ticket_parameter"),
        ({"ticket": "t", "claim_token": "ct"}, "invalid_request"),
        ({"ticket": "t", "claim_token": "ct", "claim_token_format": ""}, "invalid_request"),
        ({"ticket": "t", "state": "made up"}, "invalid_state"),
    ],
)
async def test_bad_requests_for_an_rpt(house: House, params: dict[str, Any], code: str) -> None:
    """What can be seen to be wrong is refused before the server is asked."""
    assert (await house.call("uma_rp_get_rpt", **params))["error"] == code
    assert house.requests() == []


NEED_INFO = {
    "error": "need_info",
    "ticket": "the-next-ticket",
    "required_claims": [{"name": "email", "claim_token_format": ["f"]}],
    "redirect_user": "https://as.example.com/rqp_claims?id=1",
    "something_new": {"a": 1},
}


async def test_need_info_keeps_everything_the_server_said(house: House) -> None:
    """The server's whole object lies under `details`, members that we do not know included."""
    house.authorization_server.rpt_reply = answer(403, NEED_INFO)
    refused = await house.call("uma_rp_get_rpt", ticket="t")
    assert refused["error"] == "need_info"
    assert refused["description"].startswith("The authorization server needs additional information")
    assert refused["details"] == NEED_INFO


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"error": "invalid_grant"}, "invalid_ticket"),
        (400, {"error": "invalid_ticket", "x": 1}, "invalid_ticket"),
        (403, {"error": "request_submitted", "ticket": "t2", "interval": 5}, "http_status_403"),
        (403, {"error": "request_denied"}, "http_status_403"),
        (400, {"error": "invalid_scope"}, "http_status_400"),
        (401, {"error": "invalid_client"}, "http_status_401"),
        (500, {"error": "server_error"}, "http_status_500"),
    ],
)
async def test_refusals(house: House, status: int, body: dict[str, Any], code: str) -> None:
    """A refused ticket has a code of its own; every other refusal keeps the server's code and object in `details`."""
    house.authorization_server.rpt_reply = answer(status, body)
    refused = await house.call("uma_rp_get_rpt", ticket="t")
    assert refused["error"] == code
    assert refused["details"] == body


@pytest.mark.parametrize(
    "reply", [{}, {"access_token": "", "token_type": "Bearer"}, {"access_token": "a"}, {"access_token": 7}]
)
async def test_an_answer_without_an_rpt_makes_no_sense(house: House, reply: dict[str, Any]) -> None:
    """A success without a bearer token is the server's fault."""
    house.authorization_server.rpt_reply = answer(200, reply)
    assert (await house.call("uma_rp_get_rpt", ticket="t"))["error"] == "op_invalid_response"


async def test_server_that_is_down_or_slow() -> None:
    """An RPT request that gets no answer is not repeated: the ticket may be used up."""
    async with uma_house(timeout=1.0) as house:
        house.authorization_server.fault(RPT, "hang")
        assert (await house.call("uma_rp_get_rpt", ticket="t"))["error"] == "op_unreachable"
        assert house.requests().count(RPT) == 1


async def _gathering(house: House, **params: Any) -> dict[str, Any]:
    return await house.call("uma_rp_get_claims_gathering_url", **{"ticket": "t", "claims_redirect_uri": BACK, **params})


async def test_claims_gathering_url(house: House) -> None:
    """The URL has every value percent-encoded, keeps the endpoint's own query, and carries the state beside it."""
    got = await _gathering(house, ticket="a&b=c #ü")
    assert got["url"].startswith(f"{house.authorization_server.base}/claims?theme=dark&client_id=")
    assert got["url"].isascii()
    assert parse_qs(urlsplit(got["url"]).query) == {
        "theme": ["dark"],
        "client_id": [CLIENT_ID],
        "ticket": ["a&b=c #ü"],
        "claims_redirect_uri": [BACK],
        "state": [got["state"]],
    }


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"ticket": ""}, "invalid_ticket_parameter"),
        ({"claims_redirect_uri": None}, "invalid_claims_redirect_uri_parameter"),
        ({"claims_redirect_uri": "/cb"}, "invalid_claims_redirect_uri_parameter"),
        ({"claims_redirect_uri": "https://[/cb"}, "invalid_claims_redirect_uri_parameter"),
        ({"claims_redirect_uri": "https://a/ b"}, "invalid_claims_redirect_uri_parameter"),
    ],
)
async def test_bad_requests_for_a_claims_gathering_url(house: House, params: dict[str, Any], code: str) -> None:
    """A missing ticket and a redirect URI that is none have codes of their own."""
    assert (await _gathering(house, **params))["error"] == code
    assert house.requests() == []


async def test_a_server_without_claims_gathering() -> None:
    """A server that publishes no claims_interaction_endpoint cannot gather claims, and the answer says so."""
    async with uma_house(metadata={"claims_interaction_endpoint": None}) as house:
        refused = await _gathering(house)
        assert refused["error"] == "op_invalid_response"
        assert refused["details"] == {"missing": "claims_interaction_endpoint"}


async def test_state_is_used_up_by_an_rpt(house: House) -> None:
    """A state is good for one RPT: a refusal leaves it good, an RPT uses it up."""
    state = (await _gathering(house))["state"]
    assert (await house.call("uma_rp_get_rpt", ticket="unknown", state=state))["error"] == "invalid_ticket"
    assert "access_token" in await house.call("uma_rp_get_rpt", ticket=await _ticket(house), state=state)
    again = await house.call("uma_rp_get_rpt", ticket=await _ticket(house), state=state)
    assert (again["error"], again["details"]) == ("invalid_state", {"check": "state_used"})


async def test_state_expires_and_belongs_to_its_site_and_purpose(house: House) -> None:
    """Neither an old state, nor another site's, nor one that was issued for a login is accepted."""
    state = (await _gathering(house))["state"]
    login = house.services.logins.issue(OXD_ID, pkce=False).state
    base = house.authorization_server.base
    await house.store.add(Site(oxd_id="site-2", op_host=base, client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
    for change, check in (
        ({"state": login}, "state_unknown"),
        ({"state": state, "oxd_id": "site-2"}, "state_unknown"),
    ):
        refused = await house.call("uma_rp_get_rpt", ticket="t", **change)
        assert (refused["error"], refused["details"]) == ("invalid_state", {"check": check})
    house.clock.now += 301
    refused = await house.call("uma_rp_get_rpt", ticket="t", state=state)
    assert (refused["error"], refused["details"]) == ("invalid_state", {"check": "state_expired"})


async def test_pat_is_kept_until_it_expires(house: House) -> None:
    """A PAT is asked for once, used by every command, and asked for again when its time is over."""
    for _ in range(3):
        await house.call("introspect_rpt", rpt="r")
    assert house.requests().count(PAT) == 1
    house.clock.now += house.authorization_server.pat_lifetime - 1
    await house.call("introspect_rpt", rpt="r")
    assert house.requests() == [INTROSPECT]
    house.clock.now += 1
    await house.call("introspect_rpt", rpt="r")
    assert house.requests() == [PAT, INTROSPECT]
    session = await house.store.session(OXD_ID)
    assert (session.pat_expires_in, session.pat_created_at) == (300, house.clock.now * 1000)


async def test_pat_without_a_lifetime_is_kept_until_it_is_refused(house: House) -> None:
    """An imported PAT of unknown age is used until the server does not take it."""
    house.authorization_server.pats.add("imported")
    await house.store.change_session(OXD_ID, lambda _: SiteSession(pat="imported"))
    house.clock.now += 10**6
    await house.call("introspect_rpt", rpt="r")
    house.authorization_server.fault(INTROSPECT, lose_pat)
    await house.call("introspect_rpt", rpt="r")
    assert [step for step in house.requests() if step in (PAT, INTROSPECT)] == [INTROSPECT, INTROSPECT, PAT, INTROSPECT]


async def test_imported_pat_that_no_header_can_carry(house: House) -> None:
    """A PAT that is no token is replaced before anything is sent with it."""
    await house.store.change_session(OXD_ID, lambda _: SiteSession(pat="a\r\nb"))
    assert await house.call("introspect_rpt", rpt="r") == NOT_ACTIVE


@pytest.mark.parametrize(("scope", "fits"), [(None, True), ("uma_protection", True), ("openid", False)])
async def test_pat_must_have_its_scope(scope: str | None, fits: bool) -> None:
    """A token without uma_protection is no PAT; a server that names no scope gave what was asked for."""
    async with uma_house(pat_scope=scope) as house:
        got = await house.call("introspect_rpt", rpt="r")
        assert ("error" not in got) is fits
        assert got.get("error") in (None, "op_invalid_response")


def _expire(house: House) -> None:
    house.clock.now += 3600


def _lose(house: House) -> None:
    house.authorization_server.pats.clear()


@pytest.mark.parametrize("spoil", [_expire, _lose])
async def test_many_callers_share_one_renewal(house: House, spoil: Callable[[House], None]) -> None:
    """When the PAT has just expired or was just lost, many callers cause one PAT request, and all get their answer."""
    await house.call("uma_rs_protect", resources=PHOTO)
    spoil(house)
    house.requests()
    answers: list[dict[str, Any]] = []

    async def ask() -> None:
        answers.append(await house.call("uma_rs_check_access", path="/photo", http_method="GET"))

    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(ask)
    assert [one["access"] for one in answers] == ["denied"] * CALLERS
    assert len({one["ticket"] for one in answers}) == CALLERS
    assert house.requests().count(PAT) == 1


async def test_a_failed_renewal_is_told_to_all_and_tried_again_later(house: House) -> None:
    """Everyone who waited for the renewal gets its error; the next caller tries again."""
    house.authorization_server.fault(PAT, fail)
    errors: list[dict[str, Any]] = []

    async def ask() -> None:
        errors.append(await house.call("introspect_rpt", rpt="r"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert {one.get("error", "ok") for one in errors} <= {"http_status_500", "ok"}
    assert "http_status_500" in [one.get("error") for one in errors]
    assert "error" not in await house.call("introspect_rpt", rpt="r")


async def test_a_client_that_may_not_have_a_pat(house: House) -> None:
    """The server's refusal of a PAT reaches the caller with its code."""
    house.authorization_server.fault(PAT, lambda _: error(400, "unauthorized_client"))
    refused = await house.call("introspect_rpt", rpt="r")
    assert (refused["error"], refused["details"]) == ("http_status_400", {"error": "unauthorized_client"})
