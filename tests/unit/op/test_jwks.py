"""Key sets: what is taken from them, and when they are fetched again."""

import pytest
import trio
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey
from trio.testing import wait_all_tasks_blocked

from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import (
    IdTokenCheck,
    IdTokenError,
    OpErrorResponse,
    OpHostRefused,
    OpInvalidResponse,
    OpMetadataMissing,
)
from oxd_server.op.id_token import Expectations
from oxd_server.op.id_token_check import check_id_token
from oxd_server.op.jose import ALGORITHMS, MAX_KEYS, parse_key_set
from oxd_server.op.jwks import MAX_REFETCHES, REFETCH_WINDOW, KeySetCache
from oxd_server.op.reach import Reach, Zone

CLAIMS = {"iss": "https://op", "aud": "client", "sub": "user", "nonce": "n", "exp": 2e9, "iat": 1.8e9}


def expectations(*algorithms, **changes):
    values = {"issuer": "https://op", "client_id": "client", "nonce": "n", "algorithms": frozenset(algorithms)}
    return Expectations(**{**values, **changes})


def metadata(op):
    return ProviderMetadata(issuer="https://op", jwks_uri=op.base + "/jwks")


def usable_keys(*jwks):
    """The keys of a key set that has these."""
    parsed = parse_key_set({"keys": [*jwks]})
    assert parsed is not None
    return parsed.keys


def weak_rsa():
    with pytest.warns(SecurityWarning):
        return RSAKey.generate_key(1024).as_dict(private=False)


def test_unusable_keys_are_ignored(signers):
    """Keys of unknown kinds, without members, too weak, symmetric or broken are left out; the rest is used."""
    good, rsa = signers["ES256"].jwk, signers["RS256"].jwk
    secret = OctKey.generate_key(256).as_dict()
    bad = [
        weak_rsa(), secret, {"kty": "AKP", "pub": "x"}, {}, "text", None, {"kty": 1}, {"kty": "RSA"}, {"kty": "EC"},
        {**good, "x": good["y"]}, {**good, "crv": "P-999"}, {**good, "x": 1}, {**good, "x": "!!"}, {**good, "x": ""},
        {**rsa, "n": "A" * 400}, {**rsa, "n": "!" * 400}, {**rsa, "e": ""},
        {**rsa, "e": "AA"}, ECKey.generate_key("secp256k1").as_dict(private=False),
    ]  # fmt: skip
    assert [key.kid for key in usable_keys(*bad, good)] == [good["kid"]]


def test_odd_descriptions_of_a_key(signers):
    """A kid, use or alg that is no text counts as absent; key_ops are read."""
    jwk = {**signers["ES256"].jwk, "kid": [7], "use": None, "alg": 1, "key_ops": ["verify", 3]}
    (key,) = usable_keys(jwk)
    assert (key.kid, key.use, key.algorithm, key.key_ops) == (None, None, None, ("verify",))
    (key,) = usable_keys({**jwk, "use": "", "key_ops": "verify", "x": jwk["x"] + "="})
    assert (key.use, key.key_ops) == (None, ("verify",))


def test_habits_in_descriptions_of_a_key(signers):
    """Empty members are none, letter case and the alphabet of base64 do not matter, and a key says what it is for."""
    jwk = signers["RS256"].jwk
    number = jwk["n"].replace("-", "+").replace("_", "/")
    (key,) = usable_keys({**jwk, "kid": "", "use": "SIG", "alg": "RSA", "key_ops": [], "n": number})
    assert (key.kid, key.key_ops, key.fits(ALGORITHMS["RS256"])) == (None, None, True)
    (key,) = usable_keys({**jwk, "kty": "rsa", "key_ops": ["sign"]})
    assert "with key_ops sign" in str(key)


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}])
def test_what_is_no_key_set(document):
    """Without a list of keys there is no key set."""
    assert parse_key_set(document) is None


def test_number_of_keys_is_bounded(signers):
    """A key set with very many keys is cut."""
    assert len(usable_keys(*[signers["EdDSA"].jwk] * (MAX_KEYS + 5))) == MAX_KEYS


@pytest.fixture
def key_sets(transport, clock):
    return KeySetCache(transport, clock, lifetime=600)


async def test_key_set_is_kept(op, key_sets, clock, signers):
    """A key set is fetched once in its lifetime."""
    url = op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    assert await key_sets.get(url) is await key_sets.get(url)
    clock.now += 600
    await key_sets.get(url)
    assert len(op.requests) == 2


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [(b"{}", 200, OpInvalidResponse), (b"<html>", 200, OpInvalidResponse), (b"{}", 404, OpErrorResponse)],
)
async def test_key_set_that_is_none(op, key_sets, body, status, error):
    """What is no key set is reported as such."""
    with pytest.raises(error):
        await key_sets.get(op.on("GET", "/jwks", body=body, status=status))


async def test_keys_of_an_op_that_may_lead_further(op, key_sets, signers):
    """Keys that one OP may lead to are not another's, also when they are kept."""
    url = op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    assert await key_sets.get(url, Reach(Zone.LOOPBACK, op.base)) is not None
    with pytest.raises(OpHostRefused):
        await key_sets.get(url, Reach(Zone.PUBLIC, "http://op.example"))


async def test_redirected_key_set(op, key_sets, signers):
    """A redirect of the key set is followed."""
    url = op.on("GET", "/jwks", {}, status=302, headers={"location": "/keys"})
    op.on("GET", "/keys", {"keys": [signers["ES256"].jwk]})
    assert await key_sets.get(url) is not None


async def test_stale_key_set_while_the_op_is_down(op, key_sets, clock, signers):
    """While the OP is down its last keys are used."""
    op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    url = op.on("GET", "/jwks", {}, status=503)
    first = await key_sets.get(url)
    clock.now += 600
    assert await key_sets.get(url) is first


async def test_rotated_key_is_fetched(op, client, make_signer):
    """A kid that is not in the kept key set makes us fetch the set again, once, and the id_token is accepted."""
    old, new = make_signer("old"), make_signer("new")
    op.on("GET", "/jwks", {"keys": [old.jwk]})
    op.on("GET", "/jwks", {"keys": [old.jwk, new.jwk]})
    await check_id_token(client, metadata(op), old.sign(CLAIMS), expectations("ES256"))
    token = await check_id_token(client, metadata(op), new.sign(CLAIMS), expectations("ES256"))
    assert token.subject == "user"
    assert len(op.requests) == 2


async def test_key_replaced_under_the_same_kid(op, client, make_signer):
    """A bad signature makes us fetch the set again as well: the OP may have replaced the key and kept its name."""
    old, new = make_signer("same"), make_signer("same")
    op.on("GET", "/jwks", {"keys": [old.jwk]})
    op.on("GET", "/jwks", {"keys": [new.jwk]})
    assert (await check_id_token(client, metadata(op), new.sign(CLAIMS), expectations("ES256"))).subject == "user"


@pytest.mark.parametrize("refetch_status", [200, 404, 503])
async def test_unknown_key_stays_unknown(op, client, make_signer, refetch_status):
    """If the newer set has not got the key either, or cannot be had, the id_token is refused for the key."""
    known = make_signer("known")
    op.on("GET", "/jwks", {"keys": [known.jwk]})
    op.on("GET", "/jwks", {"keys": [known.jwk]}, status=refetch_status)
    with pytest.raises(IdTokenError) as caught:
        await check_id_token(client, metadata(op), make_signer("unknown").sign(CLAIMS), expectations("ES256"))
    assert caught.value.check is IdTokenCheck.KEY_NOT_FOUND
    assert len(op.requests) == 2


async def test_refetches_are_bounded(op, client, clock, make_signer):
    """Many bad id_tokens cause a few requests for keys in a window of time, not one each."""
    known, forged = make_signer("known"), make_signer("known").sign(CLAIMS)
    op.on("GET", "/jwks", {"keys": [known.jwk]})

    async def try_forged():
        with pytest.raises(IdTokenError) as caught:
            await check_id_token(client, metadata(op), forged, expectations("ES256"))
        assert caught.value.check is IdTokenCheck.BAD_SIGNATURE

    for _ in range(20):
        await try_forged()
    assert len(op.requests) == 1 + MAX_REFETCHES
    clock.now += REFETCH_WINDOW
    await try_forged()
    assert len(op.requests) == 2 + MAX_REFETCHES


async def test_one_refetch_for_many(op, client, make_signer):
    """Many id_tokens with a new key at once cause one request."""
    old, new, go = make_signer("old"), make_signer("new"), trio.Event()
    op.on("GET", "/jwks", {"keys": [old.jwk]})
    op.on("GET", "/jwks", {"keys": [new.jwk]}, before=go.wait)
    await check_id_token(client, metadata(op), old.sign(CLAIMS), expectations("ES256"))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(check_id_token, client, metadata(op), new.sign(CLAIMS), expectations("ES256"))
        await wait_all_tasks_blocked(0.01)
        go.set()
    assert len(op.requests) == 2


async def test_a_set_that_somebody_else_fetched_is_used(op, key_sets, make_signer):
    """Who finds that the kept set is newer than his own takes it without a request."""
    url = op.on("GET", "/jwks", {"keys": [make_signer("old").jwk]})
    seen = await key_sets.get(url)
    newer = await key_sets.newer_than(url, seen)
    assert newer is not seen
    assert await key_sets.newer_than(url, seen) is newer
    assert len(op.requests) == 2


async def test_other_failures_do_not_fetch_again(op, client, signers):
    """An id_token that fails another check is refused with the keys at hand."""
    op.on("GET", "/jwks", {"keys": [signers["ES256"].jwk]})
    with pytest.raises(IdTokenError) as caught:
        await check_id_token(
            client, metadata(op), signers["ES256"].sign({**CLAIMS, "iss": "https://evil"}), expectations("ES256")
        )
    assert caught.value.check is IdTokenCheck.BAD_ISSUER
    assert len(op.requests) == 1


async def test_hmac_needs_no_keys(op, client, signers):
    """An id_token with an HMAC is checked without asking the OP."""
    expected = expectations("HS256", client_secret="client-secret-" * 5)
    token = signers["HS256"].sign(CLAIMS)
    assert (await check_id_token(client, metadata(op), token, expected)).subject == "user"
    assert op.requests == []


async def test_no_jwks_uri(client, signers):
    """An OP that publishes no keys cannot have its id_tokens checked, and the error says so."""
    with pytest.raises(OpMetadataMissing, match="jwks_uri"):
        await check_id_token(client, ProviderMetadata(issuer="https://op"), "a.b.c", expectations("ES256"))


async def test_refetch_bookkeeping_is_bounded(op, transport, clock, make_signer):
    """What is remembered of refetches does not grow with the number of OPs."""
    key_sets = KeySetCache(transport, clock, capacity=3)
    for number in range(5):
        url = op.on("GET", f"/{number}", {"keys": [make_signer("k").jwk]})
        await key_sets.newer_than(url, await key_sets.get(url))
    assert len(key_sets._refetches) == 3
