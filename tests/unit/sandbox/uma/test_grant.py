"""From a ticket to an RPT: policies, pushed claims, upgrades, and what an RPT is good for."""

import base64
import json
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from oxd_server.sandbox.uma.policies import MissingClaims, friendly_name, policy_for
from tests.unit.sandbox.conftest import PASSWORDS, Op
from tests.unit.sandbox.uma.roles import (
    CLAIMS_REDIRECT_URI,
    RequestingParty,
    ResourceServer,
    requesting_party,
    resource_server,
)

ID_TOKEN = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"
JWT = "urn:ietf:params:oauth:token-type:jwt"
NEW_YORK = {"country": "US", "city": "NY"}


def encoded(claims: Any) -> str:
    """A claim_token: a JSON value in base64url."""
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def pushed(claims: Any) -> dict[str, str]:
    """The parameters that push claims."""
    return {"claim_token": encoded(claims), "claim_token_format": JWT}


@pytest.fixture
async def rs(op: Op) -> ResourceServer:
    """A resource server with its PAT."""
    return await resource_server(op)


@pytest.fixture
async def rp(op: Op) -> RequestingParty:
    """A client that comes with tickets."""
    return await requesting_party(op)


# --- policies --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "claims", "allowed"),
    [
        ("read", {}, True),
        ("nobody", NEW_YORK, False),
        ("https://photos.example/scopes/nobody", {}, False),
        ("https://photos.example/scopes/nobody/", {}, False),
        ("everyone-but-nobody", {}, True),
        ("new-yorkers", NEW_YORK, True),
        ("new-yorkers", {"country": "us", "city": "new york"}, True),
        ("new-yorkers", {"country": "US", "city": "Boston"}, False),
        ("new-yorkers", {"country": "DK", "city": "NY"}, False),
        ("new-yorkers", {"country": "", "city": ""}, False),
    ],
)
def test_a_policy_decides(scope: str, claims: dict[str, str], allowed: bool) -> None:
    """The table's policy decides for the scope or for the last part of its path; without one everybody may."""
    assert policy_for(scope)(claims) is allowed


def test_a_policy_asks_for_all_that_is_missing() -> None:
    """A policy names every claim that it lacks, at once, and people read a friendly name."""
    with pytest.raises(MissingClaims) as caught:
        policy_for("new-yorkers")({})
    assert caught.value.names == ("country", "city")
    assert friendly_name("shoe_size") == "Shoe size"


# --- the grant -------------------------------------------------------------------------------


async def test_a_ticket_becomes_an_rpt(rs: ResourceServer, rp: RequestingParty) -> None:
    """A ticket for open scopes gives an RPT whose introspection names exactly them."""
    resource_id = await rs.register("read", "write")
    answer = await rp.rpt(await rs.ticket((resource_id, ["read"])))
    assert answer.keys() == {"access_token", "token_type", "expires_in", "upgraded"}
    assert answer["upgraded"] is False
    introspected = await rs.introspect(answer["access_token"])
    assert introspected["active"] is True
    assert introspected["client_id"] == rp.client["client_id"]
    assert introspected["permissions"] == [
        {"resource_id": resource_id, "resource_scopes": ["read"], "exp": int(rp.op.time) + 3600}
    ]


async def test_a_ticket_is_good_for_one_use(rs: ResourceServer, rp: RequestingParty) -> None:
    """The second use of a ticket gets invalid_grant, and so do an unknown and an expired one."""
    ticket = await rs.ticket_for("read")
    await rp.rpt(ticket)
    assert (await rp.refused(ticket))["error"] == "invalid_grant"
    assert (await rp.refused("unknown"))["error"] == "invalid_grant"
    late = await rs.ticket_for("read")
    rp.op.time += 301
    refused = await rp.refused(late)
    assert (refused["status"], refused["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("params", [{"claim_token": "x"}, {"claim_token_format": JWT}])
async def test_a_request_with_a_gap_costs_no_ticket(
    rs: ResourceServer, rp: RequestingParty, params: dict[str, str]
) -> None:
    """claim_token and claim_token_format belong together; a request without one of them leaves the ticket good."""
    ticket = await rs.ticket_for("read")
    assert (await rp.refused(ticket, **params))["error"] == "invalid_request"
    await rp.rpt(ticket)
    assert (await rp.refused(None))["error"] == "invalid_request"


async def test_a_client_must_prove_itself_first(rs: ResourceServer, rp: RequestingParty) -> None:
    """A wrong client secret gets 401 and costs no ticket."""
    ticket = await rs.ticket_for("read")
    stranger = RequestingParty(rp.op, rp.client | {"client_secret": "wrong"})
    assert (await stranger.refused(ticket))["error"] == "invalid_client"
    await rp.rpt(ticket)


async def test_which_clients_may_show_tickets(op: Op, rs: ResourceServer) -> None:
    """The grant must be registered, or client_credentials, which is all that old libraries register."""
    old = await requesting_party(op, grant_types=["client_credentials"])
    await old.rpt(await rs.ticket_for("read"))
    only_codes = await requesting_party(op, grant_types=["authorization_code"])
    assert (await only_codes.refused(await rs.ticket_for("read")))["error"] == "unauthorized_client"


async def test_what_nobody_may_is_denied(rs: ResourceServer, rp: RequestingParty) -> None:
    """A ticket of which nothing is allowed gets 403 request_denied; of a mixture, the allowed part is granted."""
    refused = await rp.refused(await rs.ticket_for("nobody"))
    assert (refused["status"], refused["error"]) == (403, "request_denied")
    resource_id = await rs.register("read", "nobody")
    answer = await rp.rpt(await rs.ticket((resource_id, ["nobody", "read"])))
    assert await rs.granted(answer["access_token"]) == {resource_id: ["read"]}


async def test_a_resource_that_is_gone_grants_nothing(rs: ResourceServer, rp: RequestingParty) -> None:
    """A ticket for a resource that was deleted since is denied, and an RPT loses its permission for it."""
    resource_id = await rs.register("read")
    early, late = await rs.ticket((resource_id, ["read"])), await rs.ticket((resource_id, ["read"]))
    rpt = (await rp.rpt(early))["access_token"]
    assert await rs.granted(rpt) == {resource_id: ["read"]}
    await rs.request("DELETE", f"/uma/resources/{resource_id}")
    assert (await rp.refused(late))["error"] == "request_denied"
    assert await rs.granted(rpt) == {}


async def test_the_client_may_ask_for_more_scopes(rs: ResourceServer, rp: RequestingParty) -> None:
    """`scope` adds scopes that a resource of the ticket knows; one that none of them knows is invalid_scope."""
    resource_id = await rs.register("read", "write")
    answer = await rp.rpt(await rs.ticket((resource_id, ["read"])), scope="write")
    assert await rs.granted(answer["access_token"]) == {resource_id: ["read", "write"]}
    refused = await rp.refused(await rs.ticket((resource_id, ["read"])), scope="write fly")
    assert (refused["status"], refused["error"]) == (400, "invalid_scope")


# --- claims ----------------------------------------------------------------------------------


async def test_need_info_says_what_is_missing(rs: ResourceServer, rp: RequestingParty) -> None:
    """The answer has a new ticket, the claims with their formats, and where the user can be sent."""
    ticket = await rs.ticket_for("new-yorkers")
    refused = await rp.refused(ticket)
    assert (refused["status"], refused["error"]) == (403, "need_info")
    assert refused["ticket"] != ticket
    assert [claim["name"] for claim in refused["required_claims"]] == ["country", "city"]
    assert [claim["friendly_name"] for claim in refused["required_claims"]] == ["Country", "City"]
    assert all(ID_TOKEN in claim["claim_token_format"] for claim in refused["required_claims"])
    where = httpx2.URL(refused["redirect_user"])
    assert str(where.copy_with(query=None)) == f"{rp.op.issuer}/uma/gather"
    assert dict(where.params) == {"client_id": rp.client["client_id"], "ticket": refused["ticket"]}
    assert (await rp.refused(ticket))["error"] == "invalid_grant"


async def test_without_a_claims_redirect_uri_nobody_is_redirected(op: Op, rs: ResourceServer) -> None:
    """A client that registered none can only push claims."""
    rp = await requesting_party(op, claims_redirect_uris=[])
    refused = await rp.refused(await rs.ticket_for("new-yorkers"))
    assert "redirect_user" not in refused
    await rp.rpt(refused["ticket"], **pushed(NEW_YORK))


async def test_pushed_claims_decide(rs: ResourceServer, rp: RequestingParty) -> None:
    """The right claims give an RPT, others are denied, and those pushed in two steps add up."""
    await rp.rpt(await rs.ticket_for("new-yorkers"), **pushed({"country": ["US"], "city": "New York"}))
    denied = await rp.refused(await rs.ticket_for("new-yorkers"), **pushed(NEW_YORK | {"city": "Boston"}))
    assert (denied["status"], denied["error"]) == (403, "request_denied")
    first = await rp.refused(await rs.ticket_for("new-yorkers"), **pushed({"country": "US"}))
    assert [claim["name"] for claim in first["required_claims"]] == ["city"]
    await rp.rpt(first["ticket"], **pushed({"city": "NY"}))


async def test_the_ticket_of_need_info_is_the_clients_own(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """Another client that shows it gets invalid_grant."""
    needed = await rp.refused(await rs.ticket_for("new-yorkers"))
    other = await requesting_party(op)
    assert (await other.refused(needed["ticket"], **pushed(NEW_YORK)))["error"] == "invalid_grant"


async def test_a_jwt_of_the_client_is_believed(rs: ResourceServer, rp: RequestingParty) -> None:
    """A JWT under the client's secret carries claims; under another secret it is refused."""
    for secret, ok in ((rp.client["client_secret"], True), ("x" * 43, False)):
        token = jwt.encode({"alg": "HS256"}, NEW_YORK, OctKey.import_key(secret), algorithms=["HS256"])
        answer = await rp.ask(await rs.ticket_for("new-yorkers"), claim_token=token, claim_token_format=JWT)
        assert (answer.status_code == 200) is ok, answer.text


@pytest.mark.parametrize(
    ("claim_token", "claim_token_format"),
    [
        ("%%%", JWT),
        (encoded([1]), JWT),
        (encoded("text")[:-1] + "!", JWT),
        ("a.b.c", JWT),
        ("a.b.c", ID_TOKEN),
        (encoded(NEW_YORK), ID_TOKEN),
        (encoded(NEW_YORK), "urn:example:unknown"),
    ],
)
async def test_a_claim_token_that_cannot_be_read_is_refused(
    rs: ResourceServer, rp: RequestingParty, claim_token: str, claim_token_format: str
) -> None:
    """Junk, an unsigned id_token and an unknown format get invalid_request."""
    ticket = await rs.ticket_for("new-yorkers")
    refused = await rp.refused(ticket, claim_token=claim_token, claim_token_format=claim_token_format)
    assert (refused["status"], refused["error"]) == (400, "invalid_request")


async def test_claims_that_are_no_short_texts_are_not_known(rs: ResourceServer, rp: RequestingParty) -> None:
    """Numbers, objects, empty lists and very long texts do not count as answers."""
    odd = {"country": 1, "city": [], "email": "x" * 1000}
    refused = await rp.refused(await rs.ticket_for("new-yorkers", "friends"), **pushed(odd))
    assert [claim["name"] for claim in refused["required_claims"]] == ["country", "city", "email"]


@pytest.mark.parametrize(("user", "outcome"), [("bob", 200), ("alice", 403)])
@pytest.mark.parametrize("alg", ["RS256", "ES256", "HS256"])
async def test_an_id_token_says_who_asks(op: Op, rs: ResourceServer, user: str, outcome: int, alg: str) -> None:
    """The provider knows the user behind its id_token: Bob of New York may, Alice may not."""
    rp = await requesting_party(op, id_token_signed_response_alg=alg)
    id_token = (await op.tokens(rp.client, user))["id_token"]
    ticket = await rs.ticket_for("new-yorkers", "friends")
    answer = await rp.ask(ticket, claim_token=id_token, claim_token_format=ID_TOKEN)
    assert answer.status_code == outcome, answer.text
    assert user in PASSWORDS


async def test_an_id_token_must_be_this_clients_and_fresh(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """An id_token for another client, an expired one and one for nobody known are refused."""
    other = await requesting_party(op)
    stolen = (await op.tokens(other.client, "bob"))["id_token"]
    push = {"claim_token_format": ID_TOKEN}
    assert (await rp.refused(await rs.ticket_for("friends"), claim_token=stolen, **push))["error"] == "invalid_request"
    own = (await op.tokens(rp.client, "bob"))["id_token"]
    claims = op.keys.claims_of_our_token(own)
    assert claims is not None
    nobody = op.keys.sign(claims | {"sub": "nobody"}, "RS256")
    elsewhere = op.keys.sign(claims | {"iss": "https://other.example"}, "RS256")
    for token in (nobody, elsewhere):
        refused = await rp.refused(await rs.ticket_for("friends"), claim_token=token, **push)
        assert refused["error"] == "invalid_request"
    ticket = await rs.ticket_for("friends")
    op.time += 299
    await rp.rpt(ticket, claim_token=own, **push)
    op.time += 3301
    fresh = await resource_server(op)
    assert (await rp.refused(await fresh.ticket_for("friends"), claim_token=own, **push))["error"] == "invalid_request"


async def test_a_pct_saves_the_questions(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """The PCT of one answer stands for the claims at the next; for another client it is worth nothing."""
    pct = (await rp.rpt(await rs.ticket_for("new-yorkers"), **pushed(NEW_YORK)))["pct"]
    assert "pct" in await rp.rpt(await rs.ticket_for("new-yorkers"), pct=pct)
    other = await requesting_party(op)
    assert (await other.refused(await rs.ticket_for("new-yorkers"), pct=pct))["error"] == "need_info"
    assert (await rp.refused(await rs.ticket_for("new-yorkers"), pct="unknown"))["error"] == "need_info"


# --- expressions -----------------------------------------------------------------------------


def expression(rule: Any, *scopes: str) -> dict[str, Any]:
    """The member of a resource description."""
    return {"scope_expression": json.dumps({"rule": rule, "data": scopes})}


AND, OR = {"and": [{"var": 0}, {"var": 1}]}, {"or": [{"var": 0}, {"var": 1}]}


@pytest.mark.parametrize(
    ("rule", "scopes", "granted"),
    [
        (AND, ["read", "write"], ["read", "write"]),
        (AND, ["read", "nobody"], "request_denied"),
        (AND, ["read", "new-yorkers"], "need_info"),
        (OR, ["read", "nobody"], ["read"]),
        (OR, ["read", "new-yorkers"], ["read"]),
        (OR, ["nobody", "new-yorkers"], "need_info"),
        (OR, ["nobody", "https://x.example/nobody"], "request_denied"),
        ({"!": [{"var": 0}]}, ["nobody", "read"], ["read"]),
        ({"!": [{"var": 0}]}, ["read", "nobody"], "request_denied"),
    ],
)
async def test_an_expression_decides(
    rs: ResourceServer, rp: RequestingParty, rule: Any, scopes: list[str], granted: list[str] | str
) -> None:
    """The scopes that the policies allow are granted if they make the rule true; else it is asked or denied."""
    resource_id = await rs.register(**expression(rule, *scopes))
    answer = await rp.ask(await rs.ticket((resource_id, scopes)))
    if isinstance(granted, str):
        assert answer.json()["error"] == granted
    else:
        assert await rs.granted(answer.json()["access_token"]) == {resource_id: granted}


# --- RPTs ------------------------------------------------------------------------------------


async def test_an_rpt_is_upgraded(rs: ResourceServer, rp: RequestingParty) -> None:
    """With an RPT of the same client the new one has the permissions of both; the old one stays as it is."""
    photo, album = await rs.register("read", "write"), await rs.register("read")
    first = (await rp.rpt(await rs.ticket((photo, ["read"]))))["access_token"]
    rp.op.time += 60
    answer = await rp.rpt(await rs.ticket((album, ["read"]), (photo, ["write"])), rpt=first)
    assert answer["upgraded"] is True
    assert await rs.granted(answer["access_token"]) == {photo: ["read", "write"], album: ["read"]}
    exps = {p["resource_id"]: p["exp"] for p in (await rs.introspect(answer["access_token"]))["permissions"]}
    assert exps[album] - exps[photo] == 60, "an upgrade does not make an old permission last longer"
    assert await rs.granted(first) == {photo: ["read"]}


async def test_a_foreign_rpt_is_not_upgraded(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """Another client's RPT, an unknown one and an ordinary access token add nothing."""
    other = await requesting_party(op)
    foreign = (await other.rpt(await rs.ticket_for("read")))["access_token"]
    ordinary = (await op.tokens(rp.client))["access_token"]
    for token in (foreign, ordinary, "unknown"):
        answer = await rp.rpt(await rs.ticket_for("read"), rpt=token)
        assert answer["upgraded"] is False
        assert len(await rs.granted(answer["access_token"])) == 1


async def test_who_is_told_which_permissions(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """A resource server sees its own resources in an RPT, the client that holds it sees all."""
    other = await resource_server(op)
    mine, theirs = await rs.register("read"), await other.register("read")
    first = (await rp.rpt(await rs.ticket((mine, ["read"]))))["access_token"]
    rpt = (await rp.rpt(await other.ticket((theirs, ["read"])), rpt=first))["access_token"]
    assert await rs.granted(rpt) == {mine: ["read"]}
    assert await other.granted(rpt) == {theirs: ["read"]}
    auth = (rp.client["client_id"], rp.client["client_secret"])
    holder = await op.http.post("/introspect", data={"token": rpt}, auth=auth)
    assert [p["resource_id"] for p in holder.json()["permissions"]] == [mine, theirs]


async def test_an_rpt_is_no_other_token(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """An RPT opens neither userinfo nor the protection API, ends with its time, and can be revoked."""
    rpt = (await rp.rpt(await rs.ticket_for("read")))["access_token"]
    headers = {"Authorization": f"Bearer {rpt}"}
    assert (await op.http.get("/userinfo", headers=headers)).status_code == 401
    assert (await op.http.get("/uma/resources", headers=headers)).status_code == 403
    auth = (rp.client["client_id"], rp.client["client_secret"])
    second = (await rp.rpt(await rs.ticket_for("read")))["access_token"]
    await op.http.post("/revoke", data={"token": second}, auth=auth)
    assert await rs.introspect(second) == {"active": False}
    assert (await rs.introspect(rpt))["active"] is True
    op.time += 3601
    fresh = await resource_server(op)
    assert await fresh.introspect(rpt) == {"active": False}


async def test_an_rpt_can_be_a_jwt(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """With the switch on, an RPT says itself what it permits, and introspection says the same."""
    op.state.jwt_tokens = True
    ticket = await rs.ticket_for("read")
    rpt = (await rp.rpt(ticket))["access_token"]
    claims = op.keys.claims_of_our_token(rpt)
    assert claims is not None
    assert claims["client_id"] == rp.client["client_id"]
    assert claims["permissions"] == (await rs.introspect(rpt))["permissions"]


# --- the claims-gathering page ---------------------------------------------------------------


def gather_url(rp: RequestingParty, ticket: str, **params: str) -> str:
    """Where the client sends the browser."""
    given = {
        "client_id": rp.client["client_id"],
        "ticket": ticket,
        "claims_redirect_uri": CLAIMS_REDIRECT_URI,
        "state": "the state",
    }
    return str(httpx2.URL(f"{rp.op.issuer}/uma/gather", params=given | params))


async def open_page(browser: httpx2.AsyncClient, url: str) -> tuple[httpx2.Response, dict[str, str]]:
    """The page with the questions, and its hidden fields."""
    start = await browser.get(url)
    assert start.status_code == 303, start.text
    page = await browser.get(start.headers["location"])
    assert page.status_code == 200, page.text
    parts = page.text.split('<input type="hidden" name="')[1:]
    return page, {part.split('"')[0]: part.split('value="')[1].split('"')[0] for part in parts}


async def needed_ticket(rs: ResourceServer, rp: RequestingParty) -> str:
    """The ticket of a need_info answer."""
    return str((await rp.refused(await rs.ticket_for("new-yorkers")))["ticket"])


@pytest.mark.parametrize(("city", "outcome"), [("NY", 200), ("Boston", 403)])
async def test_claims_are_gathered_from_the_user(
    rs: ResourceServer, rp: RequestingParty, city: str, outcome: int
) -> None:
    """The page asks for country and city and leads back with the state and a new ticket; only New York gets an RPT."""
    ticket = await needed_ticket(rs, rp)
    page, hidden = await open_page(rp.op.http, gather_url(rp, ticket))
    assert 'name="country"' in page.text
    assert 'name="city"' in page.text
    back = await rp.op.http.post("/uma/claims", data={**hidden, "country": "US", "city": city, "decision": "send"})
    location = httpx2.URL(back.headers["location"])
    assert str(location).startswith(f"{CLAIMS_REDIRECT_URI}?ticket=")
    assert location.params["state"] == "the state"
    assert location.params["ticket"] != ticket
    answer = await rp.ask(location.params["ticket"])
    assert answer.status_code == outcome, answer.text
    again = await rp.op.http.post("/uma/claims", data={**hidden, "country": "US", "city": "NY"})
    assert again.status_code == 400


async def test_redirect_user_needs_the_way_back_alone(rs: ResourceServer, rp: RequestingParty) -> None:
    """A client that only appends its claims_redirect_uri to redirect_user has the claims gathered."""
    refused = await rp.refused(await rs.ticket_for("new-yorkers"))
    page, hidden = await open_page(rp.op.http, f"{refused['redirect_user']}&claims_redirect_uri={CLAIMS_REDIRECT_URI}")
    assert 'name="city"' in page.text
    back = await rp.op.http.post("/uma/claims", data={**hidden, "country": "US", "city": "NY", "decision": "send"})
    assert back.headers["location"].startswith(f"{CLAIMS_REDIRECT_URI}?ticket=")


async def test_who_would_rather_not_say_is_asked_again(rs: ResourceServer, rp: RequestingParty) -> None:
    """Declining leads back with a ticket that is as good as before: the next answer is need_info."""
    _, hidden = await open_page(rp.op.http, gather_url(rp, await needed_ticket(rs, rp)))
    back = await rp.op.http.post("/uma/claims", data={**hidden, "country": "US", "decision": "decline"})
    ticket = httpx2.URL(back.headers["location"]).params["ticket"]
    refused = await rp.refused(ticket)
    assert [claim["name"] for claim in refused["required_claims"]] == ["country", "city"]


async def test_an_empty_answer_is_asked_for_again(rs: ResourceServer, rp: RequestingParty) -> None:
    """What was typed stays in the form, escaped, and the page says what is missing."""
    _, hidden = await open_page(rp.op.http, gather_url(rp, await needed_ticket(rs, rp)))
    answer = await rp.op.http.post("/uma/claims", data={**hidden, "country": '<b>"', "city": "  "})
    assert answer.status_code == 400
    assert "Still to be filled in: City." in answer.text
    assert 'value="&lt;b&gt;&#34;"' in answer.text


async def test_a_ticket_that_lacks_nothing_leads_straight_back(rs: ResourceServer, rp: RequestingParty) -> None:
    """Without open questions there is no page; a fresh ticket may be used, and the only redirect URI is the default."""
    url = httpx2.URL(gather_url(rp, await rs.ticket_for("read")))
    back = await rp.op.http.get(url.copy_remove_param("claims_redirect_uri").copy_remove_param("state"))
    location = httpx2.URL(back.headers["location"])
    assert str(location).startswith(CLAIMS_REDIRECT_URI)
    assert location.params.keys() == {"ticket"}
    await rp.rpt(location.params["ticket"])


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "unknown"},
        {"claims_redirect_uri": "http://127.0.0.1:9/elsewhere"},
        {"claims_redirect_uri": CLAIMS_REDIRECT_URI + "/"},
    ],
)
async def test_the_browser_goes_nowhere_unregistered(
    rs: ResourceServer, rp: RequestingParty, change: dict[str, str]
) -> None:
    """A wrong client or redirect URI shows a page, sends the browser nowhere, and leaves the ticket good."""
    ticket = await needed_ticket(rs, rp)
    answer = await rp.op.http.get(gather_url(rp, ticket, **change))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    await rp.rpt(ticket, **pushed(NEW_YORK))


async def test_the_page_takes_a_good_ticket_once(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """An unknown ticket, another client's and one that was shown before get a page that says so."""
    ticket = await needed_ticket(rs, rp)
    other = await requesting_party(op)
    await open_page(op.http, gather_url(rp, ticket))
    for url in (gather_url(rp, ticket), gather_url(rp, "unknown"), gather_url(other, await needed_ticket(rs, rp))):
        answer = await op.http.get(url)
        assert answer.status_code == 400
        assert "no longer valid" in answer.text


async def test_the_form_is_the_browsers_own(op: Op, rs: ResourceServer, rp: RequestingParty) -> None:
    """Without the CSRF token, or from another browser, the answers are not taken."""
    _, hidden = await open_page(op.http, gather_url(rp, await needed_ticket(rs, rp)))
    answers = {**hidden, "country": "US", "city": "NY"}
    assert (await op.http.post("/uma/claims", data=answers | {"csrf": "guessed"})).status_code == 403
    async with op.browser() as stranger:
        assert (await stranger.post("/uma/claims", data=answers)).status_code == 400
        assert (await stranger.get(f"/uma/claims?id={hidden['gathering']}")).status_code == 400
    assert (await op.http.post("/uma/claims", data=answers)).status_code == 303
