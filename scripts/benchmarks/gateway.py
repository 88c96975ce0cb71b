"""What a gateway asks for every request that passes it: three protected commands in dialect 4, connections kept."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from oxd_server.entrances.certificates import CERT_NAME
from scripts.benchmarks.bare import OUR_POOL, measure_bare_calls
from scripts.benchmarks.commands import REDIRECT_URI, Row, World, row_of
from scripts.benchmarks.processes import Plan, WrongAnswer, apply_load, free_port, http_request, running_server
from scripts.benchmarks.scale import Scale

OVER = "HTTPS, dialect 4"
_CONNECTIONS = 8
_TURNS_PER_ROUND = 2
_RESOURCE = {"path": "/posts/??", "conditions": [{"httpMethods": ["GET"], "scopes": ["posts.read"]}]}


@dataclass(frozen=True)
class Ask:
    """A command with what every answer holds, and the tokens that the OP is asked about for it."""

    command: str
    body: dict[str, Any]
    expect: str
    tokens: tuple[str, ...]


def measure_gateway(world: World, settings: dict[str, Any], scale: Scale) -> Iterator[Row]:
    """Measure each command at a server of its own, where commands need the token of the site's own client."""
    https = {"enabled": True, "port": free_port(), "bind_addresses": ["127.0.0.1"], "dialect": "4"}
    folder = world.folder / "gateway"
    with running_server(folder, {**settings, "https": https}) as server:
        context = ssl.create_default_context(cafile=next(folder.rglob(CERT_NAME)))
        with httpx2.Client(verify=context, base_url=f"https://localhost:{server.https_port}", trust_env=False) as http:
            token, client, asks = _prepared(http, world.issuer)
        for ask in asks:
            plan = Plan(
                requests=[http_request(ask.command, ask.body, token=token)],
                count=scale.requests_to_the_op * 2,
                connections=_CONNECTIONS,
                http=True,
                expect=ask.expect,
            )
            apply_load(server, plan)  # to warm up
            outcomes, bare = [], []
            for _ in range(_TURNS_PER_ROUND * scale.rounds):  # in turn, so that both meet the same machine
                outcomes.append(apply_load(server, plan))
                bare.append(sum(_bare_call(world.issuer, client, one, plan.count) for one in ask.tokens))
            # A difference of large numbers: the least disturbed turn of each, for other programs only ever add.
            own = min(outcome.cpu_per_command for outcome in outcomes) - min(bare)
            yield {**row_of(ask.command, plan, outcomes, server), "over": OVER, "own_cpu_us": own * 1e6}


def _bare_call(issuer: str, client: tuple[str, str], token: str, count: int) -> float:
    """Return the CPU seconds of asking the OP about a token, with nothing around it."""
    return measure_bare_calls(OUR_POOL, f"{issuer}/introspect", client, {"token": token}, count, _CONNECTIONS)


def _prepared(http: httpx2.Client, issuer: str) -> tuple[str, tuple[str, str], list[Ask]]:
    """Register the gateway's site and protect a path; return its token, its client, and what is asked each time."""
    site = _post(
        http,
        "register-site",
        {
            "op_host": issuer,
            "redirect_uris": [REDIRECT_URI],
            "scope": ["openid", "oxd", "uma_protection"],
            "grant_types": ["authorization_code", "client_credentials"],
        },
    )
    client = {"op_host": issuer, "client_id": site["client_id"], "client_secret": site["client_secret"]}
    client["scope"] = ["openid", "oxd"]
    token = _post(http, "get-client-token", client)["access_token"]
    own = {"oxd_id": site["oxd_id"]}
    access = {**own, "path": _RESOURCE["path"], "http_method": "GET", "rpt": ""}
    _post(http, "uma-rs-protect", {**own, "resources": [_RESOURCE]}, token)
    ticket = _post(http, "uma-rs-check-access", access, token)["ticket"]
    rpt = _post(http, "uma-rp-get-rpt", {**own, "ticket": ticket}, token)["access_token"]
    # The OP is asked about the token of each protected command as well.
    return (
        token,
        (site["client_id"], site["client_secret"]),
        [
            Ask("get-client-token", client, '"access_token":"', (token,)),  # in place of a request for one
            Ask("introspect-access-token", {**own, "access_token": token}, '"active":true', (token, token)),
            Ask("uma-rs-check-access", {**access, "rpt": rpt}, '"granted"', (token, rpt)),
        ],
    )


def _post(http: httpx2.Client, command: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    answer = http.post(f"/{command}", json=body, headers={"Authorization": f"Bearer {token}"} if token else {})
    if answer.status_code != 200:
        raise WrongAnswer(f"{command}: {answer.status_code} {answer.text}")
    return dict(answer.json())
