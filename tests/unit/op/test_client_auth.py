"""How a client authenticates, method by method."""

import base64
import json

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from oxd_server.op.client_auth import (
    ASSERTION_TYPE,
    ClientAuthMethod,
    ClientCredentials,
    assertion_audience,
    authenticate,
    bearer_header,
    secret_expires_within,
    usual_method,
)
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import ClientAuthenticationError, ClientSecretExpired, MalformedToken
from oxd_server.op.key_store import KeyStore, StoredKey
from oxd_server.op.settings import OpSettings

NOW = 1_800_000_000.0
AUDIENCE = "https://op.example"
SECRET = "s p/a:c%e-" * 8


def proof(**changes):
    values = {"client_id": "client", "client_secret": SECRET, "method": "client_secret_basic", **changes}
    return authenticate(ClientCredentials(**values), lambda: AUDIENCE, NOW, lambda count: b"r" * count)


@pytest.fixture(scope="module")
def key_store():
    rsa, ec = RSAKey.generate_key(2048), ECKey.generate_key("P-256")
    return KeyStore((StoredKey("r", "RSA", None, None, rsa), StoredKey("e", "EC", "P-256", None, ec)))


def test_basic_encodes_both_parts():
    """client_secret_basic form-urlencodes id and secret before joining them, so that a colon cannot move the border."""
    answer = proof(client_id="a:b c")
    scheme, _, value = answer.headers["authorization"].partition(" ")
    assert (scheme, answer.form) == ("Basic", {})
    assert base64.b64decode(value).decode() == "a%3Ab+c:" + "s+p%2Fa%3Ac%25e-" * 8


def test_post():
    """client_secret_post sends id and secret as form fields."""
    answer = proof(method="client_secret_post")
    assert (answer.headers, answer.form) == ({}, {"client_id": "client", "client_secret": SECRET})


def test_none():
    """A public client sends its id and nothing else."""
    assert proof(method="none", client_secret=None).form == {"client_id": "client"}


@pytest.mark.parametrize("alg", [None, "HS256", "HS384", "HS512"])
def test_client_secret_jwt(alg):
    """client_secret_jwt signs an assertion with the secret; HS256 is the usual algorithm."""
    form = proof(method="client_secret_jwt", signing_alg=alg).form
    assert (form["client_assertion_type"], form["client_id"]) == (ASSERTION_TYPE, "client")
    token = jwt.decode(form["client_assertion"], OctKey.import_key(SECRET), algorithms=[alg or "HS256"])
    assert token.claims == {
        "iss": "client",
        "sub": "client",
        "aud": AUDIENCE,
        "jti": base64.urlsafe_b64encode(b"r" * 16).rstrip(b"=").decode(),
        "iat": 1_800_000_000,
        "exp": 1_800_000_120,
    }


@pytest.mark.parametrize(
    ("alg", "key_id", "expected_alg", "expected_kid"),
    [
        (None, None, "RS256", "r"), ("PS384", None, "PS384", "r"), ("ES256", None, "ES256", "e"),
        (None, "e", "ES256", "e"), ("RS512", "r", "RS512", "r"),
    ],
)  # fmt: skip
def test_private_key_jwt(key_store, alg, key_id, expected_alg, expected_kid):
    """private_key_jwt signs with the key that algorithm and key id choose, and names it."""
    form = proof(method="private_key_jwt", signing_alg=alg, key_id=key_id, key_store=key_store).form
    key = next(key.key for key in key_store.keys if key.kid == expected_kid)
    token = jwt.decode(form["client_assertion"], key, algorithms=[expected_alg])
    assert (token.header["alg"], token.header["kid"]) == (expected_alg, expected_kid)
    assert token.claims["aud"] == AUDIENCE


@pytest.mark.parametrize(
    "changes",
    [
        {"client_secret": None}, {"client_secret": ""}, {"method": "client_secret_post", "client_secret": None},
        {"method": "client_secret_jwt", "client_secret": None},
        {"method": "client_secret_jwt", "client_secret": "short"},
        {"method": "client_secret_jwt", "signing_alg": "RS256"}, {"method": "client_secret_jwt", "signing_alg": "none"},
        {"method": "private_key_jwt"}, {"method": "private_key_jwt", "key_store": KeyStore()},
        {"method": "tls_client_auth"}, {"method": "CLIENT_SECRET_BASIC"},
    ],
)  # fmt: skip
def test_what_a_method_needs(changes):
    """Without the secret, the key or the algorithm that the method needs, nothing is made."""
    with pytest.raises(ClientAuthenticationError) as caught:
        proof(**changes)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("changes", [{"signing_alg": "HS256"}, {"signing_alg": "ES512"}, {"key_id": "absent"}])
def test_key_that_is_not_there(key_store, changes):
    """A key or algorithm that the key store has not got is named in the error."""
    with pytest.raises(ClientAuthenticationError, match=r"HS256|ES512|absent"):
        proof(method="private_key_jwt", key_store=key_store, **changes)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "client_secret_jwt"])
def test_expired_secret_is_not_used(method):
    """A secret that has expired is refused before it is used; 0 and None never expire."""
    with pytest.raises(ClientSecretExpired, match="client expired at") as caught:
        proof(method=method, client_secret_expires_at=int(NOW))
    assert caught.value.expired_at == int(NOW)
    for expires_at in (int(NOW) + 1, 0, None):
        proof(method=method, client_secret_expires_at=expires_at)


def test_expired_secret_does_not_matter_to_a_key(key_store):
    """A client that authenticates with a key does not need its secret."""
    proof(method="private_key_jwt", key_store=key_store, client_secret_expires_at=1)


@pytest.mark.parametrize(("expires_at", "expected"), [(None, False), (0, False), (110, False), (109, True), (1, True)])
def test_secret_that_expires_soon(expires_at, expected):
    """Whether the secret ends within a time can be asked."""
    credentials = ClientCredentials(client_id="c", client_secret_expires_at=expires_at)
    assert secret_expires_within(credentials, now=100, seconds=9) is expected


def test_nothing_secret_is_shown(key_store):
    """Credentials, keys and proofs do not show what is secret in them."""
    credentials = ClientCredentials(client_id="c", client_secret=SECRET, key_store=key_store)
    shown = f"{credentials!r} {proof()!r} {proof(method='client_secret_post')!r} {key_store!r}"
    private = json.dumps([key.key.as_dict(private=True)["d"] for key in key_store.keys])
    assert SECRET not in shown
    assert not [part for part in private.strip("[]").replace('"', "").split(", ") if part in shown]
    assert "Basic" not in shown


@pytest.mark.parametrize(
    ("listed", "method"),
    [
        (("client_secret_basic",), "client_secret_basic"),
        (("client_secret_post", "client_secret_basic"), "client_secret_basic"),
        (("client_secret_post",), "client_secret_post"),
        (("private_key_jwt", "client_secret_jwt"), "client_secret_jwt"),
        (("tls_client_auth", "none"), "client_secret_basic"),
        ((), "client_secret_basic"),
    ],
)
def test_the_usual_method(listed, method):
    """Without a registered method it is client_secret_basic, unless the OP lists others only."""
    metadata = ProviderMetadata(issuer="https://op", token_endpoint_auth_methods_supported=listed)
    assert usual_method(ClientCredentials(client_id="c", client_secret=SECRET), metadata).method == method
    registered = ClientCredentials(client_id="c", method="private_key_jwt")
    assert usual_method(registered, metadata) is registered


OWN, OTHER, PORT = "https://op.example/token", "https://token.example/token", "https://op.example:444/token"


@pytest.mark.parametrize(
    ("endpoint", "url", "settings", "audience"),
    [
        (OWN, OWN, {}, OWN),
        ("https://OP.example:443/token", OWN, {}, "https://OP.example:443/token"),
        (OWN, "https://op.example/introspect", {}, OWN),
        (OTHER, OTHER, {}, AUDIENCE),
        (PORT, PORT, {}, AUDIENCE),
        (None, OWN, {}, AUDIENCE),
        (OWN, OWN, {"assertion_audience": "issuer"}, AUDIENCE),
        (OTHER, OTHER, {"assertion_audience": "token_endpoint"}, OTHER),
        (OWN, OWN, {"fapi_enabled": True, "assertion_audience": "token_endpoint"}, AUDIENCE),
        # A hostile OP at op.example names another OP's token endpoint, and an address of its own to send to.
        (OTHER, "https://op.example/introspect", {}, AUDIENCE),
        (OTHER, "https://op.example/introspect", {"assertion_audience": "token_endpoint"}, AUDIENCE),
        (OWN, "https://evil.example/introspect", {}, AUDIENCE),
    ],
)
def test_audience_of_assertions(endpoint, url, settings, audience):
    """It is the token endpoint where that is the issuer's own and is where the assertion goes; else the issuer."""
    metadata = ProviderMetadata(issuer=AUDIENCE, token_endpoint=endpoint, settings=OpSettings(**settings))
    assert assertion_audience(metadata, url) == audience


def test_methods_have_their_registered_names():
    """The methods are called as the specification calls them."""
    names = {"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"}
    names |= {"tls_client_auth", "self_signed_tls_client_auth"}
    assert {method.value for method in ClientAuthMethod} == names


def test_bearer_header():
    """An access token stands in the header as it is; one that could break the header is refused."""
    assert bearer_header("aB3-._~+/=") == {"authorization": "Bearer aB3-._~+/="}
    for token in ("", "a b", "a\r\nX: y", "é", "a\0"):
        with pytest.raises(MalformedToken):
            bearer_header(token)
