"""Request objects: what is in them, and who signs them."""

from __future__ import annotations

import base64
import json

import pytest
from joserfc.jwk import ECKey

from oxd_server.op.errors import ClientAuthenticationError, ParameterRefused
from oxd_server.op.jose import KeySet, parse_key_set, verify_token
from oxd_server.op.key_store import KeyStore, StoredKey
from oxd_server.op.request_object import UNSIGNED, request_object, request_object_claims, typed

OWN = {"iss": "client", "aud": "https://op.example", "client_id": "client", "response_type": "code"}
SECRET = "a-secret-of-thirty-two-characters-or-more"
KEYS = KeyStore((StoredKey("k", "EC", "P-256", None, ECKey.generate_key("P-256")),))


def test_the_callers_parameters_stand_beside_ours() -> None:
    """Values keep their JSON types; the response type may be another one, and what is the same does no harm."""
    claims = request_object_claims(OWN, {"max_age": 70, "response_type": "code id_token", "client_id": "client"})
    assert claims == {**OWN, "max_age": 70, "response_type": "code id_token"}


def test_parameters_become_claims() -> None:
    """Those that are JSON in a URL are members in the object; what is no JSON stays the text that it is."""
    parameters = {"claims": '{"userinfo": {}}', "max_age": "70", "scope": "7", "authorization_details": "[nothing"}
    assert typed(parameters) == {**parameters, "claims": {"userinfo": {}}, "max_age": 70}


@pytest.mark.parametrize("name", ["iss", "aud", "client_id", "request", "request_uri", "sub"])
def test_parameters_that_are_refused(name: str) -> None:
    """Nobody speaks for another client, and neither a request nor a subject is inside."""
    with pytest.raises(ParameterRefused):
        request_object_claims(OWN, {name: "another"})


def test_it_is_signed_as_registered() -> None:
    """The key store's key signs, or an HMAC with the client secret; none is none."""
    published = parse_key_set(KEYS.public_jwks())
    assert published is not None
    for algorithm in ("ES256", None):
        token = request_object(OWN, algorithm, KEYS, None)
        signed = verify_token(token, published, frozenset({"ES256"}))
        assert (signed.claims, signed.header["kid"]) == (OWN, "k")
    signed = verify_token(request_object(OWN, "HS256", None, SECRET), KeySet(), frozenset({"HS256"}), SECRET)
    assert signed.claims == OWN
    header, payload, signature = request_object(OWN, UNSIGNED, None, None).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "none"}
    assert (json.loads(base64.urlsafe_b64decode(payload + "==")), signature) == (OWN, "")


@pytest.mark.parametrize(
    ("algorithm", "keys", "secret"),
    [
        ("RS256", KEYS, SECRET),
        ("ES256", None, SECRET),
        (None, None, SECRET),
        ("XX", KEYS, SECRET),
        ("HS256", KEYS, None),
    ],
)
def test_without_a_key_nothing_is_signed(algorithm: str | None, keys: KeyStore | None, secret: str | None) -> None:
    """An algorithm without a fitting key is refused, and no weaker one takes its place."""
    with pytest.raises(ClientAuthenticationError):
        request_object(OWN, algorithm, keys, secret)
