"""Fuzz target: the validation of an id_token, and the key set that it is checked with.

Whatever an OP sends: nothing but ``IdTokenError`` is raised; what is accepted carries a valid signature, and says the
right issuer, audience, nonce and times. The key here is made for this file and good for nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import msgspec

from oxd_server.op.errors import IdTokenError
from oxd_server.op.id_token import Expectations, half_hash, validate_id_token
from oxd_server.op.jose import ALGORITHMS, KeySet, parse_key_set
from scripts.hardening.fuzz_input import Source

__all__ = ["DICTIONARY", "check", "seeds"]

NOW = 1_800_000_000.0
NONCE = "the-nonce"
SECRET = "a client secret of thirty-two characters or more"
KEY = {
    "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}  # fmt: skip
"""The public key of RFC 7515, appendix A.3."""
HS256 = ALGORITHMS["HS256"]
EXPECTED = Expectations(
    issuer="https://op.example",
    client_id="client",
    algorithms=frozenset({"HS256", "ES256"}),
    client_secret=SECRET,
    nonce=NONCE,
    access_token="the-access-token",
    code="the-code",
)
CLAIMS = {
    "iss": "https://op.example", "sub": "user", "aud": ["client"], "exp": NOW + 300, "iat": NOW, "nonce": NONCE,
    "at_hash": half_hash("the-access-token", HS256), "c_hash": half_hash("the-code", HS256),
}  # fmt: skip
HEADER = {"alg": "HS256", "typ": "JWT"}
DICTIONARY = [f'"{name}":'.encode() for name in [*CLAIMS, *HEADER, *KEY, "crit", "b64", "azp", "nbf", "n", "e"]]
_CLAIM_NAMES = [*CLAIMS, "azp", "nbf"]
_HEADER_NAMES = ["alg", "typ", "kid", "crit", "b64", "cty", "jwk", "x5c", "zip", "enc"]
_KEY_NAMES = [*KEY, "keys", "n", "e", "k", "key_ops", "alg", "x5c"]
_TOKEN, _PARTS, _CLAIMS, _KEYS = range(4)


def seeds() -> list[bytes]:
    """A valid id_token, what it is made of, a key set, and bytes from which claims and keys are made."""
    header, claims = json.dumps(HEADER).encode(), json.dumps(CLAIMS).encode()
    key_set = json.dumps({"keys": [KEY, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "oct", "k": "AAAA"}]})
    return [
        bytes((_TOKEN,)) + _signed(header, claims).encode(),
        bytes((_TOKEN,)) + b"a.b.c",
        bytes((_PARTS,)) + header + b"\0" + claims,
        bytes((_CLAIMS,)) + bytes(60),
        bytes((_CLAIMS,)) + bytes(range(80)),
        bytes((_KEYS, 0)) + key_set.encode(),
        bytes((_KEYS, 1)) + bytes(range(80)),
    ]


def check(data: bytes) -> None:
    """Run one input; anything raised is a finding."""
    source = Source(data)
    keys = parse_key_set({"keys": [KEY]})
    assert keys is not None
    kind = source.byte() % 4
    if kind == _KEYS:
        _check_key_set(source)
    elif kind == _TOKEN:
        _check_token(source.rest().decode("utf-8", "surrogateescape"), keys)
    elif kind == _PARTS:
        header, _, payload = source.rest().partition(b"\0")
        _check_token(_signed(header, payload), keys)
    else:
        claims = {**CLAIMS, **source.mapping(_CLAIM_NAMES)}
        header = json.dumps({**HEADER, **source.mapping(_HEADER_NAMES)}).encode()
        _check_token(_signed(header, json.dumps(claims).encode()), keys)


def _check_token(token: str, keys: KeySet) -> None:
    try:
        accepted = validate_id_token(token, keys, EXPECTED, NOW)
    except IdTokenError as error:
        _check_told(str(error))
        return
    claims = accepted.claims
    assert accepted.header["alg"] in EXPECTED.algorithms
    assert claims["iss"] == EXPECTED.issuer
    assert claims["aud"] in (EXPECTED.client_id, [EXPECTED.client_id])
    assert claims["nonce"] == EXPECTED.nonce
    assert float(str(claims["exp"])) > NOW - EXPECTED.leeway
    assert token.isascii()
    assert token.count(".") == 2
    signing_input, _, signature = token.rpartition(".")
    assert hmac.compare_digest(signature, _signature(signing_input.encode())), "accepted without a valid signature"


def _check_told(text: str) -> None:
    for secret in (SECRET, NONCE, _encode(SECRET.encode())):
        assert secret not in text, "the error tells a secret"


def _check_key_set(source: Source) -> None:
    if source.byte() % 2:
        document = {"keys": [source.value(_KEY_NAMES), {**KEY, **source.mapping(_KEY_NAMES)}]}
    else:
        try:
            document = msgspec.json.decode(source.rest())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
    keys = parse_key_set(document) if isinstance(document, dict) else None
    if keys is not None:
        for algorithm in ("ES256", "RS256", "PS256", "HS256"):
            header = json.dumps({"alg": algorithm, "kid": "k"}).encode()
            _check_token(_signed(header, json.dumps(CLAIMS).encode()), keys)


def _signed(header: bytes, payload: bytes) -> str:
    signing_input = f"{_encode(header)}.{_encode(payload)}"
    return f"{signing_input}.{_signature(signing_input.encode())}"


def _signature(signing_input: bytes) -> str:
    return _encode(hmac.digest(SECRET.encode(), signing_input, hashlib.sha256))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
