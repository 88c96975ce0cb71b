"""The provider's documents, its front door, its faults, and how the sandbox starts."""

import base64
import json
from functools import partial

import httpx2
import pytest
import trio
from cryptography import x509
from joserfc.jwk import JWKRegistry

from oxd_server.sandbox import SandboxError, SandboxSettings, run_sandbox
from oxd_server.sandbox.table import Table
from tests.unit.sandbox.conftest import Op


async def test_discovery(op: Op) -> None:
    """The discovery document names the issuer to the letter and endpoints that exist."""
    document = (await op.http.get("/.well-known/openid-configuration")).json()
    assert document["issuer"] == op.issuer
    assert document["code_challenge_methods_supported"] == ["S256"]
    for name, url in document.items():
        if name.endswith(("_endpoint", "_uri")):
            assert (await op.http.get(url)).status_code != 404, name


async def test_keys_are_public_only(op: Op) -> None:
    """The key set has one key per algorithm, each with a kid, and nothing private."""
    keys = (await op.http.get("/jwks")).json()["keys"]
    assert {key["alg"] for key in keys} == {"RS256", "PS256", "ES256", "EdDSA"}
    assert len({key["kid"] for key in keys}) == 4
    assert not any({"d", "p", "q", "k"} & key.keys() for key in keys)


async def test_keys_have_certificates_and_an_end(op: Op) -> None:
    """Each key has a certificate over itself, as gateways want it, and the end of its time in milliseconds."""
    for key in (await op.http.get("/jwks")).json()["keys"]:
        (der,) = key["x5c"]
        certificate = x509.load_der_x509_certificate(base64.b64decode(der))
        certificate.verify_directly_issued_by(certificate)
        published = JWKRegistry.import_key({n: v for n, v in key.items() if n not in ("x5c", "exp")})
        assert certificate.public_key() == published.public_key
        assert key["exp"] == certificate.not_valid_after_utc.timestamp() * 1000


async def test_access_tokens_can_be_jwts(op: Op) -> None:
    """With the switch on, an access token is a JWT (RFC 9068) that works everywhere as before."""
    op.state.jwt_tokens = True
    client = await op.register()
    tokens = await op.tokens(client)
    text = tokens["access_token"]
    head = text.partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["typ"] == "at+jwt"
    claims = op.keys.claims_of_our_token(text)
    assert claims is not None
    assert (claims["iss"], claims["sub"], claims["scope"]) == (op.issuer, "a11ce-7f3b", "openid profile")
    assert claims["exp"] - claims["iat"] == tokens["expires_in"]
    assert await op.is_active(client, text)
    answer = await op.http.get("/userinfo", headers={"Authorization": f"Bearer {text}"})
    assert answer.status_code == 200


async def test_front_door(op: Op) -> None:
    """Unknown paths are 404, wrong methods 405 with Allow, and HEAD works like GET."""
    assert (await op.http.get("/nowhere")).status_code == 404
    answer = await op.http.get("/token")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    head = await op.http.head("/jwks")
    assert (head.status_code, head.content) == (200, b"")
    style = await op.http.get("/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "Nobody is logged in" in (await op.http.get("/")).text


BY_ID_TOKEN = {
    "id_token_bad_iss": "iss",
    "id_token_missing_sub": "sub",
    "id_token_bad_aud": "aud",
    "id_token_missing_iat": "iat",
    "id_token_bad_nonce": "nonce",
    "id_token_bad_at_hash": "at_hash",
    "id_token_missing_at_hash": "at_hash",
}


@pytest.mark.parametrize("fault", sorted(BY_ID_TOKEN))
async def test_a_fault_spoils_one_claim(op: Op, fault: str) -> None:
    """Each of these faults changes exactly its claim, in a token whose signature is good."""
    client = await op.register()
    good = op.keys.claims_of_our_token((await op.tokens(client))["id_token"])
    op.state.faults.add(fault)
    bad = op.keys.claims_of_our_token((await op.tokens(client))["id_token"])
    assert good is not None
    assert bad is not None
    wrong = BY_ID_TOKEN[fault]
    assert bad.get(wrong) != good[wrong]
    always_new = {"jti", "at_hash"}
    assert {n: v for n, v in bad.items() if n not in always_new | {wrong}} == {
        n: v for n, v in good.items() if n not in always_new | {wrong}
    }


async def test_the_other_faults(op: Op) -> None:
    """Every other fault shows in its own place."""
    client = await op.register(response_types=["code id_token", "code"])
    state = op.state

    async def id_token_with(fault: str) -> str:
        state.faults = {fault}
        return str((await op.tokens(client))["id_token"])

    assert op.keys.claims_of_our_token(await id_token_with("id_token_bad_signature")) is None
    assert (await id_token_with("id_token_alg_none")).endswith(".")
    expired = op.keys.claims_of_our_token(await id_token_with("id_token_expired"))
    assert expired is not None
    assert expired["exp"] < op.time
    tokens = await op.tokens(client)
    state.faults = {"userinfo_bad_sub"}
    userinfo = await op.http.get("/userinfo", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert userinfo.json()["sub"] == "somebody-else"
    state.faults = {"discovery_bad_issuer"}
    assert (await op.http.get("/.well-known/openid-configuration")).json()["issuer"] != op.issuer
    state.faults = {"authorization_bad_iss"}
    assert httpx2.URL(await op.log_in(client)).params["iss"] != op.issuer
    state.faults = {"id_token_bad_c_hash"}
    back = await op.log_in(client, response_type="code id_token")
    front = httpx2.QueryParams(httpx2.URL(back).fragment)["id_token"]
    spoilt = op.keys.claims_of_our_token(front)
    assert spoilt is not None
    assert spoilt["c_hash"] == "A" * 22


# --- starting --------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
async def test_only_loopback(address: str) -> None:
    """Any address that is not loopback is refused before anything is bound."""
    with pytest.raises(SandboxError, match="loopback only"):
        await run_sandbox(SandboxSettings(bind_address=address))


async def test_port_in_use() -> None:
    """A port that is taken is an error of one line."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(SandboxError, match=f"cannot listen on 127.0.0.1 port {port}"):
        await run_sandbox(SandboxSettings(port=port))
    for listener in listeners:
        await listener.aclose()


async def test_running_it() -> None:
    """Provider and demo come up on free ports; a request for another host name is refused (DNS rebinding)."""
    async with trio.open_nursery() as nursery, httpx2.AsyncClient() as http:
        sandbox = await nursery.start(partial(run_sandbox, SandboxSettings()))
        for url in (sandbox.issuer, sandbox.demo_url):
            assert (await http.get(url)).status_code == 200
            assert (await http.get(url.replace("127.0.0.1", "localhost"), headers={})).status_code == 200
            answer = await http.get(url, headers={"Host": "evil.example"})
            assert answer.status_code == 421
            assert "evil.example" not in answer.text
        nursery.cancel_scope.cancel()


# --- tables ----------------------------------------------------------------------------------


def test_tables_expire_and_stay_bounded() -> None:
    """A full table first drops what has expired, then what is oldest; an expired entry is not returned."""
    time = 0.0
    table: Table[int] = Table(3, lambda: time)
    for number in range(5):
        table.put(str(number), number)
    assert [table.get(str(number)) for number in range(5)] == [None, None, 2, 3, 4]
    table.put("brief", 9, lifetime=5)
    assert table.get("2") is None
    time = 5.0
    assert table.get("brief") is None
    table.put("new", 1)
    assert (table.get("3"), table.get("4"), table.get("new")) == (3, 4, 1)
    assert len(table) == 3
    assert table.pop("new") == 1
    assert table.get(None) is None
    assert table.pop("new") is None
