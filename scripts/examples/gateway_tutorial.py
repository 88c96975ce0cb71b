"""The UMA tutorial of an API gateway with the HTTP API of oxd 4.x, without and with claims gathering.

Two services stand behind one gateway. A demo application asks for a post, is turned away with a ticket, gets a token of
its own client and a requesting party token (RPT) for the ticket, and comes back. The second service has a policy: the
authorization server asks the user for country and city first.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from scripts.demo_kit import StepFailed, check, free_port, paint, say
from scripts.examples.gateway import CITIES, answer_questions
from scripts.examples.journey import Stage, parser_for, run
from scripts.examples.kong import Client, Gateway, HttpsOxd, show, ticket_of

PATH = "/posts/1"
RULE = {"and": [{"var": 0}, {"or": [{"var": 1}, {"var": 2}]}]}


def walk(stage: Stage, port: int, browser: str) -> None:
    """Set up both services and the demo's client, and get through at each of them."""
    oxd = HttpsOxd(port, stage.folder / "https-localhost.crt", stage.steps)
    api = stage.start_api()
    claims_redirect_uri = f"http://127.0.0.1:{free_port()}/claims"
    open_service = service(oxd, stage.op_host, api, "non-claim-gathering", ["posts.read", "staff", "audit"])
    claim_service = service(oxd, stage.op_host, api, "claim-gathering", ["new-yorkers", "staff", "audit"])
    consumer = Client.register(
        oxd,
        "The demo registers its client, with the address where users come back to. Its client_id makes a consumer.",
        "consumer_op_client",
        stage.op_host,
        claims_redirect_uri=[claims_redirect_uri],
        grant_types=["client_credentials", "urn:ietf:params:oauth:grant-type:uma-ticket"],
    )
    say(paint("1", "\nWithout claims gathering"))
    ticket = turned_away(open_service)
    _, answer = get_rpt(consumer, ticket)
    let_through(open_service, answer)
    say(paint("1", "\nWith claims gathering"))
    let_through(claim_service, gather_claims(stage, claim_service, consumer, claims_redirect_uri, browser))
    say(paint("32", "\nAll steps done: the tutorial's demo gets through, without and with claims gathering."))


def service(oxd: HttpsOxd, op_host: str, api: str, name: str, scopes: list[str]) -> Gateway:
    """Add a service to the gateway, with the UMA plugin on it: its client, a token, the resources."""
    client = Client.register(oxd, f"The plugin of the service {name} registers: no token is needed.", name, op_host)
    token = client.token("It gets a token of its own client; what it asks oxd from now on carries it.")
    expression = {"rule": RULE, "data": scopes}
    resources = [
        {"path": "/posts/??", "conditions": [{"httpMethods": ["GET", "POST"], "scope_expression": expression}]},
        {"path": "/users/?/{posts|photos}", "conditions": [{"httpMethods": ["GET"], "scope_expression": expression}]},
    ]
    body = {"oxd_id": client.oxd_id, "resources": resources}
    oxd.call("It protects its resources. Paths are patterns of the gateway.", "/uma-rs-protect", body, token)
    status, answer = oxd.send("Once more: that is told apart by its status.", "/uma-rs-protect", body, token)
    check((status, answer["error"]) == (400, "uma_protection_exists"), "a second time is refused")
    oxd.call("So it overwrites.", "/uma-rs-protect", {**body, "overwrite": True}, token)
    return Gateway(client, token, resources, api)


def turned_away(gateway: Gateway) -> str:
    """Ask for the post without a token; return the ticket."""
    say(f"\n    -> GET {PATH} at the gateway, without a token")
    status, header = gateway.get(PATH)
    show(status, header)
    check(status == 401, "the gateway turns the demo away")
    return ticket_of(header)


def get_rpt(consumer: Client, ticket: str) -> tuple[int, dict[str, Any]]:
    """Get a token of the demo's client and then, with it, an RPT for the ticket; return the answer to that."""
    token = consumer.token("The demo gets a token with its consumer's credentials.")
    body = {"oxd_id": consumer.oxd_id, "ticket": ticket}
    return consumer.oxd.send("It takes the ticket to the authorization server.", "/uma-rp-get-rpt", body, token)


def gather_claims(stage: Stage, gateway: Gateway, consumer: Client, redirect_uri: str, browser: str) -> dict[str, Any]:
    """Let the user answer until the answers are good enough; return what holds the RPT."""
    for city in CITIES:
        status, told = get_rpt(consumer, turned_away(gateway))
        check((status, told["error"]) == (403, "need_info"), "the authorization server wants to know more")
        url = f"{told['redirect_user']}&claims_redirect_uri={redirect_uri}"
        back = answer_questions(stage, url, redirect_uri, city, browser)
        status, answer = get_rpt(consumer, back["ticket"])
        if status == 200:
            return answer
        check((status, answer["error"]) == (403, "request_denied"), "the authorization server denies the request")
        print("    -> refused: only New York, US gets in.")
    raise StepFailed("no answer was good enough")


def let_through(gateway: Gateway, answer: dict[str, Any]) -> None:
    """Ask for the post with the RPT."""
    say(f"\n    -> GET {PATH} at the gateway, with the RPT")
    status, text = gateway.get(PATH, str(answer["access_token"]))
    show(status, text)
    check(status == 200, "the post is there")


def settings(folder: Path, port: int) -> dict[str, object]:
    """The server's configuration: a front in dialect 4, its certificate in the folder."""
    return {
        "storage": "file",
        "storage_configuration": {"path": str(folder / "oxd.sqlite")},
        "https": {"enabled": True, "port": port, "dialect": "4", "bind_addresses": ["127.0.0.1"]},
    }


if __name__ == "__main__":
    parser = parser_for("gateway_tutorial", __doc__)
    parser.add_argument(
        "--browser",
        nargs="?",
        choices=("none", "wait"),
        default="none",
        const="wait",
        help="none, the script fills in the page by itself (the default); wait, or nothing behind it: it prints the "
        "address and waits for a person's browser",
    )
    options = parser.parse_args()
    chosen = free_port()
    sys.exit(
        run("gateway-tutorial", partial(walk, port=chosen, browser=options.browser), partial(settings, port=chosen))
    )
