"""Logins at a provider that demands what no old application knows of: the certified `oidc-provider`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from oxd_server.op.base64url import decode_base64url
from oxd_server.op.key_store import new_key_store
from tests.integration.background import Background, background
from tests.integration.bendable_op import Personality, bendable_op
from tests.integration.logins import Rp, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.real_provider import SharedProviders, shared_providers

pytestmark = pytest.mark.node

OXD_URL = "https://oxd.example"
PUSHED = {"pushedAuthorizationRequests": {"enabled": True, "requirePushedAuthorizationRequests": True}}
OBJECTS = {"requestObjects": {"enabled": True}}
SIGNED_RESPONSES = {"jwtResponseModes": {"enabled": True}}
SIGNED = {"requestObjects": {"enabled": True, "requireSignedRequestObject": True}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """A server with a key store, for all tests here."""
    folder = tmp_path_factory.mktemp("modern")
    new_key_store(folder / "keys.json")
    config = {"crypt_provider_key_store_path": str(folder / "keys.json"), "https": {"url": OXD_URL}}
    with background(folder, config) as both:
        yield both


@pytest.fixture
def server(running: Background) -> ServerProcess:
    """The server."""
    return running.server


@pytest.fixture(scope="module")
def providers() -> Iterator[SharedProviders]:
    """The process in which each test opens a provider of its own."""
    with shared_providers() as started:
        yield started


def query_of(url: str) -> dict[str, str]:
    """The parameters of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def part_of(token: str, number: int) -> dict[str, Any]:
    """The header (0) or the claims (1) of a JWT."""
    document: dict[str, Any] = json.loads(decode_base64url(token.split(".")[number]) or b"")
    return document


async def use(rp: Rp) -> None:
    """Log in, and use what comes of it."""
    tokens = await rp.log_in()
    user = await rp.ok("get_user_info", access_token=tokens["access_token"])
    assert user["claims"]["sub"] == tokens["id_token_claims"]["sub"]


# --- pushed requests -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["client_secret_basic", "private_key_jwt", "none"])
async def test_an_op_that_requires_pushed_requests(
    server: ServerProcess, providers: SharedProviders, method: str
) -> None:
    """A site that asks for nothing pushes its logins there; the URL has client_id and request_uri alone."""
    issuer = providers.open(features=PUSHED)
    rp = await register(server, issuer, client_token_endpoint_auth_method=method)
    url = (await rp.ok("get_authorization_url"))["authorization_url"]
    assert query_of(url).keys() == {"client_id", "request_uri"}
    assert providers.requests(issuer).count("POST /request") == 1
    await use(rp)
    assert providers.requests(issuer).count("POST /request") == 1


async def test_a_site_that_pushes(server: ServerProcess, providers: SharedProviders) -> None:
    """The site alone can ask for it, and take it back."""
    rp = await register(server, providers.open(), require_pushed_authorization_requests=True)
    assert (await rp.stored())["require_pushed_authorization_requests"] is True
    assert "request_uri" in query_of((await rp.ok("get_authorization_url"))["authorization_url"])
    await use(rp)
    await rp.ok("update_site", require_pushed_authorization_requests=False)
    assert "state" in query_of((await rp.ok("get_authorization_url"))["authorization_url"])
    await use(rp)


async def test_what_a_caller_names_is_pushed(server: ServerProcess, providers: SharedProviders) -> None:
    """State and nonce of the caller's own, and other parameters, are as good as in a URL."""
    rp = await register(server, providers.open(features=PUSHED))
    callback = await rp.authorize(state="the caller's/state", nonce="the caller's nonce", params={"login_hint": "x"})
    assert callback["state"] == "the caller's/state"
    tokens = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
    assert tokens["id_token_claims"]["nonce"] == ["the caller's nonce"]


async def test_equal_calls_are_different_logins(server: ServerProcess, providers: SharedProviders) -> None:
    """Calls at the same time push one request each, and every one of them is a login of its own."""
    issuer = providers.open(features=PUSHED)
    rp = await register(server, issuer)
    urls: set[str] = set()

    async def ask() -> None:
        urls.add((await rp.ok("get_authorization_url"))["authorization_url"])

    providers.requests(issuer)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    assert len(urls) == 8
    assert providers.requests(issuer).count("POST /request") == 8


async def test_a_refusal_keeps_the_ops_words(server: ServerProcess, providers: SharedProviders) -> None:
    """The OP's error comes back as it is; the next call is a clean new one."""
    issuer = providers.open(features=PUSHED)
    rp = await register(server, issuer)
    refused = await rp.error("get_authorization_url", prompt="none login")
    assert refused["error"] == "http_status_400"
    assert refused["details"]["error"] == "invalid_request"
    assert refused["details"]["error_description"] in refused["error_description"]
    await use(rp)


# --- what an application has to pass on ------------------------------------------------------


async def test_a_site_that_requires_iss(server: ServerProcess, providers: SharedProviders) -> None:
    """Without the redirect's iss, or with another one, no code is sent; the same state then works with it."""
    issuer = providers.open()
    rp = await register(server, issuer, authorization_response_iss_required=True)
    callback = await rp.authorize()
    providers.requests(issuer)
    both = {name: callback[name] for name in ("code", "state")}
    assert (await rp.error("get_tokens_by_code", **both))["details"]["check"] == "missing_iss"
    assert (await rp.error("get_tokens_by_code", **both, iss="https://evil.example"))["details"]["check"] == "iss"
    assert providers.requests(issuer) == []
    await rp.ok("get_tokens_by_code", **both, iss=callback["iss"])


@pytest.mark.parametrize("mode", ["jwt", "query.jwt"])
@pytest.mark.parametrize("alg", [None, "ES256", "HS256"])
async def test_signed_responses(server: ServerProcess, providers: SharedProviders, mode: str, alg: str | None) -> None:
    """The response holds code and state: it stands in their place, and they alone do not count."""
    named = {} if alg is None else {"authorization_signed_response_alg": alg}
    rp = await register(server, providers.open(features=SIGNED_RESPONSES), response_mode=mode, **named)
    callback = await rp.authorize()
    assert callback.keys() == {"response"}
    assert part_of(callback["response"], 0)["alg"] == (alg or "RS256")
    claims = part_of(callback["response"], 1)
    assert {"code", "state", "iss", "aud", "exp"} <= claims.keys()
    refused = await rp.error("get_tokens_by_code", code=claims["code"], state=claims["state"])
    assert (refused["error"], refused["details"]["check"]) == ("invalid_authorization_response", "not_signed")
    await rp.ok("get_tokens_by_code", response=callback["response"])
    again = await rp.error("get_tokens_by_code", response=callback["response"])
    assert again["details"]["check"] == "state_used"


async def test_a_signed_response_is_asked_for_at_one_login(server: ServerProcess, providers: SharedProviders) -> None:
    """A mode may be named for one login alone; it does for the iss that the site requires as well."""
    rp = await register(server, providers.open(features=SIGNED_RESPONSES), authorization_response_iss_required=True)
    callback = await rp.authorize(response_mode="jwt")
    await rp.ok("get_tokens_by_code", response=callback["response"])


async def test_a_signed_refusal(server: ServerProcess, providers: SharedProviders) -> None:
    """What the OP says in a signed response that brings no code is told in its words."""
    rp = await register(server, providers.open(features=SIGNED_RESPONSES), response_mode="jwt")
    callback = await rp.authorize(prompt="none")
    refused = await rp.error("get_tokens_by_code", response=callback["response"])
    assert (refused["error"], refused["details"]["error"]) == ("authorization_refused", "login_required")


async def test_a_response_of_another_client(server: ServerProcess, providers: SharedProviders) -> None:
    """A response that is for another site at the same OP is refused before its code is sent."""
    issuer = providers.open(features=SIGNED_RESPONSES)
    rp, other = [await register(server, issuer, response_mode="jwt") for _ in range(2)]
    callback = await other.authorize()
    refused = await rp.error("get_tokens_by_code", response=callback["response"])
    assert (refused["error"], refused["details"]["check"]) == ("invalid_authorization_response", "bad_audience")


# --- what the OP encrypts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alg", "enc"),
    [("RSA-OAEP-256", "A256GCM"), ("RSA-OAEP", None), ("ECDH-ES", "A128GCM"), ("ECDH-ES+A256KW", None),
     ("A128KW", "A256CBC-HS512"), ("dir", "A256CBC-HS512")],
)  # fmt: skip
async def test_encrypted_answers(server: ServerProcess, providers: SharedProviders, alg: str, enc: str | None) -> None:
    """id_token, userinfo and the authorization response are encrypted to a key of ours, or to the client secret."""
    kinds = ("id_token", "userinfo", "authorization")
    named = {f"{what}_encrypted_response_alg": alg for what in kinds}
    if enc is not None:
        named |= {f"{what}_encrypted_response_enc": enc for what in kinds}
    # The OP sends encrypted responses for clients with keys only; what is registered for it counts here all the same.
    issuer = providers.open(features=SIGNED_RESPONSES, encrypts=True)
    rp = await register(server, issuer, **named, response_mode="jwt", userinfo_signed_response_alg="RS256")
    callback = await rp.authorize()
    assert part_of(callback["response"], 0)["alg"] == alg
    tokens = await rp.ok("get_tokens_by_code", response=callback["response"])
    assert part_of(tokens["id_token"], 0)["alg"] == "RS256"  # the application is handed what was inside
    user = await rp.ok("get_user_info", access_token=tokens["access_token"], id_token=tokens["id_token"])
    assert user["claims"]["sub"] == tokens["id_token_claims"]["sub"]
    together = {name: tokens[name] for name in ("id_token", "access_token")}
    assert (await rp.ok("access_token_status", **together))["active"] is True
    assert tokens["id_token"] in (await rp.ok("get_logout_uri"))["uri"]
    await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])


@pytest.mark.parametrize("alg", ["RSA-OAEP-256", "dir"])
async def test_encrypted_requests(server: ServerProcess, providers: SharedProviders, alg: str) -> None:
    """A signed request is encrypted to the key that the OP publishes, or to the client secret."""
    rp = await register(
        server,
        providers.open(features=SIGNED, encrypts=True),
        request_object_signing_alg="ES256",
        request_object_encryption_alg=alg,
        request_object_encryption_enc="A256GCM",
    )
    query = query_of((await rp.ok("get_authorization_url"))["authorization_url"])
    assert query["request"].count(".") == 4
    assert part_of(query["request"], 0)["alg"] == alg
    await use(rp)


async def test_an_op_without_a_key_to_encrypt_to(server: ServerProcess, providers: SharedProviders) -> None:
    """The request is signed only, and the log says so."""
    client = {"client_id": "by-hand", "client_secret": "s" * 40, "request_object_encryption_alg": "RSA-OAEP"}
    rp = await register(server, providers.open(features=SIGNED), **client)
    query = query_of((await rp.ok("get_authorization_url"))["authorization_url"])
    assert query["request"].count(".") == 2
    assert [
        line
        for line in server.log_lines()
        if line.get("oxd_id") == rp.oxd_id and line["event"] == "request_object_not_encrypted"
    ]


# --- signed requests -------------------------------------------------------------------------


@pytest.mark.parametrize("alg", [None, "PS256", "ES256", "HS256"])
async def test_an_op_that_requires_signed_requests(
    server: ServerProcess, providers: SharedProviders, alg: str | None
) -> None:
    """A site that asks for nothing signs; the public keys went along with the registration."""
    named = {} if alg is None else {"request_object_signing_alg": alg}
    rp = await register(server, providers.open(features=SIGNED), **named)
    query = query_of((await rp.ok("get_authorization_url"))["authorization_url"])
    assert query.keys() == {"client_id", "response_type", "scope", "request"}
    assert part_of(query["request"], 0)["alg"] == (alg or "RS256")
    assert {"state", "nonce", "redirect_uri", "code_challenge", "exp", "nbf"} <= part_of(query["request"], 1).keys()
    await use(rp)


async def test_signed_requests_are_pushed(server: ServerProcess, providers: SharedProviders) -> None:
    """Both together, as FAPI 2.0 Message Signing wants it; claims and max_age are JSON in the object."""
    issuer = providers.open(features={**PUSHED, **OBJECTS, "claimsParameter": {"enabled": True}})
    rp = await register(server, issuer, require_signed_request_object=True, request_object_signing_alg="ES256")
    wanted = {"claims": '{"id_token": {"email": {"essential": true}}}', "max_age": "600"}
    callback = await rp.authorize(params=wanted)
    tokens = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
    assert tokens["id_token_claims"]["email"] == ["alice@example.com"]
    assert "auth_time" in tokens["id_token_claims"]


async def test_none_signs_nothing(server: ServerProcess, providers: SharedProviders) -> None:
    """Where signed requests are required, an unsigned one is not sent."""
    client = {"client_id": "by-hand", "client_secret": "s" * 40, "request_object_signing_alg": "none"}
    rp = await register(server, providers.open(features=SIGNED), **client)
    assert (await rp.error("get_authorization_url"))["error"] == "invalid_algorithm"


async def test_an_op_that_takes_requests_by_reference_only(server: ServerProcess) -> None:
    """The request object waits under a URI of this server's front, and the URL names that."""
    required = {"require_signed_request_object": True, "request_parameter_supported": False}
    async with bendable_op(Personality(metadata=required, registers=True)) as op:
        rp = await register(server, op.url)
        query = query_of((await rp.ok("get_authorization_url"))["authorization_url"])
        assert query["request_uri"].startswith(f"{OXD_URL}/get-request-object/")
        name = query["request_uri"].rpartition("/")[2]
        held = await rp.ok("get_request_object", request_object_id=name)
        assert part_of(held["request_object"], 1)["client_id"] == query["client_id"]
