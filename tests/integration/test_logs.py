"""The log of a real server never holds a secret, however much it is asked to say."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.integration.conftest import StartServer
from tests.integration.faulty_op import REGISTRATION, TOKEN, USERINFO, altered, faulty_op, garbage, html
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
    assert "command done" in log  # it does say what happens
    assert "command refused" in log
    assert_absent(log, secrets)
