"""Properties of id_token validation: one change is one reason, and nothing makes it raise anything else."""

import base64
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from oxd_server.op.errors import IdTokenCheck, IdTokenError
from oxd_server.op.id_token import Expectations, half_hash, validate_id_token
from oxd_server.op.jose import ALGORITHMS, parse_key_set, sign_token

pytestmark = pytest.mark.hardening

NOW = 1_800_000_000.0
KEY = ECKey.generate_key("P-256")
OTHER_KEY = ECKey.generate_key("P-256")
KEYS = parse_key_set({"keys": [{**KEY.as_dict(private=False), "kid": "k", "use": "sig"}]})
ES256 = ALGORITHMS["ES256"]
EXPECTED = Expectations(
    issuer="https://op.example",
    client_id="client",
    algorithms=frozenset({"ES256"}),
    nonce="the-nonce",
    access_token="the-access-token",
    code="the-code",
    require_at_hash=True,
    require_c_hash=True,
)
CLAIMS = {
    "iss": "https://op.example",
    "sub": "user",
    "aud": ["client"],
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "the-nonce",
    "at_hash": half_hash("the-access-token", ES256),
    "c_hash": half_hash("the-code", ES256),
}
MISSING = {
    "iss": IdTokenCheck.MISSING_ISSUER,
    "sub": IdTokenCheck.MISSING_SUBJECT,
    "aud": IdTokenCheck.MISSING_AUDIENCE,
    "exp": IdTokenCheck.MISSING_EXPIRY,
    "iat": IdTokenCheck.MISSING_ISSUED_AT,
    "nonce": IdTokenCheck.MISSING_NONCE,
    "at_hash": IdTokenCheck.MISSING_AT_HASH,
    "c_hash": IdTokenCheck.MISSING_C_HASH,
}
WRONG_TEXT = {
    "iss": IdTokenCheck.BAD_ISSUER,
    "aud": IdTokenCheck.BAD_AUDIENCE,
    "azp": IdTokenCheck.BAD_AUTHORIZED_PARTY,
    "nonce": IdTokenCheck.BAD_NONCE,
    "at_hash": IdTokenCheck.BAD_AT_HASH,
    "c_hash": IdTokenCheck.BAD_C_HASH,
}
RIGHT_TEXTS = {"iss": "https://op.example", "aud": "client", "azp": "client", "nonce": "the-nonce"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def sign(claims, key=KEY, **header):
    return sign_token({"kid": "k", **header}, claims, ES256, key)


def reason(token, keys=KEYS):
    """The check that refuses the token, or None; any other exception fails the test."""
    try:
        validate_id_token(token, keys, EXPECTED, NOW)
    except IdTokenError as error:
        return error.check
    return None


def test_the_unchanged_token_is_valid():
    """What the properties change is valid before."""
    assert reason(sign(CLAIMS)) is None


@given(st.sampled_from(sorted(MISSING)))
def test_a_missing_claim_is_that_reason(name):
    """Without one claim the reason is that it is missing."""
    assert reason(sign({other: value for other, value in CLAIMS.items() if other != name})) is MISSING[name]


@given(st.sampled_from(sorted(WRONG_TEXT)), st.text(min_size=1))
def test_a_wrong_text_is_that_reason(name, text):
    """With another text in one claim the reason is that claim."""
    assume(text != RIGHT_TEXTS.get(name, CLAIMS.get(name)))
    assert reason(sign({**CLAIMS, name: text})) is WRONG_TEXT[name]


@given(st.sampled_from(["iss", "nonce", "at_hash", "c_hash"]), st.data())
def test_part_of_the_right_text_is_wrong(name, data):
    """The beginning, the end or another case of the right value is not the right value."""
    right = CLAIMS[name]
    assert isinstance(right, str)
    cut = data.draw(st.integers(1, len(right) - 1))
    wrong = data.draw(st.sampled_from([right[:cut], right[cut:], right + right[:cut], right.swapcase()]))
    assume(wrong != right)
    assert reason(sign({**CLAIMS, name: wrong})) is WRONG_TEXT[name]


@given(st.floats(min_value=0, max_value=NOW - 60) | st.integers(0, int(NOW) - 60))
def test_a_past_expiry_is_expired(exp):
    """Any expiry beyond the leeway is expired."""
    assert reason(sign({**CLAIMS, "exp": exp})) is IdTokenCheck.EXPIRED


@given(st.sampled_from([("iat", IdTokenCheck.ISSUED_IN_THE_FUTURE), ("nbf", IdTokenCheck.NOT_YET_VALID)]), st.data())
def test_a_time_in_the_future(claim, data):
    """Any iat or nbf beyond the leeway is in the future."""
    name, check = claim
    assert reason(sign({**CLAIMS, name: data.draw(st.integers(int(NOW) + 61, 10**15))})) is check


@given(st.sampled_from(["exp", "iat", "nbf"]), st.text() | st.booleans() | st.lists(st.integers(), max_size=2))
def test_a_time_that_is_no_number(name, value):
    """A time of another type is of the wrong type."""
    assert reason(sign({**CLAIMS, name: value})) is IdTokenCheck.BAD_CLAIM_TYPE


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_additional_audiences(others):
    """Audiences beside ours are not trusted."""
    assume(set(others) - {"client"})
    assert reason(sign({**CLAIMS, "aud": ["client", *others]})) is IdTokenCheck.UNTRUSTED_AUDIENCE


def test_another_key():
    """The signature of another key is a bad signature."""
    assert reason(sign(CLAIMS, OTHER_KEY)) is IdTokenCheck.BAD_SIGNATURE


@given(st.text().filter(lambda kid: kid not in ("", "k")))
def test_another_kid(kid):
    """The name of another key is not found; an empty one is no name."""
    assert reason(sign(CLAIMS, kid=kid)) is IdTokenCheck.KEY_NOT_FOUND


@given(st.sampled_from([{"use": "enc"}, {"alg": "ES384"}, {"key_ops": ["sign"]}, {"kid": "other"}, {"kty": "OKP"}]))
def test_a_key_for_something_else(change):
    """One member of the published key that says it is for something else, and it is not found."""
    jwk = {**KEY.as_dict(private=False), "kid": "k", "use": "sig", **change}
    assert reason(sign(CLAIMS), parse_key_set({"keys": [jwk]})) is IdTokenCheck.KEY_NOT_FOUND


@given(st.integers(0, 3), st.integers(0, 3))
def test_without_kid_there_must_be_one_key(others, encryption_keys):
    """An id_token without kid is valid with the only key that can verify it, and with no more than that."""
    jwk = KEY.as_dict(private=False)
    keys = [
        {**jwk, "use": "sig"},
        *([{**OTHER_KEY.as_dict(private=False)}] * others),
        *([{**jwk, "use": "enc"}] * encryption_keys),
    ]
    expected = IdTokenCheck.KEY_AMBIGUOUS if others else None
    token = sign_token({}, CLAIMS, ES256, KEY)
    assert reason(token, parse_key_set({"keys": keys})) is expected


@given(st.sampled_from(sorted(MISSING)), st.sampled_from(sorted(MISSING)))
def test_two_things_at_once_are_one_reason(one, other):
    """Whatever is wrong, one reason comes back, and it is one of the things that are wrong."""
    claims = {name: value for name, value in CLAIMS.items() if name not in (one, other)}
    assert reason(sign(claims)) in (MISSING[one], MISSING[other])


@given(st.text().filter(lambda name: name != "ES256") | st.sampled_from(sorted(set(ALGORITHMS) - {"ES256"})))
def test_another_algorithm(name):
    """The name of another algorithm is not allowed."""
    assert reason(sign(CLAIMS, alg=name)) is IdTokenCheck.ALGORITHM_NOT_ALLOWED


@given(st.data())
def test_one_changed_character(data):
    """No single character of a valid id_token can be replaced unnoticed."""
    token = sign(CLAIMS)
    index = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters().filter(lambda other: other != token[index]))
    changed = token[:index] + character + token[index + 1 :]
    assert reason(changed) is not None


@given(st.sampled_from([*CLAIMS, "azp", "nbf", "other"]), json_values)
def test_any_value_in_any_claim(name, value):
    """Whatever stands in a claim, the id_token is valid or refused for a documented reason."""
    reason(sign_raw(json.dumps({**CLAIMS, name: value}).encode()))


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x"]), json_values))
def test_any_header(header):
    """Whatever stands in the header, the id_token is valid or refused for a documented reason."""
    reason(sign_raw(json.dumps(CLAIMS).encode(), json.dumps({"alg": "ES256", "kid": "k", **header}).encode()))


@given(st.binary())
def test_any_signed_payload(payload):
    """Whatever bytes were validly signed, the reason is documented."""
    assert reason(sign_raw(payload)) is not None


@given(st.text() | st.lists(st.text("ab._-=é"), min_size=3, max_size=3).map(".".join))
def test_any_text(text):
    """Whatever text comes as a token, it is refused for a documented reason."""
    assert reason(text) is not None


@given(st.lists(st.binary(), min_size=3, max_size=3))
def test_any_three_parts(parts):
    """Three parts of any bytes are refused for a documented reason."""
    assert reason(".".join(encode(part) for part in parts)) is not None


@given(json_values)
def test_any_key_set(document):
    """Whatever an OP publishes as a key, the set is read without an exception."""
    jwk = {**KEY.as_dict(private=False), **(document if isinstance(document, dict) else {"x": document})}
    assert parse_key_set({"keys": [document, jwk]}) is not None


@pytest.mark.parametrize("member", ["kty", "crv", "x", "y", "kid", "use", "alg", "key_ops"])
@given(value=json_values)
def test_any_value_in_any_member_of_a_key(member, value):
    """Whatever stands in a member of a key, the key is used or ignored."""
    assert parse_key_set({"keys": [{**KEY.as_dict(private=False), member: value}]}) is not None


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_raw(payload, header=b'{"alg":"ES256","kid":"k"}'):
    signing_input = f"{encode(header)}.{encode(payload)}"
    signature = JWSRegistry.algorithms["ES256"].sign(signing_input.encode(), KEY)
    return f"{signing_input}.{encode(signature)}"
