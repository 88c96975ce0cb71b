"""A management API that lists groups, in test mode and in UMA mode.

In test mode the API takes any access token of one client, which gets it by client credentials. With --uma the API hands
out a ticket; the client signs its requests with a private key (private_key_jwt) from a file, gets a requesting party
token (RPT) for the ticket, and tries again.
"""

import sys
from pathlib import Path

import httpx2

from oxd_server.op.key_store import new_key_store
from scripts.demo_kit import CALL_SECONDS, check, paint, say
from scripts.examples.journey import Stage, parser_for, run, ticket_of

PATH = "/scim/groups"
READ, WRITE = "oxtrust-api-read", "oxtrust-api-write"


def test_mode(stage: Stage) -> None:
    """A token by client credentials is enough."""
    site = stage.register("The API registers, so that it can ask oxd about tokens.", "Management API")
    client = create_client(stage)
    # In one word: an id may begin with a dash.
    api = stage.start_gateway(site, f"--test-client={client['client_id']}")
    answer = stage.get("Without a token there is no answer.", f"{api}{PATH}")
    check(answer.status_code == 401, "the answer is 401")
    token = stage.oxd.call(
        "The client gets a token by client credentials.",
        "get_client_token",
        client_id=client["client_id"],
        client_secret=client["client_secret"],
        op_host=stage.op_host,
        scope=["openid"],
    )["access_token"]
    answer = stage.get("With the token the API lists its groups.", f"{api}{PATH}", token)
    check(answer.status_code == 200 and len(answer.json()) == 2, "the groups are there")
    answer = stage.get("Some other token gets nothing.", f"{api}{PATH}", "not-a-token")
    check(answer.status_code == 401, "the answer is 401")
    say(paint("32", "\nAll steps done. Test mode is for trying things out: see --uma for the real thing."))


def create_client(stage: Stage) -> dict[str, str]:
    """Register a client at the provider without oxd, as an administrator would."""
    stage.steps.next("An administrator creates a client for tests at the provider.")
    metadata = {"client_name": "Test mode client", "grant_types": ["client_credentials"], "response_types": []}
    with httpx2.Client(timeout=CALL_SECONDS, trust_env=False) as http:
        answer = http.post(f"{stage.op_host}/register", json=metadata)
    check(answer.status_code == 201, "the provider registers the client")
    client: dict[str, str] = answer.json()
    print(f"    -> client_id {client['client_id']}")
    return client


def uma_mode(stage: Stage) -> None:
    """401 with a ticket, an RPT for it, 200."""
    site = stage.register("The API registers as a resource server.", "Management API")
    stage.oxd.call(
        f"It protects its paths: reading takes {READ} or {WRITE}, writing {WRITE}.",
        "uma_rs_protect",
        oxd_id=site,
        resources=[
            {
                "path": PATH,
                "conditions": [
                    {"httpMethods": ["GET"], "scopes": [READ, WRITE]},
                    {"httpMethods": ["POST", "PUT"], "scopes": [WRITE]},
                ],
            }
        ],
    )
    client = stage.register(
        "The client registers. It has no use for a secret: it signs with the key in the server's key file.",
        "Management client",
        client_token_endpoint_auth_method="private_key_jwt",
        client_token_endpoint_auth_signing_alg="RS256",
    )
    api = stage.start_gateway(site)
    ticket = ticket_of(stage.get("Without a token: 401, with a ticket.", f"{api}{PATH}"))
    rpt = stage.oxd.call(
        "The client shows the ticket. oxd signs its request with the private key (private_key_jwt, RS256).",
        "uma_rp_get_rpt",
        oxd_id=client,
        ticket=ticket,
        scope=[READ, WRITE],
    )["access_token"]
    answer = stage.get("With the RPT the API lists its groups.", f"{api}{PATH}", rpt)
    check(answer.status_code == 200 and len(answer.json()) == 2, "the groups are there")
    answer = stage.get("The RPT can be used again while it is valid.", f"{api}{PATH}", rpt)
    check(answer.status_code == 200, "the answer is 200")
    say(paint("32", "\nAll steps done: a ticket, a signed request, an RPT, the groups."))


def with_key_file(folder: Path) -> dict[str, object]:
    """Make a key file and name it in the server's configuration."""
    path = folder / "keys.json"
    keys = new_key_store(path)
    say(f"A private key file is made, readable by its owner only: {path.name}, {len(keys.keys)} keys.")
    return {"crypt_provider_key_store_path": str(path)}


if __name__ == "__main__":
    parser = parser_for("management_api", __doc__)
    parser.add_argument("--uma", action="store_true", help="UMA mode instead of test mode")
    options = parser.parse_args()
    sys.exit(run("management-api", uma_mode, with_key_file) if options.uma else run("management-api", test_mode))
