"""The main job at the sandbox: an application registers, logs people in and out, changes and leaves."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from scripts.walkthrough import OXD_PORT
from tests.integration.conftest import StartServer
from tests.integration.logins import LOGOUT_URI, REDIRECT_URI, SCOPES, data_of, error_of, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import log_out

ROOT = Path(__file__).parents[2]


async def test_a_whole_login(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Register, log in, get claims, refresh, log out, remove: every answer has its documented keys and no others."""
    rp = await register(server, sandbox.issuer)
    tokens = await rp.log_in()
    assert set(tokens) == {"access_token", "expires_in", "id_token", "refresh_token", "id_token_claims"}
    user = await rp.ok("get_user_info", access_token=tokens["access_token"])
    assert set(user) == {"claims", "refresh_token", "access_token"}
    assert user["claims"]["name"] == ["Alice Jensen"]
    assert user["claims"]["sub"] == tokens["id_token_claims"]["sub"]
    fresh = await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
    assert set(fresh) == {"access_token", "expires_in", "refresh_token", "scope"}
    assert await rp.ok("get_user_info", access_token=fresh["access_token"]) == user
    logout = await rp.ok("get_logout_uri", state="see you")
    assert await log_out(logout["uri"]) == f"{LOGOUT_URI}?state=see+you"
    assert await rp.ok("remove_site") == {"oxd_id": rp.oxd_id}
    assert (await rp.error("get_rp"))["error"] == "invalid_oxd_id"


async def test_the_authorization_url_carries_what_the_op_needs(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Every value is percent-encoded; PKCE, state and nonce are there; custom parameters come along both ways."""
    rp = await register(server, sandbox.issuer, acr_values=["basic"])
    answer = await rp.ok(
        "get_authorization_url", prompt="login", hd="example.org", custom_parameters={"a b": "ü&=", "n": 1}
    )
    url = answer["authorization_url"]
    assert " " not in url
    assert url.isascii()
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}
    stored = await rp.stored()
    assert query.pop("state") != query.pop("nonce")
    assert len(query.pop("code_challenge")) == 43
    assert query == {
        "response_type": "code",
        "client_id": stored["client_id"],
        "redirect_uri": REDIRECT_URI,
        "scope": "openid profile email",
        "code_challenge_method": "S256",
        "prompt": "login",
        "acr_values": "basic",
        "hd": "example.org",
        "a b": "ü&=",
        "n": "1",
        "custom_response_headers": '[{"a b":"ü&="},{"n":"1"}]',
    }


@pytest.mark.parametrize("name", ["state", "redirect_uri", "client_id", "nonce", "scope", "code_challenge"])
async def test_a_custom_parameter_cannot_override_the_protocol(
    server: ServerProcess, sandbox: RunningSandbox, name: str
) -> None:
    """A custom parameter with the name of a protocol parameter is refused."""
    rp = await register(server, sandbox.issuer)
    error = await rp.error("get_authorization_url", custom_parameters={name: "x"})
    assert error["error"] == "invalid_request"
    assert name in error["error_description"]


async def test_a_state_is_used_once(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """A second redemption of the same state is refused, and so is one by another site."""
    rp, other = await register(server, sandbox.issuer), await register(server, sandbox.issuer)
    callback = await rp.authorize()
    params = {"code": callback["code"], "state": callback["state"]}
    stolen = await other.error("get_tokens_by_code", **params)
    assert (stolen["error"], stolen["details"]) == ("bad_request", {"check": "state_unknown"})
    await rp.ok("get_tokens_by_code", **params)
    again = await rp.error("get_tokens_by_code", **params)
    assert (again["error"], again["details"]) == ("bad_request", {"check": "state_used"})
    for error in (stolen, again):
        assert error["error_description"].startswith("'state' is not registered: ")
    blank = await rp.error("get_tokens_by_code", **{**params, "code": " "})
    assert (blank["error"], blank["details"]) == ("bad_request", {"check": "missing_parameter", "parameter": "code"})


async def test_a_state_can_be_tried_again_after_the_op_refused(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """When the OP gives no tokens, the state is still good: nothing is lost on a bad request."""
    rp = await register(server, sandbox.issuer)
    callback = await rp.authorize()
    refused = await rp.error("get_tokens_by_code", code="wrong", state=callback["state"])
    assert refused["error"] == "http_status_400"
    assert refused["details"]["error"] == "invalid_grant"
    await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])


async def test_a_state_survives_a_restart(
    start_server: StartServer, server: ServerProcess, sandbox: RunningSandbox
) -> None:
    """A login that began before a restart ends after it, and its state cannot be used again after another one."""
    rp = await register(server, sandbox.issuer)
    callback = await rp.authorize()
    await server.terminate()
    async with start_server() as again:
        rp.server = again
        tokens = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
    async with start_server() as again:
        rp.server = again
        repeated = await rp.error("get_tokens_by_code", code=callback["code"], state=callback["state"])
        assert repeated["error"] == "bad_request"
        logout = await rp.ok("get_logout_uri")
        assert parse_qs(urlsplit(logout["uri"]).query)["id_token_hint"] == [tokens["id_token"]]


async def test_the_iss_of_the_redirect_is_compared(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """A redirect that says it comes from another issuer is refused before its code is sent anywhere (RFC 9207)."""
    rp = await register(server, sandbox.issuer)
    callback = await rp.authorize()
    params = {"code": callback["code"], "state": callback["state"]}
    error = await rp.error("get_tokens_by_code", iss="https://attacker.example", **params)
    assert error["error"] == "invalid_id_token_bad_issuer"
    await rp.ok("get_tokens_by_code", iss=callback["iss"], **params)


async def test_an_update_keeps_what_it_does_not_name(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """update_site sends the whole metadata: the new name and scopes arrive, everything else stays at the OP."""
    rp = await register(server, sandbox.issuer, contacts=["ops@example.org"])
    before = await rp.stored()
    assert await rp.ok("update_site", client_name="Renamed", scope=["openid", "email"]) == {"oxd_id": rp.oxd_id}
    after = await rp.stored()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"client_name", "scope", "client_registration_access_token", "registered_metadata"}
    client = sandbox.state.clients.get(after["client_id"])
    assert client is not None
    assert client.metadata["client_name"] == "Renamed"
    assert client.metadata["contacts"] == ["ops@example.org"]
    assert client.metadata["grant_types"] == ["authorization_code", "refresh_token"]
    assert client.metadata["scope"] == "openid email"


async def test_two_updates_at_once_do_not_undo_each_other(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Of concurrent updates of different things, each one is there afterwards, here and at the OP."""
    rp = await register(server, sandbox.issuer)
    changes: list[dict[str, Any]] = [
        {"client_name": "New"},
        {"contacts": ["a@example.org"]},
        {"scope": ["openid"]},
        {"acr_values": ["duo"]},
    ]
    async with trio.open_nursery() as nursery:
        for change in changes:
            nursery.start_soon(lambda change: rp.ok("update_site", **change), change)
    stored = await rp.stored()
    for change in changes:
        for name, value in change.items():
            assert stored[name] == value
    client = sandbox.state.clients.get(stored["client_id"])
    assert client is not None
    assert (client.metadata["client_name"], client.metadata["contacts"]) == ("New", ["a@example.org"])


async def test_a_client_that_is_brought_along(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """With client_id and client_secret nothing is registered at the OP, and logging in works as ever."""
    registered = await (await register(server, sandbox.issuer)).stored()
    count = len(sandbox.state.clients)
    own = {"client_id": registered["client_id"], "client_secret": registered["client_secret"]}
    rp = await register(server, sandbox.issuer, **own)
    assert len(sandbox.state.clients) == count
    assert (await rp.log_in())["id_token_claims"]["aud"] == [registered["client_id"]]
    assert (await rp.error("update_site", client_name="x"))["error"] == "invalid_registration_client_url"


async def test_defaults_come_from_the_default_site_configuration(
    start_server: StartServer, sandbox: RunningSandbox
) -> None:
    """What register_site does not name comes from the default site configuration, its old spellings included."""
    defaults = {
        "op_host": sandbox.issuer,
        "authorization_redirect_uri": REDIRECT_URI,
        "logout_redirect_uri": LOGOUT_URI,
        "grant_type": ["authorization_code", "refresh_token"],
        "scope": SCOPES,
        "trusted_client": True,
    }
    async with start_server(default_site=defaults) as server:
        answer = data_of(await server.call("register_site", op_host=None, scope=[], client_name=""))
        stored = data_of(await server.call("get_rp", oxd_id=answer["oxd_id"]))["node"]
    assert answer["op_host"] == sandbox.issuer
    assert stored["grant_types"] == defaults["grant_type"]
    assert stored["logout_redirect_uri"] == LOGOUT_URI
    assert stored["scope"] == SCOPES
    assert stored["trusted_client"] is True
    assert stored["client_name"]


async def test_removing_can_deregister(start_server: StartServer, sandbox: RunningSandbox) -> None:
    """With deregister_client_on_remove the client is deleted at the OP, and one that is gone already is no error."""
    async with start_server({"deregister_client_on_remove": True}) as server:
        rp, gone = await register(server, sandbox.issuer), await register(server, sandbox.issuer)
        client_id = (await rp.stored())["client_id"]
        await rp.ok("remove_site")
        assert sandbox.state.clients.get(client_id) is None
        sandbox.state.clients.pop((await gone.stored())["client_id"])
        await gone.ok("remove_site")


async def test_sites_are_listed(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """get_rp with list: true names every site; without oxd_id or list it says what is missing."""
    first = await register(server, sandbox.issuer, client_name="First")
    second = await register(server, sandbox.issuer, client_name="Second")
    listed = data_of(await server.call("get_rp", list=True))["node"]
    assert {(site["oxd_id"], site["client_name"]) for site in listed} == {
        (first.oxd_id, "First"),
        (second.oxd_id, "Second"),
    }
    assert error_of(await server.call("get_rp")) == "bad_request"


async def test_the_same_refresh_token_twice_at_once(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Two commands with one refresh token share one request: both get the same tokens, and it is spent once."""
    rp = await register(server, sandbox.issuer)
    tokens = await rp.log_in()
    answers = []

    async def refresh() -> None:
        answers.append(await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"]))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(refresh)
    assert all(answer == answers[0] for answer in answers)
    await rp.ok("get_user_info", access_token=answers[0]["access_token"])


async def test_run_once_shows_a_whole_login() -> None:
    """`./scripts/run --once` logs in as the PHP library does and shows every frame, at a server of its own.

    Another listener has the port that it would like, and gets no connection.
    """
    with socket.socket() as other:
        with suppress(OSError):  # one more program has it: just as well
            other.bind(("127.0.0.1", OXD_PORT))
            other.listen()
        ran = await trio.run_process(
            [ROOT / "scripts" / "run", "--once"], capture_stdout=True, capture_stderr=True, check=False
        )
    printed = ran.stdout.decode()
    assert ran.returncode == 0, printed + ran.stderr.decode()
    for command in ("register_site", "get_authorization_url", "get_tokens_by_code", "get_user_info",
                    "get_access_token_by_refresh_token", "get_logout_uri", "remove_site"):  # fmt: skip
        assert f'{{"command":"{command}"' in printed
        assert re.search(rf'"event":"command".*"command":"{command}".*"outcome":"ok"', printed)
        assert f'oxd_commands_total{{command="{command}",dialect="3",outcome="ok"}} 1.0' in printed
    assert "All steps done" in printed
    assert re.search(rf"The server listens on port (?!{OXD_PORT},)\d+, the sandbox on port \d+", printed)
