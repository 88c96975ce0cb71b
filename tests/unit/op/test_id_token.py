"""Every reason to refuse an id_token, one test row each, and the tokens that pass."""

import base64
import json
from collections.abc import Mapping

import pytest
from joserfc.jwk import OctKey
from joserfc.jws import JWSRegistry

from oxd_server.op.errors import IdTokenCheck, IdTokenError
from oxd_server.op.id_token import EarlierIdToken, Expectations, Unchecked, half_hash, validate_id_token
from oxd_server.op.jose import ALGORITHMS, KeySet, allowed_algorithms, needs_key_set, parse_key_set, sign_token

NOW = 1_800_000_000.0
SECRET = "client-secret-" * 5
CLAIMS = {
    "iss": "https://op.example",
    "sub": "user",
    "aud": "client",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "the-nonce",
}


def key_set(*jwks: Mapping[str, object]) -> KeySet:
    """The keys of an OP that publishes these."""
    parsed = parse_key_set({"keys": [*jwks]})
    assert parsed is not None
    return parsed


def expectations(*algorithms, **changes):
    values = {
        "issuer": "https://op.example",
        "client_id": "client",
        "algorithms": frozenset(algorithms or ("ES256",)),
        "nonce": "the-nonce",
    }
    return Expectations(**{**values, **changes})


def refusal(token, keys, expected, now=NOW):
    """The error that refuses the token."""
    with pytest.raises(IdTokenError) as caught:
        validate_id_token(token, keys, expected, now)
    return caught.value


def encode(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_every_algorithm_is_accepted_where_it_is_expected(signers, alg):
    """A valid id_token passes with each of the algorithms."""
    keys = KeySet() if alg.startswith("HS") else signers[alg].key_set
    token = validate_id_token(signers[alg].sign(CLAIMS), keys, expectations(alg, client_secret=SECRET), NOW)
    assert (token.subject, token.header["alg"], token.claims["nonce"]) == ("user", alg, "the-nonce")


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_every_algorithm_notices_a_changed_payload(signers, alg):
    """With each of the algorithms a payload that was changed after signing is refused."""
    keys = KeySet() if alg.startswith("HS") else signers[alg].key_set
    header, _, signature = signers[alg].sign(CLAIMS).split(".")
    token = ".".join([header, encode({**CLAIMS, "sub": "admin"}), signature])
    assert refusal(token, keys, expectations(alg, client_secret=SECRET)).check is IdTokenCheck.BAD_SIGNATURE


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
@pytest.mark.parametrize("signature", ["", "AA", "A" * 43, "A" * 86, "A" * 342])
def test_no_short_or_zero_signature_passes(signers, alg, signature):
    """Empty, short and zero signatures are bad signatures with each of the algorithms."""
    keys = KeySet() if alg.startswith("HS") else signers[alg].key_set
    token = signers[alg].sign(CLAIMS).rpartition(".")[0] + "." + signature
    assert refusal(token, keys, expectations(alg, client_secret=SECRET)).check is IdTokenCheck.BAD_SIGNATURE


CHANGED_CLAIMS = [
    ({"iss": None}, IdTokenCheck.MISSING_ISSUER),
    ({"iss": "https://op.example/"}, IdTokenCheck.BAD_ISSUER),
    ({"iss": "https://OP.example"}, IdTokenCheck.BAD_ISSUER),
    ({"iss": ["https://op.example"]}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"aud": None}, IdTokenCheck.MISSING_AUDIENCE),
    ({"aud": []}, IdTokenCheck.MISSING_AUDIENCE),
    ({"aud": "Client"}, IdTokenCheck.BAD_AUDIENCE),
    ({"aud": "xclient"}, IdTokenCheck.BAD_AUDIENCE),
    ({"aud": ["other"]}, IdTokenCheck.BAD_AUDIENCE),
    ({"aud": 7}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"aud": ["client", 7]}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"aud": {"client": 1}}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"aud": ["client", "other"], "azp": "client"}, IdTokenCheck.UNTRUSTED_AUDIENCE),
    ({"azp": "other"}, IdTokenCheck.BAD_AUTHORIZED_PARTY),
    ({"azp": ["client"]}, IdTokenCheck.BAD_AUTHORIZED_PARTY),
    ({"exp": None}, IdTokenCheck.MISSING_EXPIRY),
    ({"exp": NOW - 60}, IdTokenCheck.EXPIRED),
    ({"exp": 0}, IdTokenCheck.EXPIRED),
    ({"exp": str(NOW)}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"exp": True}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"exp": 10**400}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"exp": 1e300}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"iat": None}, IdTokenCheck.MISSING_ISSUED_AT),
    ({"iat": NOW + 61}, IdTokenCheck.ISSUED_IN_THE_FUTURE),
    ({"iat": "now"}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"nbf": NOW + 61}, IdTokenCheck.NOT_YET_VALID),
    ({"nbf": "now"}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"sub": None}, IdTokenCheck.MISSING_SUBJECT),
    ({"sub": ""}, IdTokenCheck.MISSING_SUBJECT),
    ({"sub": 7}, IdTokenCheck.BAD_CLAIM_TYPE),
    ({"nonce": None}, IdTokenCheck.MISSING_NONCE),
    ({"nonce": "nonce"}, IdTokenCheck.BAD_NONCE),
    ({"nonce": "xthe-nonce"}, IdTokenCheck.BAD_NONCE),
    ({"nonce": "THE-NONCE"}, IdTokenCheck.BAD_NONCE),
    ({"nonce": ""}, IdTokenCheck.BAD_NONCE),
    ({"nonce": ["the-nonce"]}, IdTokenCheck.BAD_CLAIM_TYPE),
]


@pytest.mark.parametrize(("change", "check"), CHANGED_CLAIMS, ids=[f"{change}" for change, _ in CHANGED_CLAIMS])
def test_one_wrong_claim_is_one_reason(signers, change, check):
    """A validly signed id_token with one wrong claim is refused for exactly that."""
    claims = {name: value for name, value in {**CLAIMS, **change}.items() if value is not None}
    token = sign_raw(signers["ES256"], json.dumps(claims).encode())
    assert refusal(token, signers["ES256"].key_set, expectations()).check is check


def sign_raw(signer, payload, header=None):
    """A validly signed token of any bytes."""
    signing_input = f"{encode(header or {'alg': signer.alg, 'kid': signer.kid})}.{encode(payload)}"
    signature = JWSRegistry.algorithms[signer.alg].sign(signing_input.encode(), signer.key)
    return f"{signing_input}.{encode(signature)}"


@pytest.mark.parametrize(
    "change",
    [
        {"aud": ["client"]}, {"aud": ["client", "client"]}, {"azp": "client"}, {"exp": NOW - 59}, {"iat": NOW + 60},
        {"exp": NOW + 0.5}, {"nbf": NOW}, {"iat": 0}, {"at_hash": "unchecked"}, {"c_hash": "unchecked"},
    ],
)  # fmt: skip
def test_claims_that_pass(signers, change):
    """An audience as a list, an azp of ours and clocks within the leeway are all in order."""
    validate_id_token(signers["ES256"].sign({**CLAIMS, **change}), signers["ES256"].key_set, expectations(), NOW)


def test_trusted_audience(signers):
    """Another audience passes if it is trusted, and then azp must be there and be ours or trusted as well."""
    expected = expectations(trusted_audiences=frozenset({"api"}))
    two = {**CLAIMS, "aud": ["client", "api"]}
    keys = signers["ES256"].key_set
    validate_id_token(signers["ES256"].sign({**two, "azp": "client"}), keys, expected, NOW)
    assert refusal(signers["ES256"].sign(two), keys, expected).check is IdTokenCheck.MISSING_AUTHORIZED_PARTY
    validate_id_token(signers["ES256"].sign({**two, "azp": "api"}), keys, expected, NOW)
    other = signers["ES256"].sign({**two, "azp": "other"})
    assert refusal(other, keys, expected).check is IdTokenCheck.BAD_AUTHORIZED_PARTY
    untrusted = refusal(signers["ES256"].sign({**two, "azp": "client"}), keys, expectations())
    assert untrusted.check is IdTokenCheck.UNTRUSTED_AUDIENCE
    assert "trusted_audiences" in str(untrusted)


def test_leeway_is_a_setting(signers):
    """Without leeway the id_token ends with its last second."""
    token, keys = signers["ES256"].sign(CLAIMS), signers["ES256"].key_set
    validate_id_token(token, keys, expectations(leeway=0), NOW + 299)
    assert refusal(token, keys, expectations(leeway=0), NOW + 300).check is IdTokenCheck.EXPIRED


def test_named_exceptions(signers):
    """Expiry and nonce are left unchecked only where the caller says so by name."""
    claims = {**CLAIMS, "exp": NOW - 1000}
    del claims["nonce"]
    expected = expectations(accept_expired=True, nonce=Unchecked.NONCE)
    assert validate_id_token(signers["ES256"].sign(claims), signers["ES256"].key_set, expected, NOW).subject == "user"


def test_a_refreshed_id_token_agrees_with_the_one_before(signers):
    """It is for the same user, and its nonce and azp are those of the login if it has any."""
    keys = signers["ES256"].key_set

    def check(earlier, **claims):
        token = signers["ES256"].sign({**CLAIMS, **claims})
        expected = expectations(nonce=Unchecked.NONCE, earlier=earlier)
        try:
            validate_id_token(token, keys, expected, NOW)
        except IdTokenError as error:
            return error.check
        return None

    def earlier(subject="user", azp=False):
        return EarlierIdToken(subject, lambda nonce: nonce == "the-nonce", azp)

    assert check(earlier()) is check(earlier(None)) is check(earlier(), nonce=None) is None
    assert check(earlier("somebody")) is IdTokenCheck.BAD_SUBJECT
    assert check(earlier(), nonce="another") is check(earlier(), nonce=["the-nonce"]) is IdTokenCheck.BAD_NONCE
    assert check(earlier(), azp="client") is IdTokenCheck.BAD_AUTHORIZED_PARTY
    assert check(earlier(azp=True), azp="client") is check(earlier(azp=True)) is None


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "EdDSA", "PS384"])
@pytest.mark.parametrize(
    ("claim", "argument", "bad", "missing"),
    [
        ("at_hash", "access_token", IdTokenCheck.BAD_AT_HASH, IdTokenCheck.MISSING_AT_HASH),
        ("c_hash", "code", IdTokenCheck.BAD_C_HASH, IdTokenCheck.MISSING_C_HASH),
    ],
)
def test_hashes(signers, alg, claim, argument, bad, missing):
    """at_hash and c_hash are compared when they are there and demanded where the flow requires them."""
    signer, keys = signers[alg], signers[alg].key_set
    expected = expectations(alg, **{argument: "a-token"})
    demanding = expectations(alg, **{argument: "a-token", f"require_{claim}": True})
    right = half_hash("a-token", ALGORITHMS[alg])
    validate_id_token(signer.sign({**CLAIMS, claim: right}), keys, demanding, NOW)
    validate_id_token(signer.sign(CLAIMS), keys, expected, NOW)
    assert refusal(signer.sign(CLAIMS), keys, demanding).check is missing
    for wrong in (half_hash("b-token", ALGORITHMS[alg]), right[:-1], "", 7, [right]):
        assert refusal(signer.sign({**CLAIMS, claim: wrong}), keys, expected).check is bad


@pytest.mark.parametrize("alg", ["ES256", "ES384", "EdDSA"])
def test_the_hash_of_the_state(signers, alg):
    """s_hash is compared when it is there and the state is known; an OP need not send it."""
    signer, keys = signers[alg], signers[alg].key_set
    expected, right = expectations(alg, state="a-state"), half_hash("a-state", ALGORITHMS[alg])
    validate_id_token(signer.sign({**CLAIMS, "s_hash": right}), keys, expected, NOW)
    validate_id_token(signer.sign(CLAIMS), keys, expected, NOW)
    validate_id_token(signer.sign({**CLAIMS, "s_hash": "unchecked"}), keys, expectations(alg), NOW)
    for wrong in (half_hash("b-state", ALGORITHMS[alg]), right[:-1], "", 7, [right]):
        refused = refusal(signer.sign({**CLAIMS, "s_hash": wrong}), keys, expected)
        assert refused.check is IdTokenCheck.BAD_S_HASH


def test_half_hash_example():
    """The hash is that of the example in Core 1.0, appendix A.4 (c_hash for RS256)."""
    code = "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk"
    assert half_hash(code, ALGORITHMS["RS256"]) == "LDktKdoQak3Pk0cnXxCltA"


def test_unsigned_is_refused_even_if_asked_for():
    """`none` is refused in every spelling, also if a client registered it."""
    for name in ("none", "None", "NONE", ""):
        token = f"{encode({'alg': name})}.{encode(CLAIMS)}."
        for algorithms in (["ES256"], ["none"]):
            assert refusal(token, KeySet(), expectations(*algorithms)).check is IdTokenCheck.ALGORITHM_NOT_ALLOWED


def test_hmac_with_a_public_key_is_refused(signers):
    """A token signed with an HMAC under the OP's public key is refused, whatever is expected."""
    signer = signers["RS256"]
    for secret in (signer.key.as_pem(private=False), signer.key.as_der(private=False)):
        forged = sign_token({"kid": signer.kid}, CLAIMS, ALGORITHMS["HS256"], OctKey(secret, secret))
        assert refusal(forged, signer.key_set, expectations("RS256")).check is IdTokenCheck.ALGORITHM_NOT_ALLOWED
        expected = expectations("HS256", client_secret=SECRET)
        assert refusal(forged, signer.key_set, expected).check is IdTokenCheck.BAD_SIGNATURE


def test_published_symmetric_key_is_no_key(signers):
    """An `oct` key in a key set is never used."""
    secret = OctKey.import_key(SECRET)
    keys = key_set(secret.as_dict())
    token = sign_token({}, CLAIMS, ALGORITHMS["HS256"], secret)
    assert refusal(token, keys, expectations("HS256")).check is IdTokenCheck.KEY_UNUSABLE
    assert refusal(token, keys, expectations("RS256")).check is IdTokenCheck.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize(("alg", "octets"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_short_client_secret_is_no_hmac_key(alg, octets):
    """A client secret shorter than the hash is refused as a key."""
    for length, check in ((octets, None), (octets - 1, IdTokenCheck.KEY_UNUSABLE)):
        secret = "s" * length
        token = sign_token({}, CLAIMS, ALGORITHMS[alg], OctKey(secret.encode(), secret.encode()))
        expected = expectations(alg, client_secret=secret)
        if check is None:
            validate_id_token(token, KeySet(), expected, NOW)
        else:
            assert refusal(token, KeySet(), expected).check is check


def test_another_algorithm_than_registered_is_refused(signers):
    """A valid signature with an algorithm that the client did not register is refused, and the error names both."""
    keys = key_set(signers["RS256"].jwk, signers["PS256"].jwk)
    error = refusal(signers["PS256"].sign(CLAIMS), keys, expectations("RS256"))
    assert (error.check, error.expected, error.actual) == (IdTokenCheck.ALGORITHM_NOT_ALLOWED, "RS256", "PS256")


def test_key_without_kid(signers, make_signer):
    """Without a kid the only key of the right type and use counts; several are refused; none is not found."""
    token = make_signer(None)
    other_types = [signers["RS256"].jwk, signers["EdDSA"].jwk, signers["ES384"].jwk]
    for_encryption = {**make_signer("enc").jwk, "use": "enc"}
    for_another = {**make_signer("alg").jwk, "alg": "ECDH-ES"}
    for_signing = {**make_signer("ops").jwk, "key_ops": ["sign"]}
    ignored = [*other_types, for_encryption, for_another, for_signing]
    single = key_set(*ignored, token.jwk)
    validate_id_token(token.sign(CLAIMS), single, expectations(), NOW)
    several = key_set(*ignored, token.jwk, make_signer("second").jwk)
    assert refusal(token.sign(CLAIMS), several, expectations()).check is IdTokenCheck.KEY_AMBIGUOUS
    none = key_set(*ignored)
    assert refusal(token.sign(CLAIMS), none, expectations()).check is IdTokenCheck.KEY_NOT_FOUND


def test_key_by_kid(make_signer):
    """With a kid the key of that name counts, and no other; two of the same name are refused."""
    one, two, nameless = make_signer("one"), make_signer("two"), make_signer(None)
    keys = key_set(one.jwk, two.jwk)
    validate_id_token(two.sign(CLAIMS), keys, expectations(), NOW)
    assert refusal(make_signer("three").sign(CLAIMS), keys, expectations()).check is IdTokenCheck.KEY_NOT_FOUND
    assert refusal(one.sign(CLAIMS), key_set(nameless.jwk, two.jwk), expectations()).check is IdTokenCheck.KEY_NOT_FOUND
    twice = key_set(one.jwk, make_signer("one").jwk)
    assert refusal(one.sign(CLAIMS), twice, expectations()).check is IdTokenCheck.KEY_AMBIGUOUS
    assert refusal(one.sign(CLAIMS, kid=7), keys, expectations()).check is IdTokenCheck.KEY_NOT_FOUND
    assert refusal(one.sign(CLAIMS, kid=[7]), keys, expectations()).check is IdTokenCheck.MALFORMED


def test_kid_where_no_key_has_one(make_signer):
    """A kid says nothing where no key has one: the only fitting key counts, and of two neither."""
    nameless, other = make_signer(None), make_signer(None)
    token = nameless.sign(CLAIMS, kid="one")
    validate_id_token(token, nameless.key_set, expectations(), NOW)
    assert refusal(token, other.key_set, expectations()).check is IdTokenCheck.BAD_SIGNATURE
    two = key_set(nameless.jwk, other.jwk)
    assert refusal(token, two, expectations()).check is IdTokenCheck.KEY_AMBIGUOUS


def test_the_same_key_twice(make_signer):
    """A key that is listed twice is one key, with a kid and without."""
    signer = make_signer("one")
    keys = key_set(signer.jwk, signer.jwk, {**signer.jwk, "use": None}, {**signer.jwk, "use": "enc"})
    validate_id_token(signer.sign(CLAIMS), keys, expectations(), NOW)
    validate_id_token(signer.sign(CLAIMS, kid=None), keys, expectations(), NOW)


def test_a_kid_that_is_a_number(make_signer):
    """A number as kid is the text of its digits, in the key set and in the header."""
    signer = make_signer("7")
    validate_id_token(
        signer.sign(CLAIMS, kid=7), key_set({**signer.jwk, "kid": 7}, make_signer("8").jwk), expectations(), NOW
    )


def test_two_names_of_one_algorithm(signers):
    """EdDSA with the curve Ed25519 has been called Ed25519 since RFC 9864; either name is good for either."""
    signer = signers["EdDSA"]
    for name in ("EdDSA", "Ed25519"):
        keys = key_set({**signer.jwk, "alg": name})
        for header in ("EdDSA", "Ed25519"):
            expected = expectations(algorithms=allowed_algorithms(name, ()))
            validate_id_token(signer.sign(CLAIMS, alg=header), keys, expected, NOW)


@pytest.mark.parametrize(
    ("jwk", "words"),
    [
        ({"use": "enc"}, "P-256 key 'k' with use enc"),
        ({"alg": "ES384"}, "P-256 key 'k' with use sig for ES384"),
        ({"kid": "other"}, "P-256 key 'other' with use sig"),
        ({"kty": "oct", "k": "AAAA"}, "oct key 'k', of no type for public keys"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "RSA key 'k', which has 17 bits and needs 2048"),
        ({"crv": "P-999"}, "EC key 'k', on curve P-999"),
        ({"x": None}, "EC key 'k', which is incomplete"),
        ({"x": "AAAA"}, "EC key 'k', whose members make no key"),
        ({"kty": 7, "kid": None}, "typeless key, of no type for public keys"),
    ],
)
def test_the_error_says_what_keys_there_are(make_signer, jwk, words):
    """Where no key fits, the error names those that are there, and why one cannot be used."""
    signer = make_signer("k")
    error = refusal(signer.sign(CLAIMS), key_set({**signer.jwk, **jwk}), expectations())
    assert (error.check, error.actual) == (IdTokenCheck.KEY_NOT_FOUND, f"none among: {words}")


def test_issuer_of_a_tenant(signers):
    """An issuer with {tenantid} is that of the tenant that the token names; any other is refused."""
    expected = expectations(issuer="https://login.example/{tenantid}/v2.0")
    keys, sign = signers["ES256"].key_set, signers["ES256"].sign
    ours = {**CLAIMS, "iss": "https://login.example/11-aa/v2.0", "tid": "11-aa"}
    validate_id_token(sign(ours), keys, expected, NOW)
    for change in ({"tid": "22-bb"}, {"tid": None}, {"tid": ["11-aa"]}, {"iss": "https://login.example/22-bb/v2.0"}):
        assert refusal(sign({**ours, **change}), keys, expected).check is IdTokenCheck.BAD_ISSUER
    path = {"iss": "https://login.example/a/../b/v2.0", "tid": "a/../b"}
    assert refusal(sign({**ours, **path}), keys, expected).check is IdTokenCheck.BAD_ISSUER


def test_a_missing_nonce_where_the_operator_allows_it(signers):
    """An OP that never sends a nonce can be allowed to; a wrong nonce stays refused."""
    expected = expectations(nonce_may_be_missing=True)
    keys, sign = signers["ES256"].key_set, signers["ES256"].sign
    validate_id_token(sign({**CLAIMS, "nonce": None}), keys, expected, NOW)
    assert refusal(sign({**CLAIMS, "nonce": "other"}), keys, expected).check is IdTokenCheck.BAD_NONCE
    assert refusal(sign({**CLAIMS, "nonce": None}), keys, expectations()).check is IdTokenCheck.MISSING_NONCE


@pytest.mark.parametrize(
    ("claim", "value", "words"),
    [
        ("exp", "2027-01-15", "a text, '2027-01-15'"),
        ("exp", True, "true or false"),
        ("exp", 1_700_000_000, "1700000000 (2023-11-14T22:13:20Z)"),
        ("iat", 1_800_000_000_000, "1800000000000, which is beyond the calendar: is it in milliseconds?"),
        ("sub", 35, "a number"),
        ("aud", {"client": 1}, "an object"),
    ],
)
def test_the_error_says_what_the_claim_is(signers, claim, value, words):
    """A claim that is refused is told as it is: its type, or its date."""
    error = refusal(signers["ES256"].sign({**CLAIMS, claim: value}), signers["ES256"].key_set, expectations())
    assert error.actual == words


def test_key_of_another_curve(signers):
    """An ES256 header does not make us use a P-384 key."""
    token = signers["ES384"].sign(CLAIMS, alg="ES256")
    assert refusal(token, signers["ES384"].key_set, expectations()).check is IdTokenCheck.KEY_NOT_FOUND


@pytest.mark.parametrize(
    ("header", "check"),
    [
        ({"crit": ["b64"], "b64": False}, IdTokenCheck.CRITICAL_HEADER),
        ({"crit": []}, IdTokenCheck.CRITICAL_HEADER),
        ({"crit": None}, IdTokenCheck.CRITICAL_HEADER),
        ({"typ": "at+jwt"}, IdTokenCheck.BAD_TYPE),
        ({"typ": "logout+jwt"}, IdTokenCheck.BAD_TYPE),
        ({"typ": 1}, IdTokenCheck.BAD_TYPE),
        ({"alg": None}, IdTokenCheck.MALFORMED),
        ({"alg": ["ES256"]}, IdTokenCheck.MALFORMED),
        ({"alg": "es256"}, IdTokenCheck.ALGORITHM_NOT_ALLOWED),
    ],
)
def test_header_that_is_refused(signers, header, check):
    """Critical extensions, other kinds of JWT and headers without an algorithm are refused."""
    assert refusal(signers["ES256"].sign(CLAIMS, **header), signers["ES256"].key_set, expectations()).check is check


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": "jwt"}, {"typ": "application/jwt"}, {"x": 1}])
def test_header_that_passes(signers, header):
    """The type JWT in any spelling, and unknown members, are in order."""
    validate_id_token(signers["ES256"].sign(CLAIMS, **header), signers["ES256"].key_set, expectations(), NOW)


def test_keys_in_the_header_are_not_used(signers, make_signer):
    """A key or a key address in the header does not count."""
    forger = make_signer("kid-ES256")
    token = forger.sign(CLAIMS, jwk=forger.jwk, jku="https://evil.example/jwks", x5u="https://evil.example/x5u")
    assert refusal(token, signers["ES256"].key_set, expectations()).check is IdTokenCheck.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("token", "check"),
    [
        ("", IdTokenCheck.MALFORMED),
        ("a.b", IdTokenCheck.MALFORMED),
        ("a.b.c.d", IdTokenCheck.MALFORMED),
        ("a.b.c.d.e", IdTokenCheck.ENCRYPTED),
        ("..", IdTokenCheck.MALFORMED),
        ("!.b.c", IdTokenCheck.MALFORMED),
        ("é.b.c", IdTokenCheck.MALFORMED),
        ("\ud800.b.c", IdTokenCheck.MALFORMED),
        ("a.b.c", IdTokenCheck.MALFORMED),
        (f"{encode([])}.e30.c", IdTokenCheck.MALFORMED),
        (f"{encode(b'{' * 1000)}.e30.c", IdTokenCheck.MALFORMED),
        (f"{encode(b'[' * 40_000)}.e30.c", IdTokenCheck.MALFORMED),
        (f"{encode(b'{}x')}.e30.c", IdTokenCheck.MALFORMED),
        (f"{encode({'alg': 'ES256'})}=.e30.AA", IdTokenCheck.MALFORMED),
        (f"{encode({'alg': 'ES256', 'kid': 'kid-ES256'})}.e30.A", IdTokenCheck.MALFORMED),
        ("a" * 70_000, IdTokenCheck.TOO_LARGE),
    ],
)
def test_text_that_is_no_token(signers, token, check):
    """What is no signed JWT in compact form is refused as that."""
    assert refusal(token, signers["ES256"].key_set, expectations()).check is check


@pytest.mark.parametrize("payload", [b"[]", b"null", b"", b"{", b"\xff", b'{"a":"\\ud800"}', b"[" * 40_000, b"NaN"])
def test_signed_payload_that_is_no_object(signers, payload):
    """A valid signature over something else than a JSON object does not help."""
    token = sign_raw(signers["ES256"], payload)
    assert refusal(token, signers["ES256"].key_set, expectations()).check is IdTokenCheck.MALFORMED


def test_last_of_equal_names_wins(signers):
    """Of two claims with the same name the last one counts, as RFC 7519 section 4 allows."""
    payload = json.dumps(CLAIMS).encode()
    token = sign_raw(signers["ES256"], payload[:-1] + b', "iss": "https://evil.example"}')
    assert refusal(token, signers["ES256"].key_set, expectations()).check is IdTokenCheck.BAD_ISSUER


def test_nothing_secret_is_shown(signers):
    """Neither errors nor expectations nor id_tokens show nonces, tokens, codes or secrets."""
    secrets = ("the-nonce", "wrong-nonce", "the-access-token", "the-code", SECRET)
    expected = expectations(access_token="the-access-token", code="the-code", client_secret=SECRET)
    claims = {**CLAIMS, "nonce": "wrong-nonce"}
    keys = signers["ES256"].key_set
    errors = [
        refusal(signers["ES256"].sign(claims), keys, expected),
        refusal(signers["ES256"].sign({**CLAIMS, "at_hash": "x"}), keys, expected),
        refusal(signers["ES256"].sign({**CLAIMS, "c_hash": "x"}), keys, expected),
    ]
    token = validate_id_token(signers["ES256"].sign(CLAIMS), keys, expectations(), NOW)
    texts = [repr(expected), repr(token), *(f"{e} {e!r} {e.expected} {e.actual}" for e in errors)]
    assert not [secret for secret in secrets for text in texts if secret in text]


def test_long_values_are_cut_in_errors(signers):
    """An error does not repeat a long value in full."""
    error = refusal(signers["ES256"].sign({**CLAIMS, "iss": "x" * 5000}), signers["ES256"].key_set, expectations())
    assert len(error.actual) < 300


@pytest.mark.parametrize(
    ("registered", "published", "expected"),
    [
        ("ES256", ("RS256",), {"ES256"}),
        ("HS256", ("RS256",), {"HS256"}),
        ("none", ("none", "RS256"), set()),
        ("XX999", ("RS256",), set()),
        (None, ("none", "RS256", "HS256", "XX999", "EdDSA"), {"RS256", "EdDSA", "Ed25519"}),
        ("Ed25519", ("RS256",), {"EdDSA", "Ed25519"}),
        (None, (), {"RS256"}),
        (None, ("none", "HS256", "rs256"), {"RS256"}),
    ],
)
def test_allowed_algorithms(registered, published, expected):
    """The registered algorithm alone counts, else the asymmetric ones that the OP publishes, or RS256; never none."""
    assert allowed_algorithms(registered, published) == expected


def test_needs_key_set():
    """Only HMACs do without the OP's keys."""
    assert needs_key_set({"HS256", "ES256"})
    assert not needs_key_set({"HS256", "HS512"})
    assert not needs_key_set(set())
