"""DPoP proofs: what a client makes, every reason to refuse one, replays, and the nonces that servers ask for."""

import json

import msgspec
import pytest

from oxd_server.op.answer import Answer
from oxd_server.op.base64url import decode_base64url, encode_base64url
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.dpop import ProofReplays, load_dpop_key, new_dpop_key, same_target, sign_proof, verify_proof
from oxd_server.op.dpop_nonces import DpopNonces
from oxd_server.op.errors import DpopProofError, IdTokenCheck, OpErrorResponse, OpInvalidResponse
from oxd_server.op.jose import sign_token
from oxd_server.op.tokens import request_client_token
from oxd_server.op.userinfo import request_userinfo

NOW = 1_800_000_000.0
URL = "https://api.example.org/photos"
TOKEN = "an-access-token"
KEY = load_dpop_key(new_dpop_key(()))
OTHER = load_dpop_key(new_dpop_key(("Ed25519",)))


def random(count):
    return b"r" * count


def claims_of(proof):
    return json.loads(decode_base64url(proof.split(".")[1]) or b"")


def verify(proof, **changes):
    """Verify a proof of the usual request, but for these changes."""
    usual = {"method": "GET", "url": URL, "access_token": TOKEN, "thumbprint": KEY.thumbprint, "now": NOW, "leeway": 60}
    return verify_proof(proof, **{**usual, **changes})


def proof_with(header=None, key=KEY, **claims):
    """A proof of the usual request, signed by the key, with these in place of others; None leaves one out."""
    usual = claims_of(sign_proof(key, "GET", URL, NOW, random, access_token=TOKEN))
    changed = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    head = {name: v for name, v in {"typ": "dpop+jwt", "jwk": key.public, **(header or {})}.items() if v is not None}
    return sign_token(head, changed, key.algorithm, key.key)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "Ed25519", "PS256", "RS256", "XX256"])
def test_a_proof_of_every_algorithm_holds(algorithm):
    """The first algorithm that the OP lists is taken, else ES256; what the client makes, a server accepts."""
    key = load_dpop_key(new_dpop_key(["HS256", algorithm]))
    assert key.algorithm.name == ("ES256" if algorithm == "XX256" else algorithm)
    proof = sign_proof(key, "GET", URL + "?a=1#b", NOW, random, access_token=TOKEN, nonce="n")
    assert verify(proof, thumbprint=key.thumbprint) == f"{key.thumbprint} cnJycnJycnJycnJycnJycg"
    assert {"htm": "GET", "htu": URL, "iat": NOW, "nonce": "n"}.items() <= claims_of(proof).items()
    assert "d" not in key.public


def test_a_key_is_kept_as_text():
    """What is kept is the private key; loading it again gives the same one, and its repr shows nothing of it."""
    text = new_dpop_key(())
    private = msgspec.json.decode(text)["d"]
    assert load_dpop_key(text) is load_dpop_key(text)
    assert private not in repr(load_dpop_key(text))


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"htm": "POST"}, IdTokenCheck.WRONG_METHOD),
        ({"htm": "get"}, IdTokenCheck.WRONG_METHOD),
        ({"htm": None}, IdTokenCheck.WRONG_METHOD),
        ({"htu": "https://api.example.org/other"}, IdTokenCheck.WRONG_URL),
        ({"htu": "http://api.example.org/photos"}, IdTokenCheck.WRONG_URL),
        ({"htu": "/photos"}, IdTokenCheck.WRONG_URL),
        ({"htu": None}, IdTokenCheck.WRONG_URL),
        ({"iat": None}, IdTokenCheck.MISSING_ISSUED_AT),
        ({"iat": True}, IdTokenCheck.MISSING_ISSUED_AT),
        ({"iat": NOW - 121}, IdTokenCheck.NOT_RECENT),
        ({"iat": NOW + 61}, IdTokenCheck.NOT_RECENT),
        ({"iat": 1e300}, IdTokenCheck.NOT_RECENT),
        ({"ath": None}, IdTokenCheck.WRONG_TOKEN),
        ({"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}, IdTokenCheck.WRONG_TOKEN),
        ({"jti": None}, IdTokenCheck.MISSING_TOKEN_ID),
        ({"jti": ""}, IdTokenCheck.MISSING_TOKEN_ID),
        ({"jti": "j" * 256}, IdTokenCheck.MISSING_TOKEN_ID),
    ],
)
def test_what_a_proof_must_claim(changes, check):
    """Each claim that is missing or wrong is a reason of its own."""
    with pytest.raises(DpopProofError) as caught:
        verify(proof_with(**changes))
    assert caught.value.check is check


@pytest.mark.parametrize(
    ("header", "check"),
    [
        ({"typ": "JWT"}, IdTokenCheck.BAD_TYPE),
        ({"typ": None}, IdTokenCheck.BAD_TYPE),
        ({"jwk": None}, IdTokenCheck.KEY_UNUSABLE),
        ({"jwk": "text"}, IdTokenCheck.KEY_UNUSABLE),
        ({"jwk": {**KEY.public, "d": "AA"}}, IdTokenCheck.KEY_UNUSABLE),
        ({"jwk": {"kty": "oct", "k": "AA"}}, IdTokenCheck.KEY_UNUSABLE),
        ({"jwk": {"kty": "EC", "crv": "P-256"}}, IdTokenCheck.KEY_NOT_FOUND),
        ({"jwk": OTHER.public}, IdTokenCheck.KEY_NOT_FOUND),
        ({"jwk": load_dpop_key(new_dpop_key(())).public}, IdTokenCheck.BAD_SIGNATURE),
        ({"crit": ["exp"]}, IdTokenCheck.CRITICAL_HEADER),
    ],
)
def test_what_a_header_must_say(header, check):
    """The type, a public key and nothing private, and the key that signed."""
    with pytest.raises(DpopProofError) as caught:
        verify(proof_with(header))
    assert caught.value.check is check


@pytest.mark.parametrize(
    ("proof", "changes", "check"),
    [
        (proof_with(key=OTHER), {}, IdTokenCheck.WRONG_KEY),
        (proof_with(), {"thumbprint": None}, IdTokenCheck.NOT_BOUND),
        (proof_with(), {"access_token": "another"}, IdTokenCheck.WRONG_TOKEN),
        (proof_with(), {"method": "DELETE"}, IdTokenCheck.WRONG_METHOD),
        (proof_with() + ", " + proof_with(), {}, IdTokenCheck.ENCRYPTED),
        ("nonsense", {}, IdTokenCheck.MALFORMED),
        ("e30..", {}, IdTokenCheck.KEY_UNUSABLE),
        ("x" * 9000, {}, IdTokenCheck.TOO_LARGE),
    ],
)
def test_what_does_not_belong_together(proof, changes, check):
    """A proof of another key, of another token, of none, and what is no proof."""
    with pytest.raises(DpopProofError) as caught:
        verify(proof, **changes)
    assert caught.value.check is check


@pytest.mark.parametrize("name", ["none", "HS256"])
def test_an_unsigned_proof_is_none(name):
    """Neither none nor an HMAC is an algorithm of proofs."""
    head, claims, signature = proof_with().split(".")
    header = encode_base64url(msgspec.json.encode({**json.loads(decode_base64url(head) or b""), "alg": name}))
    with pytest.raises(DpopProofError) as caught:
        verify(f"{header}.{claims}.{signature}")
    assert caught.value.check is IdTokenCheck.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://A.example:443/x?y=1#z", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/%7Ealice/%c3%a9", "https://a.example/~alice/%C3%A9", True),
        ("https://a.example/x/../y/./z", "https://a.example/y/z", True),
        ("https://a.example/x/..", "https://a.example/", True),
        ("https://a.example/%2F", "https://a.example//", False),
        ("https://a.example/x", "https://a.example/x/", False),
        ("https://a.example/x", "https://a.example/X", False),
        ("https://a.example/x", "https://a.example:8443/x", False),
        ("ftp://a.example/x", "ftp://a.example/x", False),
        ("https://[::1", "https://[::1", False),
    ],
)
def test_targets(one, other, same):
    """The spelling of a URL does not count, its query neither; another target is another one."""
    assert same_target(one, other) is same


def test_a_proof_counts_once():
    """A proof is known again as long as it could be used; then there is room for others. Too many count as seen."""
    replays = ProofReplays(capacity=2)
    assert replays.is_new("a", NOW, 60)
    assert not replays.is_new("a", NOW + 179, 60)
    assert replays.is_new("b", NOW + 100, 60)
    assert not replays.is_new("c", NOW + 100, 60)
    assert replays.is_new("c", NOW + 180, 60)
    assert len(replays) == 2


# --- nonces -----------------------------------------------------------------------------------


def answer(status=200, body=b"{}", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body, "op.example", "token request")


def test_nonces_are_remembered_by_origin():
    """The last nonce of each server; of so many servers at most."""
    nonces = DpopNonces(capacity=2)
    assert not nonces.learn("https://a.example/token", answer(dpop_nonce="n1"))
    assert not nonces.learn("https://a.example/token", answer(dpop_nonce="n2"))
    assert nonces.of("https://a.example/userinfo") == "n2"
    assert nonces.of("https://b.example/") is None
    for host in "bc":
        nonces.learn(f"https://{host}.example/", answer(dpop_nonce=host))
    assert (nonces.of("https://a.example/"), len(nonces)) == (None, 2)


@pytest.mark.parametrize("nonce", ["", "with space", 'quoted"', "n" * 513, "\u00e9"])
def test_what_is_no_nonce_is_not_remembered(nonce):
    """Section 8.1: a nonce has few characters; without one there is nothing to answer with."""
    nonces = DpopNonces()
    assert not nonces.learn("https://a.example/", answer(400, b'{"error": "use_dpop_nonce"}', dpop_nonce=nonce))
    assert len(nonces) == 0


@pytest.mark.parametrize(
    ("status", "body", "challenge", "asks"),
    [
        (400, b'{"error": "use_dpop_nonce"}', "", True),
        (400, b'{"error": "invalid_grant"}', "", False),
        (401, b"", 'DPoP error="use_dpop_nonce", error_description="x"', True),
        (401, b"", 'Bearer realm="x", DPoP algs="ES256", error=use_dpop_nonce', True),
        (401, b'{"error": "use_dpop_nonce"}', 'DPoP error="invalid_token"', False),
        (500, b'{"error": "use_dpop_nonce"}', "", False),
    ],
)
def test_who_asks_for_a_nonce(status, body, challenge, asks):
    """An authorization server in its error, a resource server in its challenge."""
    told = answer(status, body, dpop_nonce="n", www_authenticate=challenge)
    assert DpopNonces().learn("https://a.example/", told) is asks


CREDENTIALS = ClientCredentials(client_id="c", client_secret="s", method="client_secret_basic", dpop_key=KEY)
NEEDS_NONCE = {"error": "use_dpop_nonce"}


def metadata(op):
    return ProviderMetadata(issuer=op.base, token_endpoint=op.base + "/token", userinfo_endpoint=op.base + "/userinfo")


async def test_a_challenge_is_answered_once(op, client):
    """The same request goes out again with the nonce, which the next request has at once."""
    granted = {"access_token": "t", "token_type": "dpop"}
    op.on("POST", "/token", NEEDS_NONCE, status=400, headers={"DPoP-Nonce": "first"})
    op.on("POST", "/token", granted, headers={"DPoP-Nonce": "second"})
    assert (await request_client_token(client, metadata(op), CREDENTIALS)).access_token == "t"
    await request_client_token(client, metadata(op), CREDENTIALS)
    proofs = [claims_of(request.headers["dpop"]) for request in op.requests]
    assert [proof.get("nonce") for proof in proofs] == [None, "first", "second"]
    assert {(proof["htm"], proof["htu"]) for proof in proofs} == {("POST", op.base + "/token")}
    assert "ath" not in proofs[0]


async def test_a_server_that_is_never_content_is_refused(op, client):
    """One answer to a challenge, and no more; the error is the server's."""
    op.on("POST", "/token", NEEDS_NONCE, status=400, headers={"DPoP-Nonce": "again"})
    with pytest.raises(OpErrorResponse) as caught:
        await request_client_token(client, metadata(op), CREDENTIALS)
    assert (caught.value.oauth_error, len(op.requests)) == ("use_dpop_nonce", 2)


@pytest.mark.parametrize("told", ["Bearer", "MAC"])
async def test_a_token_of_another_type_is_not_taken(op, client, told):
    """A token that is not bound is refused where it has to be."""
    op.on("POST", "/token", {"access_token": "t", "token_type": told})
    with pytest.raises(OpInvalidResponse, match="not DPoP") as caught:
        await request_client_token(client, metadata(op), CREDENTIALS)
    assert caught.value.check == "token_type"


async def test_userinfo_with_a_bound_token(op, client):
    """The token goes out under its own scheme, with a proof over it."""
    op.on(
        "GET", "/userinfo", status=401, headers={"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "n"}
    )
    op.on("GET", "/userinfo", {"sub": "alice"})
    assert (await request_userinfo(client, metadata(op), TOKEN, KEY)).status == 200
    assert {request.headers["authorization"] for request in op.requests} == {f"DPoP {TOKEN}"}
    last = op.requests[-1].headers["dpop"]
    assert verify(last, url=op.base + "/userinfo")
    assert claims_of(last)["nonce"] == "n"
