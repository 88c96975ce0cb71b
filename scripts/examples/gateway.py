"""A gateway in front of an API, without and with claims gathering.

The gateway asks oxd about every request and lets through what oxd grants. A client is turned away with a ticket, gets a
requesting party token (RPT) for it, and comes back. With --with-claims, the authorization server first asks the user
for country and city in the browser: somebody in New York gets in, anybody else does not.
"""

import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from scripts.demo_kit import StepFailed, browse, check, free_port, paint, say
from scripts.examples.journey import Stage, parser_for, run, ticket_of

SCOPE, GUARDED_SCOPE = "posts.read", "new-yorkers"
CITIES = ("Boston", "NY")
BROWSER_SECONDS = 600


def walk(stage: Stage, with_claims: bool, browser: str) -> None:
    """Set gateway and API up, and get through."""
    claims_redirect_uri = f"http://127.0.0.1:{free_port()}/claims"
    api = protect(stage, GUARDED_SCOPE if with_claims else SCOPE)
    client = stage.register(
        "The requesting client registers" + (", with the address where users come back to." if with_claims else "."),
        "Client",
        **({"claims_redirect_uri": [claims_redirect_uri]} if with_claims else {}),
    )
    answer = stage.get("The client asks for the posts, and is turned away with a ticket.", f"{api}/posts")
    ticket = ticket_of(answer)
    if with_claims:
        rpt = gather_claims(stage, client, ticket, api, claims_redirect_uri, browser)
    else:
        rpt = stage.oxd.call(
            "It takes the ticket to the authorization server, through oxd. No policy guards this scope.",
            "uma_rp_get_rpt",
            oxd_id=client,
            ticket=ticket,
        )["access_token"]
    answer = stage.get("With the RPT it gets through.", f"{api}/posts", rpt)
    check(answer.status_code == 200 and len(answer.json()) == 2, "the posts are there")
    try_tricks(stage, api)
    say(paint("32", "\nAll steps done: the gateway lets through what oxd grants, and nothing else."))


def protect(stage: Stage, scope: str) -> str:
    """Register the gateway's site and protect the API's path; returns the gateway's address."""
    site = stage.register("The gateway registers as a resource server.", "Gateway")
    stage.oxd.call(
        f"It protects GET /posts with the scope {scope}.",
        "uma_rs_protect",
        oxd_id=site,
        resources=[{"path": "/posts", "conditions": [{"httpMethods": ["GET"], "scopes": [scope]}]}],
    )
    return stage.start_gateway(site)


def gather_claims(stage: Stage, client: str, ticket: str, api: str, redirect_uri: str, browser: str) -> str:
    """Let the user answer until the answers are good enough; returns the RPT."""
    for city in CITIES:
        needed = stage.oxd.refused(
            "The authorization server wants to know more: need_info, with a new ticket and where to send the user.",
            "uma_rp_get_rpt",
            "need_info",
            oxd_id=client,
            ticket=ticket,
        )
        gathering = stage.oxd.call(
            "Where exactly is the user to be sent?",
            "uma_rp_get_claims_gathering_url",
            oxd_id=client,
            ticket=needed["ticket"],
            claims_redirect_uri=redirect_uri,
        )
        back = answer_questions(stage, gathering["url"], redirect_uri, city, browser)
        check(back.get("state") == gathering["state"], "the state is the one that was sent")
        answer = stage.oxd.envelope(
            "The user is back with a new ticket. Are the answers good enough?",
            "uma_rp_get_rpt",
            oxd_id=client,
            ticket=back["ticket"],
            state=back["state"],
        )
        if answer["status"] == "ok":
            return str(answer["data"]["access_token"])
        check(answer["data"]["details"]["error"] == "request_denied", "the authorization server denies the request")
        print("    -> refused: only New York, US gets in.")
        ticket = ticket_of(stage.get("The client gets another ticket, for another try.", f"{api}/posts"))
    raise StepFailed("no answer was good enough")


def answer_questions(stage: Stage, url: str, redirect_uri: str, city: str, browser: str) -> dict[str, str]:
    """Have the page filled in, by this script or by a person; returns the parameters that come back."""
    if browser == "wait":
        stage.steps.next("Open this address in a browser and answer (country US, city NY gets in):")
        back = wait_for_browser(url, redirect_uri)
    else:
        stage.steps.next(f"The user's browser: the country is US, the city is {city}.")
        back = browse(url, redirect_uri, {"country": "US", "city": city})
    print("    -> the browser is back, with a new ticket")
    return {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}


def wait_for_browser(url: str, redirect_uri: str) -> str:
    """Print the address, and wait until a browser comes to the redirect URI; returns the path that it asked for."""
    came: list[str] = []
    done = threading.Event()

    class Callback(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_ours = self.path.startswith("/claims?")
            self.send_response(200 if is_ours else 404)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"Thank you. The script goes on.\n" if is_ours else b"Nothing here.\n")
            if is_ours:
                came.append(self.path)
                done.set()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the script tells its own story."""

    with HTTPServer(("127.0.0.1", urlsplit(redirect_uri).port or 0), Callback) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say(f"    {url}")
        arrived = done.wait(BROWSER_SECONDS)
        server.shutdown()
    if not arrived:
        raise StepFailed("the browser comes back within ten minutes")
    return came[0]


def try_tricks(stage: Stage, api: str) -> None:
    """Show that other spellings of the path get nobody past the gateway."""
    for trick, expected, why in (
        ("/POSTS/?page=2", 401, "letter case, a slash at the end and a query change nothing: the path is protected."),
        ("/posts%2f..%2fadmin", 400, "an encoded slash could mean two things, so it is refused."),
        ("/admin", 404, "what is not protected does not exist here."),
    ):
        answer = stage.get(f"{trick}: {why}", f"{api}{trick}")
        check(answer.status_code == expected, f"the gateway answers {expected}")


if __name__ == "__main__":
    parser = parser_for("gateway", __doc__)
    parser.add_argument("--with-claims", action="store_true", help="with a policy that asks for country and city")
    parser.add_argument(
        "--browser",
        choices=("none", "wait"),
        default="none",
        help="with --with-claims: none, the script fills in the page by itself (the default); wait, it prints the "
        "address and waits for a person's browser",
    )
    options = parser.parse_args()
    sys.exit(run("gateway", partial(walk, with_claims=options.with_claims, browser=options.browser)))
