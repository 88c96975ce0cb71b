"""The recorded frames of the PHP library, whose last change was in 2018, at a provider of the FAPI 2.0 profile.

The frames are written as they were recorded, each twice, as that library does. What is exchanged in them is data alone:
the provider's address, the site's oxd_id, and the code, state and access token of the login. What the provider demands
beyond them stands in the default site file, which the operator keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from oxd_server.op.key_store import new_key_store
from tests.integration.conftest import StartServer
from tests.integration.logins import data_of, error_of
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import SharedProviders, callback_params, log_in, shared_providers

pytestmark = pytest.mark.node

CAPTURE = Path(__file__).parents[1] / "captures" / "php.jsonl"
RECORDED_OP, RECORDED_SITE = "https://op.example.org", "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
REDIRECT_URI = "https://rp.example.com/cb"
DEFAULT_SITE = {
    "client_token_endpoint_auth_method": "private_key_jwt",
    "client_token_endpoint_auth_signing_alg": "ES256",
    "id_token_signed_response_alg": "ES256",
    "dpop_bound_access_tokens": True,
}


@pytest.fixture(scope="module")
def providers() -> Iterator[SharedProviders]:
    """The process in which the providers run."""
    with shared_providers() as started:
        yield started


def recorded(command: str) -> str:
    """The body of the first frame of this command, without the digits of its length."""
    for line in CAPTURE.read_text("utf-8").splitlines():
        record = json.loads(line)
        if record["command"] == command:
            raw = str(record["raw"])
            return raw[raw.index("{") :]
    raise AssertionError(command)


async def replay(server: ServerProcess, command: str, exchanged: dict[str, str]) -> dict[str, Any]:
    """Write the recorded frame twice on a connection of its own, and read one answer, as the library does."""
    body = recorded(command)
    for old, new in exchanged.items():
        assert old in body, (command, old)
        body = body.replace(old, new)
    frame = b"%04d%s" % (len(body.encode()), body.encode())
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(frame)
        await stream.send_all(frame)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + int(answer[:4]):
            answer += await stream.receive_some(8192)
    envelope: dict[str, Any] = json.loads(answer[4:])
    return envelope


async def test_a_login(start_server: StartServer, providers: SharedProviders, tmp_path: Path) -> None:
    """Register, log in, get the user's claims and log out; the provider wants PAR, PKCE, DPoP and private_key_jwt."""
    issuer = providers.open(fapi=True, idTokenSigningAlgs=["ES256", "PS256", "EdDSA"])
    new_key_store(tmp_path / "keys.json")
    config = {"crypt_provider_key_store_path": str(tmp_path / "keys.json")}
    async with start_server(config, DEFAULT_SITE) as server:
        site = data_of(await replay(server, "register_site", {RECORDED_OP: issuer}))
        oxd_id = {RECORDED_SITE: site["oxd_id"]}
        url = data_of(await replay(server, "get_authorization_url", oxd_id))["authorization_url"]
        assert parse_qs(urlsplit(url).query).keys() == {"client_id", "request_uri"}
        callback = callback_params(await log_in(url, redirect_uri=REDIRECT_URI))
        assert callback["iss"] == issuer
        came = {'"code":"c"': f'"code":"{callback["code"]}"', '"state":"s"': f'"state":"{callback["state"]}"'}
        tokens = data_of(await replay(server, "get_tokens_by_code", {**oxd_id, **came}))
        assert tokens["id_token_claims"]["iss"] == [issuer]
        request = {"access_token": tokens["access_token"], "http_method": "GET", "url": "https://api.example/"}
        proof = data_of(await server.call("get_dpop_proof", oxd_id=site["oxd_id"], **request))
        assert proof["dpop"].count(".") == 2  # the token is bound to a key, and the application can show that it has it
        token = {'"access_token":"at"': f'"access_token":"{tokens["access_token"]}"'}
        user = data_of(await replay(server, "get_user_info", {**oxd_id, **token}))
        assert user["claims"]["sub"] == tokens["id_token_claims"]["sub"]
        assert tokens["id_token"] in data_of(await replay(server, "get_logout_uri", oxd_id))["uri"]
        data_of(await replay(server, "remove_site", oxd_id))
    asked = providers.requests(issuer)
    # Each frame came twice, and nothing happened twice.
    assert [asked.count(f"POST /{path}") for path in ("reg", "request", "token")] == [1, 1, 1]


async def test_what_the_library_cannot_pass_on(
    start_server: StartServer, providers: SharedProviders, tmp_path: Path
) -> None:
    """A site that requires iss takes no login without it: the library's frame is refused before the code is sent."""
    issuer = providers.open(fapi=True, idTokenSigningAlgs=["ES256"])
    new_key_store(tmp_path / "keys.json")
    config = {"crypt_provider_key_store_path": str(tmp_path / "keys.json")}
    async with start_server(config, {**DEFAULT_SITE, "authorization_response_iss_required": True}) as server:
        site = data_of(await replay(server, "register_site", {RECORDED_OP: issuer}))
        oxd_id = {RECORDED_SITE: site["oxd_id"]}
        url = data_of(await replay(server, "get_authorization_url", oxd_id))["authorization_url"]
        callback = callback_params(await log_in(url, redirect_uri=REDIRECT_URI))
        came = {'"code":"c"': f'"code":"{callback["code"]}"', '"state":"s"': f'"state":"{callback["state"]}"'}
        refused = await replay(server, "get_tokens_by_code", {**oxd_id, **came})
        assert error_of(refused) == "invalid_id_token_bad_issuer"
        assert refused["data"]["details"]["check"] == "missing_iss"
        assert "'iss'" in refused["data"]["error_description"]
        assert "POST /token" not in providers.requests(issuer)
