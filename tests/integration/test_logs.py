"""The log of a real server never holds a secret, however much it is asked to say."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from joserfc import jwt

from oxd_server.sandbox import RunningSandbox
from tests.integration.conftest import StartServer
from tests.integration.faulty_op import (
    REGISTRATION,
    TOKEN,
    USERINFO,
    Exchange,
    Fault,
    altered,
    faulty_op,
    garbage,
    html,
)
from tests.integration.logins import register
from tests.integration.real_provider import callback_params, log_in
from tests.integration.stored import stored_rows


def spellings(secret: str | bytes) -> set[str]:
    """Return the ways in which a secret could be written down."""
    raw = secret.encode() if isinstance(secret, str) else secret
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("="), raw.hex()}
    return encoded | ({secret, quote(secret, safe="")} if isinstance(secret, str) else {repr(raw)[2:-1]})


def assert_absent(log: str, secrets: dict[str, str | bytes]) -> None:
    """Assert that none of the secrets is in the log, in whatever spelling."""
    for name, secret in secrets.items():
        assert len(secret) >= 8, name
        for spelling in spellings(secret):
            assert spelling not in log, name


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_whole_login(
    start_server: StartServer, sandbox: RunningSandbox, tmp_path: Path, log_format: str
) -> None:
    """At log level debug, neither a login that works nor commands that fail leave a secret in the log."""
    secrets: dict[str, str | bytes] = {}
    async with faulty_op(sandbox) as op, start_server({"log_level": "debug", "log_format": log_format}) as server:
        rp = await register(server, op.issuer)
        stored = await rp.stored()
        for name in ("client_secret", "client_registration_access_token"):
            secrets[name] = stored[name]
        url = (await rp.ok("get_authorization_url"))["authorization_url"]
        query = parse_qs(urlsplit(url).query)
        secrets |= {"state": query["state"][0], "nonce": query["nonce"][0]}
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        secrets["code"] = callback["code"]
        op.faults[TOKEN] = html
        await rp.error("get_tokens_by_code", code=callback["code"], state=callback["state"])
        op.faults.clear()
        tokens = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
        await rp.error("get_tokens_by_code", code=callback["code"], state=callback["state"])
        secrets |= {name: tokens[name] for name in ("access_token", "refresh_token", "id_token")}
        secrets["signature of the id_token"] = tokens["id_token"].rpartition(".")[2]
        await rp.ok("get_user_info", access_token=tokens["access_token"])
        op.faults[USERINFO] = garbage
        await rp.error("get_user_info", access_token=tokens["access_token"])
        fresh = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
        secrets |= {f"fresh {name}": fresh[name] for name in ("access_token", "refresh_token")}
        await rp.error("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
        op.faults[TOKEN] = altered(id_token="x.y.z")
        callback = await rp.authorize()
        await rp.error("get_tokens_by_code", code=callback["code"], state=callback["state"])
        secrets |= {"second code": callback["code"], "second state": callback["state"]}
        await rp.ok("get_logout_uri", state="state-of-the-application")
        secrets["state for the logout"] = "state-of-the-application"
        op.faults[REGISTRATION] = html
        await rp.error("update_site", client_name="x")
        op.faults.clear()
        await rp.ok("update_site", client_name="x")
        secrets |= {f"{name} in the store": value for name, value in stored_rows(tmp_path)["secret"]}
        await rp.ok("remove_site")
    assert "state in the store" in secrets
    log = server.log_text()
    assert re.search(r"outcome\W+ok", log)  # it does say what happens
    assert re.search(r"outcome\W+error", log)
    assert_absent(log, secrets)


Told = dict[str, str]
"""What an OP was sent, and what it issued, by name."""


def told_to(exchange: Exchange, issued: dict[str, Any]) -> Told:
    """Return the secrets that the OP of this exchange knows."""
    form = {name: values[0] for name, values in parse_qs(exchange.body.decode()).items()}
    headers = {name.decode().lower(): value.decode() for name, value in exchange.head.headers}
    basic = headers["authorization"].removeprefix("Basic ")
    secret = base64.b64decode(basic).decode().partition(":")[2]
    tokens = {name: issued[name] for name in ("access_token", "refresh_token")}
    return {"basic": basic, "secret": secret, "code": form["code"], "verifier": form["code_verifier"], **tokens}


def id_token_with(sandbox: RunningSandbox, issued: str, header: dict[str, str], claims: dict[str, str]) -> str:
    """Return the id_token with other members, signed."""
    part = issued.split(".")[1]
    members = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    key = sandbox.state.keys.by_alg["RS256"]
    return jwt.encode({"alg": "RS256", "kid": key.kid or "", **header}, members | claims, key)


def repeating(sandbox: RunningSandbox, kind: str, told: list[Told]) -> Fault:
    """Return the fault of an OP that puts everything that it knows where ``kind`` says."""

    def in_id_token(issued: dict[str, Any], secrets: str) -> tuple[int, bytes, bytes]:
        header = {kind: secrets} if kind in ("kid", "typ") else {}
        claims = {kind: secrets} if kind in ("aud", "iss", "sub", "nonce", "azp", "at_hash") else {}
        body = issued | {"id_token": id_token_with(sandbox, issued["id_token"], header, claims)}
        return 200, b"", json.dumps(body).encode()

    def in_answer(issued: dict[str, Any], secrets: str) -> tuple[int, bytes, bytes]:
        body = json.dumps({"error": secrets, "error_description": secrets}).encode()
        challenge = f'Bearer error="{secrets}"'.encode()
        return {
            "error": (400, b"", body),
            "error in a 200": (200, b"", body),
            "challenge": (401, challenge, b"{}"),
            "text": (500, b"", secrets.encode()),
            "token_type": (200, b"", json.dumps(issued | {"token_type": secrets}).encode()),
            "expires_in": (200, b"", json.dumps(issued | {"expires_in": secrets}).encode()),
            "no token": (200, b"", json.dumps(issued | {"access_token": [secrets], "id_token": secrets}).encode()),
        }[kind]

    async def answer(exchange: Exchange) -> None:
        _, headers, body = await exchange.forward()
        issued = json.loads(body)
        told.append(told_to(exchange, issued))
        make: Callable[[dict[str, Any], str], tuple[int, bytes, bytes]] = (
            in_id_token if kind in IN_ID_TOKEN else in_answer
        )
        status, challenge, body = make(issued, " ".join(told[-1].values()))
        added = [(b"WWW-Authenticate", challenge)] if challenge else []
        await exchange.reply((status, [*headers, *added], body))

    return answer


IN_ID_TOKEN = ("kid", "typ", "aud", "iss", "sub", "nonce", "azp", "at_hash")
IN_ANSWER = ("error", "error in a 200", "challenge", "text", "token_type", "expires_in", "no token")


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_an_op_that_repeats_what_it_was_sent(
    start_server: StartServer, sandbox: RunningSandbox, log_format: str
) -> None:
    """An OP that knows secrets and puts them into any member of its answers does not get them into the log."""
    told: list[Told] = []
    async with faulty_op(sandbox) as op, start_server({"log_level": "debug", "log_format": log_format}) as server:
        rp = await register(server, op.issuer)
        for kind in (*IN_ID_TOKEN, *IN_ANSWER):
            callback = await rp.authorize()
            op.faults[TOKEN] = repeating(sandbox, kind, told)
            await server.call("get_tokens_by_code", oxd_id=rp.oxd_id, code=callback["code"], state=callback["state"])
            op.faults.clear()
    log = server.log_text()
    assert len(re.findall(r"outcome\W+error", log)) >= len(IN_ID_TOKEN)
    assert len(told) == len(IN_ID_TOKEN) + len(IN_ANSWER)
    for known in told:
        assert_absent(log, dict(known))
