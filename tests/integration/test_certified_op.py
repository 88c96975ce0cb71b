"""Logins at the certified `oidc-provider`: every kind of signature, of client authentication, and of key rotation."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration import preloaded
from tests.integration.background import Background, background
from tests.integration.logins import Rp, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import real_provider

pytestmark = pytest.mark.node

ALGS = ["RS256", "PS256", "ES256", "EdDSA"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """A server whose key store was made by `oxd-server keys new`, for all tests here."""
    folder = tmp_path_factory.mktemp("certified")
    keys = folder / "keys.json"
    made = _oxd_server("keys", "new", str(keys))
    assert {key["kty"] for key in made["keys"]} == {"RSA", "EC"}
    assert keys.stat().st_mode & 0o777 == 0o600
    with background(folder, {"crypt_provider_key_store_path": str(keys)}) as both:
        yield both


@pytest.fixture
def server(running: Background) -> ServerProcess:
    """The server."""
    return running.server


def _oxd_server(*arguments: str) -> dict[str, Any]:
    done = preloaded.run(*arguments)
    done.check_returncode()
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def _header(token: str) -> dict[str, Any]:
    part = token.split(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return header


async def _log_in_and_use(rp: Rp) -> dict[str, Any]:
    tokens = await rp.log_in()
    user = await rp.ok("get_user_info", access_token=tokens["access_token"])
    assert user["claims"]["sub"] == tokens["id_token_claims"]["sub"] == ["alice"]
    status = await rp.ok("id_token_status", id_token=tokens["id_token"])
    assert status["active"] is True
    together = {name: tokens[name] for name in ("id_token", "access_token")}
    assert (await rp.ok("access_token_status", **together))["active"] is True
    await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
    return tokens


@pytest.mark.parametrize("alg", ALGS)
async def test_the_site_names_the_algorithm(server: ServerProcess, alg: str) -> None:
    """With id_token_signed_response_alg the OP signs id_tokens with it, and they are accepted."""
    async with real_provider() as op:
        rp = await register(server, op.issuer, id_token_signed_response_alg=alg)
        assert (await rp.stored())["id_token_signed_response_alg"] == alg
        tokens = await _log_in_and_use(rp)
        assert _header(tokens["id_token"])["alg"] == alg
    assert "deprecated" not in server.log_text()


@pytest.mark.parametrize("alg", ALGS)
async def test_the_op_names_the_algorithm(server: ServerProcess, alg: str) -> None:
    """Where the site names none, the algorithm that the OP answered to the registration is the one."""
    async with real_provider(idTokenSigningAlgs=[alg, *(other for other in ALGS if other != alg)]) as op:
        rp = await register(server, op.issuer)
        assert json.loads((await rp.stored())["registered_metadata"])["id_token_signed_response_alg"] == alg
        assert _header((await _log_in_and_use(rp))["id_token"])["alg"] == alg


@pytest.mark.parametrize("alg", ["PS256", "EdDSA"])
async def test_signed_userinfo(server: ServerProcess, alg: str) -> None:
    """With userinfo_signed_response_alg the userinfo comes as a JWT, which is verified."""
    async with real_provider() as op:
        rp = await register(server, op.issuer, userinfo_signed_response_alg=alg)
        tokens = await rp.log_in()
        user = await rp.ok("get_user_info", access_token=tokens["access_token"])
        assert user["claims"]["email"] == ["alice@example.com"]
        assert user["claims"]["aud"] == [(await rp.stored())["client_id"]]


@pytest.mark.parametrize(
    ("method", "alg"),
    [
        ("client_secret_basic", None),
        ("client_secret_post", None),
        ("client_secret_jwt", None),
        ("client_secret_jwt", "HS256"),
        ("private_key_jwt", None),
        ("private_key_jwt", "RS256"),
        ("private_key_jwt", "PS256"),
        ("private_key_jwt", "ES256"),
        ("none", None),
    ],
)
async def test_client_authentication(server: ServerProcess, method: str, alg: str | None) -> None:
    """The client authenticates in the way that it registered; the public keys go along with the registration."""
    async with real_provider() as op:
        named = {} if alg is None else {"client_token_endpoint_auth_signing_alg": alg}
        rp = await register(server, op.issuer, client_token_endpoint_auth_method=method, **named)
        await _log_in_and_use(rp)
        stored = await rp.stored()
        assert (stored["token_endpoint_auth_method"], stored["token_endpoint_auth_signing_alg"]) == (method, alg)
        if method == "none":
            assert stored["client_secret"] is None


async def test_the_keys_that_are_printed_are_those_that_sign(running: Background) -> None:
    """`oxd-server keys public` prints the public keys for an OP that wants them by hand, and nothing private."""
    printed = _oxd_server("keys", "public", "--config", str(running.folder / "oxd-conf.json"))
    stored = json.loads((running.folder / "keys.json").read_text())
    assert {key["kid"] for key in printed["keys"]} == {key["kid"] for key in stored["keys"]}
    assert not any({"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys() for key in printed["keys"])


async def test_a_client_of_the_op_brings_no_secret(running: Background) -> None:
    """A client that the OP's people made by hand with our printed public keys logs in without any secret."""
    keys = _oxd_server("keys", "public", "--config", str(running.folder / "oxd-conf.json"))
    client = {
        "client_id": "by-hand",
        "redirect_uris": ["http://127.0.0.1:9/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": keys,
    }
    async with real_provider(clients=[client]) as op:
        method = {"client_token_endpoint_auth_method": "private_key_jwt"}
        rp = await register(running.server, op.issuer, client_id="by-hand", **method)
        await _log_in_and_use(rp)
        assert "POST /reg" not in await op.requests()


@pytest.mark.parametrize("keep_old", [False, True])
@pytest.mark.parametrize("alg", ["RS256", "EdDSA"])
async def test_keys_change_between_code_and_token(server: ServerProcess, alg: str, keep_old: bool) -> None:
    """Keys that change in the middle of a login are fetched, once, and the login succeeds."""
    async with real_provider() as op:
        rp = await register(server, op.issuer, id_token_signed_response_alg=alg)
        first = await rp.log_in()
        redirect = await rp.authorize()
        kids = await op.rotate_keys(keep_old=keep_old)
        await op.requests()
        tokens = await rp.ok("get_tokens_by_code", code=redirect["code"], state=redirect["state"])
        assert _header(tokens["id_token"])["kid"] in kids
        assert _header(first["id_token"])["kid"] not in kids
        assert (await op.requests()).count("GET /jwks") == 1


@pytest.mark.parametrize("required", [False, True])
async def test_pkce(server: ServerProcess, required: bool) -> None:
    """PKCE is used whether the OP requires it or only offers it."""
    async with real_provider(pkceRequired=required) as op:
        rp = await register(server, op.issuer)
        url = (await rp.ok("get_authorization_url"))["authorization_url"]
        query = parse_qs(urlsplit(url).query)
        assert query["code_challenge_method"] == ["S256"]
        assert len(query["code_challenge"][0]) == 43
        await _log_in_and_use(rp)


async def test_an_update_renews_what_the_op_rotates(server: ServerProcess) -> None:
    """Each update uses the registration access token of the answer before it."""
    async with real_provider(rotateRegistrationAccessToken=True) as op:
        rp = await register(server, op.issuer)
        seen = {(await rp.stored())["client_registration_access_token"]}
        for name in ("Second", "Third"):
            await rp.ok("update_site", client_name=name)
            seen.add((await rp.stored())["client_registration_access_token"])
        assert len(seen) == 3
        assert (await rp.stored())["client_name"] == "Third"


async def test_an_op_that_minds_the_expiry_gets_the_rest(server: ServerProcess) -> None:
    """This OP refuses client_secret_expires_at in an update; the rest of the update happens without it."""
    async with real_provider() as op:
        rp = await register(server, op.issuer)
        await op.requests()
        await rp.ok("update_site", client_name="Renamed", client_secret_expires_at=2_000_000_000_000)
        puts = [request for request in await op.requests() if request.startswith("PUT ")]
        assert len(puts) == 2
        stored = await rp.stored()
        assert (stored["client_name"], stored["client_secret_expires_at"]) == ("Renamed", 0)


async def test_changing_to_a_key(server: ServerProcess, tmp_path: Path) -> None:
    """update_site changes the authentication method, sends the public keys along, and the next login uses them."""
    async with real_provider() as op:
        rp = await register(server, op.issuer)
        await rp.ok("update_site", client_token_endpoint_auth_method="private_key_jwt")
        assert (await rp.stored())["token_endpoint_auth_method"] == "private_key_jwt"
        await _log_in_and_use(rp)
