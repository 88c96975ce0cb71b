"""What an OP says when it refuses reaches the caller with its meaning: the status, the text, the parsed JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.background import Background
from tests.integration.faulty_op import (
    DISCOVERY,
    KEY_SET,
    REGISTRATION,
    TOKEN,
    USERINFO,
    Exchange,
    Fault,
    FaultyOp,
)
from tests.integration.logins import REDIRECT_URI, SCOPES, Rp, data_of, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.stored import stored_rows

INTROSPECTION = "/introspect"
STATUSES = [400, 401, 403, 500, 503]
JSON_BODY = {"error": "invalid_grant", "error_description": "det går ikke", "hint": {"retry": False}}
HTML_BODY = "<!doctype html><title>Sorry</title>"
BODIES: dict[str, tuple[bytes, bytes]] = {
    "JSON": (b"application/json", json.dumps(JSON_BODY, ensure_ascii=False).encode()),
    "HTML": (b"text/html", HTML_BODY.encode()),
    "nothing": (b"text/plain", b""),
}


@pytest.fixture
def server(running: Background) -> ServerProcess:
    """The server."""
    return running.server


def refusal(status: int, body: str) -> Fault:
    """Answer with this status and one of `BODIES`."""
    content_type, content = BODIES[body]

    async def answer(exchange: Exchange) -> None:
        await exchange.reply((status, [(b"Content-Type", content_type)], content))

    return answer


def check(error: dict[str, Any], status: int, body: str) -> None:
    """Assert that the error tells status, text and parsed JSON of the OP's answer."""
    assert error["error"] == f"http_status_{status}"
    assert error["details"] == (JSON_BODY if body == "JSON" else None)
    text = BODIES[body][1].decode()
    if text:
        assert error["error_description"] == text
    else:
        assert str(status) in error["error_description"]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", STATUSES)
async def test_every_endpoint(running: Background, op: FaultyOp, status: int, body: str) -> None:
    """Every endpoint that a command uses: the same error at each, nothing stored, and then it works."""
    server = running.server
    rp = await register(server, op.issuer)
    tokens = await rp.log_in()
    redirect = await rp.authorize()
    site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
    commands: list[tuple[str, str, dict[str, Any]]] = [
        (REGISTRATION, "register_site", site),
        (REGISTRATION, "update_site", {"oxd_id": rp.oxd_id, "client_name": "New"}),
        (TOKEN, "get_tokens_by_code", {"oxd_id": rp.oxd_id, "code": redirect["code"], "state": redirect["state"]}),
        (
            TOKEN,
            "get_access_token_by_refresh_token",
            {"oxd_id": rp.oxd_id, "refresh_token": tokens["refresh_token"]},
        ),
        (
            INTROSPECTION,
            "introspect_access_token",
            {"oxd_id": rp.oxd_id, "access_token": tokens["access_token"]},
        ),
        (USERINFO, "get_user_info", {"oxd_id": rp.oxd_id, "access_token": tokens["access_token"]}),
    ]
    before = stored_rows(running.folder)
    for path, command, params in commands:
        op.faults = {path: refusal(status, body)}
        answer = await server.call(command, **params)
        assert answer["status"] == "error", command
        check(answer["data"], status, body)
    assert stored_rows(running.folder) == before
    op.faults.clear()
    for _, command, params in commands:
        data_of(await server.call(command, **params))


@pytest.mark.parametrize(("status", "body"), [(403, "JSON"), (503, "HTML")])
async def test_the_key_set(server: ServerProcess, op: FaultyOp, status: int, body: str) -> None:
    """The same where the key set cannot be had; the state is used up by then, and a new login works."""
    rp = await register(server, op.issuer)
    redirect = await rp.authorize()
    op.faults = {KEY_SET: refusal(status, body)}
    check(await rp.error("get_tokens_by_code", code=redirect["code"], state=redirect["state"]), status, body)
    op.faults.clear()
    await rp.log_in()


@pytest.mark.parametrize(("status", "body"), [(404, "JSON"), (500, "HTML"), (503, "nothing")])
async def test_the_discovery(running: Background, op: FaultyOp, status: int, body: str) -> None:
    """Without metadata the error is the discovery's own, and tells the status and the host."""
    op.faults = {DISCOVERY: refusal(status, body)}
    before = stored_rows(running.folder)
    site = {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
    error = (await running.server.call("register_site", **site))["data"]
    assert error["error"] == "no_connect_discovery_response"
    assert str(status) in error["error_description"]
    assert error["details"]["host"] == op.issuer.removeprefix("http://")
    assert stored_rows(running.folder) == before
    op.faults.clear()
    await register(running.server, op.issuer)


async def test_what_only_the_header_says(server: ServerProcess, op: FaultyOp) -> None:
    """An access token that the OP refuses in its WWW-Authenticate header alone is told in the details (RFC 6750)."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.reply((401, [(b"WWW-Authenticate", b'Bearer realm="x", error="invalid_token"')], b""))

    rp: Rp = await register(server, op.issuer)
    op.faults = {USERINFO: refuse}
    error = await rp.error("get_user_info", access_token="an-access-token")
    assert (error["error"], error["details"]) == ("http_status_401", {"error": "invalid_token"})


async def test_a_token_that_cannot_be_one_is_not_sent(server: ServerProcess, op: FaultyOp) -> None:
    """An access token with a line break in it is the caller's mistake; it does not become a header."""
    rp: Rp = await register(server, op.issuer)
    op.requests.clear()
    error = await rp.error("get_user_info", access_token="a\r\nX-Evil: 1")
    assert error["error"] == "invalid_request"
    assert f"GET {USERINFO}" not in op.requests
