"""Recorded requests of the consumers of oxd 4.x, replayed over TLS at a real OP: what they read is in the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jsonschema

from oxd_server.entrances.dialects.flat import Flat
from oxd_server.entrances.openapi_flat import flat_document
from oxd_server.sandbox import RunningSandbox
from tests.integration.dialect_4_world import World, registered, world_of
from tests.integration.https_client import running_front
from tests.integration.real_provider import callback_params, log_in

RECORDS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "captures-4x" / "captures.jsonl").read_text("utf-8").splitlines()
]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "gateways.md"
OLD = [record for record in RECORDS if record["version"].startswith("3.1")]
BETA = [record for record in RECORDS if record["version"] == "1.0"]
FLAT = [record for record in RECORDS if record not in OLD and record not in BETA]
WITHOUT_A_TOKEN_NOW = {"/get-rp", "/get-access-token-by-refresh-token"}
"""They send no Authorization, and the consumer goes on with any answer other than 200."""

NOT_COUNTED = {"/get-issuer", "/get-request-object-uri"}
"""What these are answered depends on more than the front and the sandbox."""


async def fresh(world: World, record: dict[str, Any]) -> dict[str, Any]:
    """Return values for what a recorded request names: tickets, codes and tokens are made for each."""
    path, body = record["path"], record["body"] or {}
    values: dict[str, Any] = {}
    if "ticket" in body:
        denied = await world.ok("/uma-rs-check-access", path="/tickets", http_method="GET")
        values["ticket"] = denied["ticket"]
    if body.get("rpt"):
        denied = await world.ok("/uma-rs-check-access", path="/tickets", http_method="GET")
        values["rpt"] = (await world.ok("/uma-rp-get-rpt", ticket=denied["ticket"]))["access_token"]
    if path in ("/get-tokens-by-code", "/get-user-info") or "claim_token" in body:
        url = (await world.ok("/get-authorization-url", scope=["openid", "profile"]))["authorization_url"]
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        values |= {name: callback[name] for name in ("code", "state")}
    if path == "/get-user-info" or "claim_token" in body:
        tokens = await world.ok("/get-tokens-by-code", **{name: values.pop(name) for name in ("code", "state")})
        values |= {name: tokens[name] for name in ("access_token", "id_token")}
        values["claim_token"] = tokens["id_token"]
    elif "access_token" in body:
        values["access_token"] = world.token
    if path in ("/uma-rp-get-rpt",):
        values["state"] = (
            await world.ok(
                "/uma-rp-get-claims-gathering-url",
                ticket=values["ticket"],
                claims_redirect_uri="https://gw.example.test/claims",
            )
        )["state"]
    if "client_secret" in body and path == "/get-client-token":
        values |= {name: world.site[name] for name in ("client_id", "client_secret")}
    return values


async def real(world: World, record: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded body with sites, tokens and the OP exchanged for real ones."""
    values = await fresh(world, record)
    text = json.dumps(record["body"] or {}).replace("https://op.example.test", world.op.issuer)
    text = text.replace("op.example.test", world.op.issuer.partition("://")[2])
    body: dict[str, Any] = json.loads(text)
    body |= {name: value for name, value in values.items() if name in body}
    if len(body.get("response_types", [])) > 1:
        body["response_types"] = ["code"]  # "token" alone is none of OpenID Connect's, and the OP here refuses it
    if "oxd_id" in body:
        spare = record["path"] in ("/remove-site", "/update-site", "/uma-rs-protect")
        body["oxd_id"] = world.site["oxd_id"] if not spare else body["oxd_id"]
    return body


async def replay(world: World, record: dict[str, Any]) -> httpx2.Response:
    """Send a recorded request with all its headers."""
    body = await real(world, record)
    headers = {name.lower(): value for name, value in record["headers"].items() if name != "Accept-Encoding"}
    token, judge = world.token, "authorizationoxdid" in headers
    if record["path"] in ("/remove-site", "/update-site", "/uma-rs-protect"):
        spare = await registered(world.front, world.op)
        client = {name: spare[name] for name in ("client_id", "client_secret")}
        answer = await world.post("/get-client-token", {"op_host": world.op.issuer, "scope": ["oxd"], **client})
        token, body["oxd_id"] = answer.json()["access_token"], spare["oxd_id"]
    if "authorization" in headers:
        headers["authorization"] = f"Bearer {token}"
    if judge:
        headers["authorizationoxdid"] = world.site["oxd_id"]
    content = None if record["body"] is None else json.dumps(body).encode()
    return await world.front.client.request(record["method"], record["path"], content=content, headers=headers)


def is_list_of_text(value: Any) -> bool:
    """Tell whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "/get-client-token": lambda body: (
        isinstance(body["access_token"], str) and type(body["expires_in"]) is int and is_list_of_text(body["scope"])
    ),
    "/register-site": lambda body: (
        all(isinstance(body[name], str) for name in ("oxd_id", "client_id", "client_secret"))
        and all(type(body[name]) is int for name in ("client_id_issued_at", "client_secret_expires_at"))
    ),
    "/update-site": lambda body: set(body) == {"oxd_id"},
    "/remove-site": lambda body: set(body) == {"oxd_id"},
    "/uma-rs-protect": lambda body: set(body) == {"oxd_id"},
    "/uma-rs-modify": lambda body: set(body) == {"oxd_id"},
    "/get-authorization-url": lambda body: "client_id=" in body["authorization_url"],
    "/get-tokens-by-code": lambda body: isinstance(body["access_token"], str) and isinstance(body["id_token"], str),
    "/get-user-info": lambda body: bool(body),
    "/get-logout-uri": lambda body: isinstance(body["uri"], str),
    "/introspect-access-token": lambda body: (
        body["active"] is True
        and isinstance(body["client_id"], str)
        and type(body["exp"]) is int
        and is_list_of_text(body["scope"])
        and "scopes" not in body
    ),
    "/introspect-rpt": lambda body: (
        body["active"] is True
        and all(type(body[name]) is int for name in ("exp", "iat"))
        and isinstance(body["client_id"], str)
        and isinstance(body["permissions"], list)
    ),
    "/uma-rs-check-access": lambda body: (
        body["access"] == "granted" or (bool(body["ticket"]) and bool(body["www-authenticate_header"]))
    ),
    "/uma-rp-get-rpt": lambda body: isinstance(body["access_token"], str),
    "/uma-rp-get-claims-gathering-url": lambda body: "ticket=" in body["url"] and isinstance(body["state"], str),
    "/get-jwks": lambda body: all(isinstance(key["kid"], str) for key in body["keys"]),
    "/get-discovery": lambda body: isinstance(body["issuer"], str) and isinstance(body["user_info_endpoint"], str),
    "/get-issuer": lambda body: isinstance(body["subject"], str) and isinstance(body["links"][0]["href"], str),
    "/get-rp-jwks": lambda body: isinstance(body["keys"], list),
    "/get-request-object-uri": lambda body: isinstance(body["request_uri"], str),
}


def test_the_page_of_consumers() -> None:
    """docs/how-to/gateways.md says of each recorded consumer what the replays of this module assert."""
    assert table() in PAGE.read_text("utf-8"), f"the table should be\n{table()}"
    assert len({(record["consumer"], record["version"]) for record in RECORDS}) == 27


def table() -> str:
    """Return the table of that page: each consumer, its calls, the statuses, and how many answers are as it reads."""
    consumers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in RECORDS:
        consumers.setdefault((record["consumer"], record["version"]), []).append(record)
    rows = [row(*names, records) for names, records in consumers.items()]
    return "\n".join(
        ["| consumer | version | calls | status | answers as it reads them |", "|---|---|---|---|---|", *rows]
    )


def row(consumer: str, version: str, records: list[dict[str, Any]]) -> str:
    """Return the row of one consumer."""
    paths = [record["path"][1:] for record in records]
    calls = [f"{path} ({paths.count(path)})" if paths.count(path) > 1 else path for path in dict.fromkeys(paths)]
    statuses = sorted({status_due(record) for record in records if is_here(record)})
    count = sum(map(is_as_read, records))
    reads = "in an envelope" if records[0] in OLD else f"{count} of {len(records)}"
    return f"| {consumer} | {version} | {', '.join(calls)} | {', '.join(map(str, statuses))} | {reads} |"


def is_as_read(record: dict[str, Any]) -> bool:
    """Tell whether `check_all` asserts of the answer what the consumer reads, or any status is fine with it."""
    if record["path"] in WITHOUT_A_TOKEN_NOW:
        return any(read.startswith("any other status") for read in record["reads"])
    return is_here(record) and record["path"] not in NOT_COUNTED


def holds_null(value: Any) -> bool:
    """Tell whether a key is null somewhere: Lua takes that for true."""
    if isinstance(value, dict):
        return any(item is None or holds_null(item) for item in value.values())
    return isinstance(value, list) and any(map(holds_null, value))


async def prepared(world: World) -> None:
    """Protect what the recorded requests ask for."""
    conditions = [{"httpMethods": ["GET"], "scopes": ["read"]}]
    paths = ("/posts/??", "/photo", "/posts", "/tickets")
    resources = [{"path": path, "conditions": conditions} for path in paths]
    assert await world.ok("/uma-rs-protect", resources=resources) == {"oxd_id": world.site["oxd_id"]}


def is_here(record: dict[str, Any]) -> bool:
    """Tell whether the front has what the request asks for."""
    return record["path"] == "/health-check" or Flat().find(record["path"]) is not None


def status_due(record: dict[str, Any]) -> int:
    """Return the HTTP status that a recorded request gets."""
    if record in OLD:
        has_token = "Authorization" in record["headers"] or record["path"] == "/get-client-token"
        return 200 if has_token else 403
    return 403 if record["path"] in WITHOUT_A_TOKEN_NOW else 200


def descriptions() -> dict[str, jsonschema.Draft202012Validator]:
    """Return, by path, what validates a success as the OpenAPI description of the dialect has it."""
    document = json.loads(json.dumps(flat_document("1.2.3")))
    schemas = {
        path: item["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        for path, item in document["paths"].items()
        if "post" in item and path != "/backchannel-logout/{oxd_id}"  # OPs get an empty body there
    }
    components = {"components": document["components"]}
    return {path: jsonschema.Draft202012Validator({**schema, **components}) for path, schema in schemas.items()}


async def check_all(world: World, records: list[dict[str, Any]]) -> None:
    """Replay the requests; each is answered as its consumer reads it."""
    await prepared(world)
    described = descriptions()
    for record in records:
        path = record["path"]
        if not is_here(record):
            continue
        response = await replay(world, record)
        if path == "/get-issuer" and response.json().get("error") in ("failed_to_get_issuer", "restricted_op_host"):
            continue  # the sandbox knows nobody's issuer
        assert response.status_code == status_due(record), (record, response.text)
        if path in WITHOUT_A_TOKEN_NOW:
            assert response.json()["error"].endswith("access_token")
            continue
        if path == "/health-check":
            assert response.json()["status"] == "running"
            continue
        body = response.json()
        assert "status" not in body, body
        assert not holds_null(body), body
        assert CHECKS[path](body), (record, body)
        if path in described and records is FLAT:
            described[path].validate(body)


async def test_consumers_of_4_are_told_from_their_sites(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """With the dialect left to the server, every recorded request gets the status, body and types that are read."""
    async with world_of(tmp_path, sandbox) as world:
        await check_all(world, FLAT)


async def test_consumers_of_4_where_it_is_configured(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """With dialect 4 configured they get the same."""
    async with world_of(tmp_path, sandbox, dialect="4") as world:
        await check_all(world, FLAT)


async def test_consumers_of_the_beta(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """With dialect 4-beta, those of 1.0 read flat answers, and claims as lists."""
    async with world_of(tmp_path, sandbox, dialect="4-beta") as world:
        await check_all(world, BETA)
        record = next(record for record in BETA if record["path"] == "/get-user-info")
        body = (await replay(world, record)).json()
        assert body["claims"]["name"] == ["Alice Jensen"]


async def test_consumers_of_3_1_still_get_envelopes(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Requests of 3.1 that name sites of 3.1 are answered in envelopes, and without a token with 403."""
    async with running_front(tmp_path) as front:
        for record in OLD:
            response = await front.client.request(
                record["method"],
                record["path"],
                json=record["body"],
                headers={name: value for name, value in record["headers"].items() if name != "Accept-Encoding"},
            )
            assert response.status_code == status_due(record), response.text
            assert response.json()["status"] == "error"


async def test_typed_claims_and_no_others_user_info(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Claims keep their JSON types, and the user info is the OP's own object; an OP's refusal keeps its status."""
    async with world_of(tmp_path, sandbox) as world:
        url = (await world.ok("/get-authorization-url"))["authorization_url"]
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        tokens = await world.ok("/get-tokens-by-code", code=callback["code"], state=callback["state"])
        claims = tokens["id_token_claims"]
        assert type(claims["exp"]) is int
        assert isinstance(claims["sub"], str)
        user = await world.ok("/get-user-info", access_token=tokens["access_token"])
        assert user["name"] == "Alice Jensen"
        body = {"oxd_id": world.site["oxd_id"], "access_token": "wrong"}
        assert (await world.post("/get-user-info", body, world.token)).status_code == 401


async def test_need_info_is_flat_and_403(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """The authorization server's own object is the body; the demo appends its claims_redirect_uri to a query."""
    async with world_of(tmp_path, sandbox) as world:
        condition = {"httpMethods": ["GET"], "scopes": ["new-yorkers"]}
        await world.ok("/uma-rs-protect", resources=[{"path": "/claims", "conditions": [condition]}])
        denied = await world.ok("/uma-rs-check-access", path="/claims", http_method="GET", rpt="")
        body = {"oxd_id": world.site["oxd_id"], "ticket": denied["ticket"]}
        response = await world.post("/uma-rp-get-rpt", body, world.token)
        told = response.json()
        assert (response.status_code, told["error"], "details" in told) == (403, "need_info", False)
        assert isinstance(told["ticket"], str)
        assert isinstance(told["required_claims"], list)
        response = await world.post("/uma-rp-get-rpt", body, world.token)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_ticket")
