"""A photo album that its owner shares, told command by command.

The album is a resource server: it protects /photo and /document, denies a request without a token but hands out a
ticket, and grants the request that comes with a requesting party token (RPT). Then the authorization server wants to
know who asks: once an id_token tells it, which the client pushes; once the user answers questions in the browser. At
last a scope expression decides.
"""

import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

from scripts.demo_kit import browse, check, paint, say
from scripts.examples.journey import Stage, parser_for, run

ACTIONS = "http://photoz.example.com/dev/actions"
ID_TOKEN = "http://openid.net/specs/openid-connect-core-1_0.html#IDToken"
REDIRECT_URI = "https://viewer.example.com/callback"
CLAIMS_REDIRECT_URI = "https://viewer.example.com/claims"
RESOURCES = [
    {
        "path": "/photo",
        "conditions": [
            {"httpMethods": ["GET"], "scopes": [f"{ACTIONS}/view"]},
            {
                "httpMethods": ["PUT", "POST"],
                "scopes": [f"{ACTIONS}/all", f"{ACTIONS}/add"],
                "ticketScopes": [f"{ACTIONS}/add"],
            },
        ],
    },
    {"path": "/document", "conditions": [{"httpMethods": ["GET"], "scopes": [f"{ACTIONS}/friends"]}]},
    {"path": "/exhibition", "conditions": [{"httpMethods": ["GET"], "scopes": [f"{ACTIONS}/new-yorkers"]}]},
]
EXPRESSION = {
    "rule": {"and": [{"or": [{"var": 0}, {"var": 1}]}, {"var": 2}]},
    "data": [f"{ACTIONS}/nobody", f"{ACTIONS}/add", f"{ACTIONS}/internalClient"],
}


def walk(stage: Stage) -> None:
    """Tell the whole story."""
    album = stage.register("The photo album registers. It will have resources, so it asks for uma_protection.", "Album")
    viewer = stage.register(
        "The viewer registers: a client that wants to see photos.",
        "Viewer",
        authorization_redirect_uri=REDIRECT_URI,
        claims_redirect_uri=[CLAIMS_REDIRECT_URI],
    )
    protect_and_view(stage, album, viewer)
    push_claims(stage, album, viewer)
    gather_claims(stage, album, viewer)
    use_an_expression(stage, album, viewer)
    say(paint("32", "\nAll steps done: denied, asked, granted."))


def protect_and_view(stage: Stage, album: str, viewer: str) -> None:
    """Deny with a ticket, get an RPT, grant."""
    stage.oxd.call(
        "The album puts its paths under protection; the server registers them at the authorization server.",
        "uma_rs_protect",
        oxd_id=album,
        resources=RESOURCES,
    )
    stage.oxd.refused(
        "Doing it again without `overwrite` is a mistake, and the server says so.",
        "uma_rs_protect",
        "uma_protection_exists",
        oxd_id=album,
        resources=RESOURCES,
    )
    ticket = denied(stage, album, "Somebody asks for GET /photo without a token. The album asks oxd.", "/photo", "GET")
    rpt = stage.oxd.call(
        "The viewer takes the ticket to the authorization server, through oxd. The scope `view` is open to all.",
        "uma_rp_get_rpt",
        oxd_id=viewer,
        ticket=ticket,
    )["access_token"]
    granted(stage, album, "GET /photo again, this time with the RPT.", "/photo", "GET", rpt)
    denied(stage, album, "The same RPT is not enough to add a photo: POST /photo.", "/photo", "POST", rpt)
    info = stage.oxd.call("What is in the RPT?", "introspect_rpt", oxd_id=album, rpt=rpt)
    check(info["permissions"][0]["resource_scopes"] == [f"{ACTIONS}/view"], "the RPT has the scope view")
    stage.oxd.refused("A ticket is good for one use.", "uma_rp_get_rpt", "invalid_ticket", oxd_id=viewer, ticket=ticket)


def push_claims(stage: Stage, album: str, viewer: str) -> None:
    """need_info, and an id_token that answers the question: Alice's is not good enough, Bob's is."""
    pushed = ask_with_id_token(stage, album, viewer, "alice", "wonderland")
    details = stage.oxd.refused("Alice is not on the list of friends.", "uma_rp_get_rpt", "http_status_403", **pushed)
    check(details["error"] == "request_denied", "the authorization server denies the request")
    pushed = ask_with_id_token(stage, album, viewer, "bob", "builder")
    rpt = stage.oxd.call("Bob is a friend: here is the RPT.", "uma_rp_get_rpt", **pushed)["access_token"]
    granted(stage, album, "Bob reads the document.", "/document", "GET", rpt)


def ask_with_id_token(stage: Stage, album: str, viewer: str, user: str, password: str) -> dict[str, object]:
    """Get as far as need_info and log the user in; returns the params of the next try."""
    ticket = denied(stage, album, "GET /document needs the scope `friends`.", "/document", "GET")
    details = need_info(stage, viewer, ticket)
    token = id_token(stage, viewer, user, password)
    return {"oxd_id": viewer, "ticket": details["ticket"], "claim_token": token, "claim_token_format": ID_TOKEN}


def need_info(stage: Stage, viewer: str, ticket: str) -> dict[str, Any]:
    """Show a ticket that is not enough; returns what the authorization server asks for."""
    details = stage.oxd.refused(
        "The authorization server wants to know who asks: need_info, with a new ticket.",
        "uma_rp_get_rpt",
        "need_info",
        oxd_id=viewer,
        ticket=ticket,
    )
    names = [claim["friendly_name"] for claim in details["required_claims"]]
    print(f"    -> it would like to know: {', '.join(names)}")
    return details


def gather_claims(stage: Stage, album: str, viewer: str) -> None:
    """need_info, and a user who answers the questions in the browser."""
    ticket = denied(stage, album, "GET /exhibition needs the scope `new-yorkers`.", "/exhibition", "GET")
    gathering = stage.oxd.call(
        "The viewer sends the user to the authorization server. Where exactly?",
        "uma_rp_get_claims_gathering_url",
        oxd_id=viewer,
        ticket=need_info(stage, viewer, ticket)["ticket"],
        claims_redirect_uri=CLAIMS_REDIRECT_URI,
    )
    stage.steps.next("The user's browser: the country is US, the city is NY.")
    answers = {"country": "US", "city": "NY"}
    back = query_of(browse(gathering["url"], CLAIMS_REDIRECT_URI, answers))
    check(back["state"] == gathering["state"], "the state is the one that was sent")
    rpt = stage.oxd.call(
        "The user is back with a new ticket, and this one is good enough.",
        "uma_rp_get_rpt",
        oxd_id=viewer,
        ticket=back["ticket"],
        state=back["state"],
    )["access_token"]
    granted(stage, album, "GET /exhibition with that RPT.", "/exhibition", "GET", rpt)


def use_an_expression(stage: Stage, album: str, viewer: str) -> None:
    """A rule over scopes: (nobody or add) and internalClient."""
    stage.oxd.call(
        "The album replaces its protection: DELETE /photo takes (nobody or add) and internalClient.",
        "uma_rs_protect",
        oxd_id=album,
        overwrite=True,
        resources=[{"path": "/photo", "conditions": [{"httpMethods": ["DELETE"], "scope_expression": EXPRESSION}]}],
    )
    ticket = denied(stage, album, "The ticket is for all scopes of the expression.", "/photo", "DELETE")
    rpt = stage.oxd.call(
        "Nobody gets the scope `nobody`, but the other two make the rule true.",
        "uma_rp_get_rpt",
        oxd_id=viewer,
        ticket=ticket,
    )["access_token"]
    granted(stage, album, "DELETE /photo with that RPT.", "/photo", "DELETE", rpt)


def id_token(stage: Stage, viewer: str, user: str, password: str) -> str:
    """Log a user in at the viewer; returns the id_token."""
    url = stage.oxd.call(f"{user.capitalize()} logs in at the viewer.", "get_authorization_url", oxd_id=viewer)
    filled_in = {"username": user, "password": password}
    query = query_of(browse(url["authorization_url"], REDIRECT_URI, filled_in))
    tokens = stage.oxd.call(
        "The viewer gets the id_token that says who it is.",
        "get_tokens_by_code",
        oxd_id=viewer,
        code=query["code"],
        state=query["state"],
    )
    return str(tokens["id_token"])


def query_of(url: str) -> dict[str, str]:
    """The parameters that a browser brings back."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def denied(stage: Stage, album: str, explanation: str, path: str, http_method: str, rpt: str = "") -> str:
    """Ask oxd, and see that access is denied with a ticket; returns the ticket."""
    answer = stage.oxd.call(
        explanation, "uma_rs_check_access", oxd_id=album, path=path, http_method=http_method, rpt=rpt
    )
    check(answer["access"] == "denied", "access is denied")
    check(answer["www-authenticate_header"].endswith(f'ticket="{answer["ticket"]}"'), "the header has the ticket")
    return str(answer["ticket"])


def granted(stage: Stage, album: str, explanation: str, path: str, http_method: str, rpt: str) -> None:
    """Ask oxd, and see that access is granted."""
    answer = stage.oxd.call(
        explanation, "uma_rs_check_access", oxd_id=album, path=path, http_method=http_method, rpt=rpt
    )
    check(answer == {"access": "granted"}, "access is granted")


if __name__ == "__main__":
    parser_for("photo_album", __doc__).parse_args()
    sys.exit(run("photo-album", walk))
