"""Between a site and its client at the OP: what is sent, and what of the answer counts."""

import ssl
from typing import Any

import msgspec
import pytest
from joserfc.jwk import ECKey, RSAKey

from oxd_server.client_metadata import ClientMetadata
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.key_store import KeyStore, StoredKey
from oxd_server.op.registration import RegistrationAnswer
from oxd_server.rp.site_as_client import (
    as_answered,
    as_registered,
    credentials_of,
    given_less,
    known_metadata,
    metadata_of,
)
from oxd_server.store import Site

REDIRECT_URI, OTHER_URI = "https://app.example/callback", "https://app.example/other"
CLIENT = ClientMetadata(
    redirect_uris=(REDIRECT_URI, OTHER_URI),
    post_logout_redirect_uris=("https://app.example/bye",),
    frontchannel_logout_uri=("https://app.example/front", "https://app.example/second"),
    response_types=("id_token", "code"),
    grant_types=("authorization_code", "refresh_token"),
    scope="openid email",
    client_name="App",
    token_endpoint_auth_method="client_secret_post",
    token_endpoint_auth_signing_alg="RS256",
    custom_attributes={"tier": "gold", "client_name": "never this"},
)
SITE = Site(
    oxd_id="site-1",
    op_host="https://op.example.org",
    client=CLIENT,
    client_id="client-1",
    client_secret="old-secret",
    client_registration_access_token="old-token",
    client_registration_client_uri="https://op.example.org/register/1",
    client_secret_expires_at=5000,
)


def answer(**metadata: object) -> RegistrationAnswer:
    return RegistrationAnswer(client_id="client-1", metadata=metadata)


def test_what_is_sent() -> None:
    """Everything under its registered name; the response types as one; one front-channel URI; Gluu's attributes too."""
    assert metadata_of(SITE) == {
        "redirect_uris": [REDIRECT_URI, OTHER_URI],
        "post_logout_redirect_uris": ["https://app.example/bye"],
        "frontchannel_logout_uri": "https://app.example/front",
        "response_types": ["code id_token"],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid email",
        "client_name": "App",
        "token_endpoint_auth_method": "client_secret_post",
        "token_endpoint_auth_signing_alg": "RS256",
        "custom_attributes": {"tier": "gold", "client_name": "never this"},
        "tier": "gold",
    }


def test_every_field_is_sent() -> None:
    """No property of a client is dropped in silence."""
    values: dict[str, Any] = {
        field.name: {"jwks": {"keys": []}, "scope": "x", "response_types": ["code"]}.get(field.name)
        or _sample(field.type)
        for field in msgspec.structs.fields(ClientMetadata)
    }
    sent = metadata_of(Site(oxd_id="x", op_host="https://op", client=msgspec.convert(values, ClientMetadata)))
    assert {name for name in values if name not in sent} == set()
    assert sent == values | {"frontchannel_logout_uri": "x", "x": "y"}


def _sample(kind: Any) -> object:
    samples: dict[Any, object] = {str | None: "x", bool | None: True, int | None: 1, dict[str, str] | None: {"x": "y"}}
    return samples.get(kind, ["x"])


@pytest.mark.parametrize(
    ("response_types", "grant_types", "expected"),
    [
        ([], [], "code"),
        (["code"], ["authorization_code"], "code"),
        (["id_token", "code"], ["authorization_code"], "code id_token"),
        (["code", "code id_token"], [], "code id_token"),
        (["token", "id_token", "code"], [], "code id_token token"),
        (["code", "none"], [], "code"),
        (["none"], [], "code"),
        (["id_token"], ["authorization_code"], "code id_token"),
        (["id_token", "token"], ["implicit"], "id_token token"),
    ],
)
def test_response_types_are_one_request(response_types: list[str], grant_types: list[str], expected: str) -> None:
    """In the registered order, with a code wherever tokens are had by code."""
    client = ClientMetadata(response_types=tuple(response_types), grant_types=tuple(grant_types))
    assert client.response_type == expected


def test_keys_to_encrypt_to_say_with_which_algorithm() -> None:
    """Where the site has registered one for that type of key: some servers use no key that does not say so."""
    rsa, ec = RSAKey.generate_key(2048), ECKey.generate_key("P-256")
    store = KeyStore(decryption_keys=(StoredKey("r", "RSA", None, None, rsa), StoredKey("e", "EC", "P-256", None, ec)))
    one = ClientMetadata(id_token_encrypted_response_alg="RSA-OAEP", userinfo_encrypted_response_alg="RSA-OAEP")
    two = msgspec.structs.replace(one, userinfo_encrypted_response_alg="RSA-OAEP-256")

    def algs(client: ClientMetadata) -> list[str | None]:
        sent = metadata_of(Site(oxd_id="x", op_host="https://op.example.org", client=client), store)
        return [key.get("alg") for key in sent["jwks"]["keys"]]

    assert algs(one) == ["RSA-OAEP", None]
    assert algs(two) == [None, None]
    assert algs(msgspec.structs.replace(two, authorization_encrypted_response_alg="ECDH-ES")) == [None, "ECDH-ES"]


def test_what_an_op_knows_its_clients_by() -> None:
    """With a certificate: its subject, unless the site names another one, or its key beside those of the key store."""
    identity = ClientIdentity("CN=us", {"kty": "EC", "kid": "c"}, ssl.create_default_context())

    def sent(method: str, **more: Any) -> dict[str, Any]:
        client = ClientMetadata(token_endpoint_auth_method=method, **more)
        return metadata_of(Site(oxd_id="x", op_host="https://op.example.org", client=client), None, identity)

    assert sent("tls_client_auth")["tls_client_auth_subject_dn"] == "CN=us"
    assert sent("tls_client_auth", tls_client_auth_subject_dn="CN=x")["tls_client_auth_subject_dn"] == "CN=x"
    by_name = sent("tls_client_auth", tls_client_auth_san_dns="rp.example")
    assert by_name["tls_client_auth_san_dns"] == "rp.example"
    assert "tls_client_auth_subject_dn" not in by_name
    assert sent("self_signed_tls_client_auth")["jwks"] == {"keys": [identity.jwk]}
    assert "jwks" not in sent("self_signed_tls_client_auth", jwks_uri="https://app/jwks")
    assert not {"jwks", "tls_client_auth_subject_dn"} & sent("client_secret_basic").keys()


def test_public_keys_are_sent_where_the_key_store_signs() -> None:
    """Unless the site has keys of its own: an OP gets jwks or jwks_uri, never both."""
    key_store = KeyStore()
    signing = ClientMetadata(token_endpoint_auth_method="private_key_jwt")
    bare = Site(oxd_id="x", op_host="https://op.example.org", client=signing)
    assert metadata_of(bare, key_store)["jwks"] == key_store.public_jwks()
    own = msgspec.structs.replace(bare, client=msgspec.structs.replace(signing, jwks_uri="https://app/jwks"))
    assert "jwks" not in metadata_of(own, key_store)


@pytest.mark.parametrize(
    "answered",
    [
        {},
        {"redirect_uris": [""], "scope": "address phone", "response_types": ["code", "none"], "contacts": "x"},
        {"redirect_uris": [OTHER_URI], "post_logout_redirect_uris": ["https://elsewhere"], "grant_types": []},
        {"client_name": 5, "scope": ["openid"], "invented": {"by": ["the", "OP"]}},
    ],
)
def test_the_wish_stays(answered: dict[str, object]) -> None:
    """Whatever an OP answers, the application goes on asking for the same; the answer is kept beside it."""
    stored = as_answered(SITE, answer(**answered))
    assert msgspec.structs.replace(stored, registered_metadata=None) == SITE
    assert known_metadata(stored) == answered


def test_an_op_that_rotates() -> None:
    """New secrets and tokens replace the old ones; seconds become milliseconds."""
    rotated = RegistrationAnswer(
        client_id="client-1",
        client_secret="new-secret",
        registration_access_token="new-token",
        registration_client_uri="https://op.example.org/register/2",
        client_id_issued_at=7,
        client_secret_expires_at=0,
    )
    stored = as_answered(SITE, rotated)
    assert (stored.client_secret, stored.client_registration_access_token) == ("new-secret", "new-token")
    assert stored.client_registration_client_uri == "https://op.example.org/register/2"
    assert (stored.client_id_issued_at, stored.client_secret_expires_at) == (7000, 0)


def test_the_registered_way_of_authenticating_counts() -> None:
    """The OP's answer decides how the client authenticates and which algorithms it meets, where it says so."""
    stored = as_answered(
        SITE, answer(token_endpoint_auth_method="client_secret_basic", id_token_signed_response_alg="ES256")
    )
    assert credentials_of(stored, None).method == "client_secret_basic"
    assert as_registered(stored).id_token_signed_response_alg == "ES256"
    assert as_registered(stored).token_endpoint_auth_signing_alg == "RS256"
    assert stored.client == CLIENT


@pytest.mark.parametrize("method", [5, "", None, "tls_client_auth", ["client_secret_basic"]])
def test_a_way_that_is_none(method: object) -> None:
    """A method that this server does not know, or nonsense, leaves the one that was asked for."""
    assert (
        credentials_of(as_answered(SITE, answer(token_endpoint_auth_method=method)), None).method
        == "client_secret_post"
    )


@pytest.mark.parametrize("algorithm", ["none", "RS1", ["RS256"], {}])
def test_an_algorithm_that_is_none(algorithm: object) -> None:
    """An OP that names no algorithm that may sign leaves what was asked for: here, none in particular."""
    registered = as_registered(
        as_answered(SITE, answer(userinfo_signed_response_alg=algorithm, id_token_signed_response_alg=algorithm))
    )
    assert (registered.userinfo_signed_response_alg, registered.id_token_signed_response_alg) == (None, None)


def test_what_was_given_less() -> None:
    """Missing words and items are named, other values as they are; order and silence say nothing."""
    asked = {
        "scope": "openid email", "response_types": ["code id_token"], "redirect_uris": [REDIRECT_URI],
        "client_name": "App", "grant_types": ["authorization_code", "refresh_token"], "contacts": ["a@b"],
    }  # fmt: skip
    assert given_less(asked, {}) == {}
    same = {"scope": "email openid", "response_types": ["none", "id_token code"], "redirect_uris": [REDIRECT_URI, "x"]}
    assert given_less(asked, same) == {}
    other = {
        "scope": ["email"], "response_types": ["code"], "redirect_uris": [""], "client_name": "Another",
        "grant_types": ["authorization_code"], "contacts": 5,
    }  # fmt: skip
    assert given_less(asked, other) == {
        "scope": ["openid"], "response_types": ["code id_token"], "redirect_uris": [REDIRECT_URI],
        "client_name": "Another", "grant_types": ["refresh_token"], "contacts": ["a@b"],
    }  # fmt: skip


def test_a_bare_site() -> None:
    """What a site does not know is left out of the registration; the OP's metadata then decides the method."""
    bare = Site(oxd_id="x", op_host="https://op.example.org")
    assert metadata_of(bare) == {}
    assert known_metadata(bare) == {}
    credentials = credentials_of(bare, None)
    assert (credentials.client_id, credentials.client_secret, credentials.method) == ("", None, None)


def test_credentials() -> None:
    """They are those of the site, with the expiry in seconds, and show no secret."""
    credentials = credentials_of(SITE, None)
    assert (credentials.client_id, credentials.client_secret) == ("client-1", "old-secret")
    assert (credentials.method, credentials.signing_alg) == ("client_secret_post", "RS256")
    assert credentials.client_secret_expires_at == 5
    assert "old-secret" not in repr(credentials)
