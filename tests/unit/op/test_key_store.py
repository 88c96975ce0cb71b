"""Key stores: the formats that are read, the keys that are made."""

import json
import stat
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from oxd_server.op.errors import ClientAuthenticationError, KeyFileError
from oxd_server.op.key_store import KeyStore, load_key_store, new_key_store


@pytest.fixture
def write(tmp_path):
    def to_file(content, name="keys"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return to_file


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


def pem(key, password=None):
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def published(store: KeyStore) -> list[dict[str, Any]]:
    """The keys that are given to OPs."""
    keys = store.public_jwks()["keys"]
    assert isinstance(keys, list)
    return keys


def private_jwk(key, **members):
    return {**key.as_dict(private=True), **members}


def test_new_key_store(tmp_path):
    """A new key store has an RSA and an EC key, is readable by its owner alone, and loads again."""
    path = tmp_path / "keys.json"
    made = new_key_store(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [key.key_type for key in made.keys] == ["RSA", "EC"]
    assert load_key_store(path).public_jwks() == made.public_jwks()
    made_rsa_key = made.keys[0].key.raw_value
    assert isinstance(made_rsa_key, rsa.RSAPrivateKey)
    assert made_rsa_key.key_size == 3072


def test_key_store_is_not_overwritten(tmp_path):
    """An existing file is left as it is, and a folder that is not there is reported."""
    path = tmp_path / "keys.json"
    path.write_text("precious")
    with pytest.raises(KeyFileError, match="exists"):
        new_key_store(path)
    assert path.read_text() == "precious"
    with pytest.raises(KeyFileError, match="No such file"):
        new_key_store(tmp_path / "absent" / "keys.json")


def test_public_jwks_holds_nothing_private(tmp_path):
    """What is given to OPs has the key ids and no private member."""
    store = new_key_store(tmp_path / "keys.json")
    keys = published(store)
    assert [key["kid"] for key in keys] == [key.kid for key in (*store.keys, *store.decryption_keys)]
    assert [key["use"] for key in keys] == ["sig", "sig", "enc", "enc"]
    assert not [key for key in keys if {"d", "p", "q", "dp", "dq", "qi"} & key.keys()]


def test_jwks(write):
    """A private JWK Set yields its signing keys with their ids and algorithms."""
    keys = [
        private_jwk(ECKey.generate_key("P-384"), kid="one", alg="ES384"),
        private_jwk(OKPKey.generate_key("Ed25519")),
        private_jwk(RSAKey.generate_key(2048), kid="enc", use="enc"),
    ]
    store = load_key_store(write({"keys": keys}))
    first, second = store.keys
    assert (first.kid, first.curve, first.algorithm, second.curve) == ("one", "P-384", "ES384", "Ed25519")
    assert published(store)[0]["alg"] == "ES384"


def test_pem(write, rsa_key):
    """A PEM file may hold several keys, of which those that can sign count; their ids are their thumbprints."""
    parts = [pem(rsa_key), pem(ec.generate_private_key(ec.SECP521R1())), pem(ed25519.Ed25519PrivateKey.generate())]
    unusable = [pem(Ed448PrivateKey.generate()), pem(ec.generate_private_key(ec.SECP256K1()))]
    store = load_key_store(write(b"comment\n" + b"\n".join(parts + unusable)))
    assert [(key.key_type, key.curve) for key in store.keys] == [("RSA", None), ("EC", "P-521"), ("OKP", "Ed25519")]
    assert store.keys[0].kid == RSAKey.import_key(pem(rsa_key)).thumbprint()


def test_encrypted_pem(write, rsa_key):
    """An encrypted PEM file opens with its password alone, in the old format as well."""
    old = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"right"))
    for content in (pem(rsa_key, b"right"), old):
        assert len(load_key_store(write(content), "right").keys) == 1
        for password in ("wrong", None):
            with pytest.raises(KeyFileError, match="password"):
                load_key_store(write(content), password)


@pytest.mark.parametrize("alias", [b"my-key", None])
def test_pkcs12(write, authority, alias):
    """A PKCS#12 file yields its key, with the alias as its id where it has one."""
    certificate = authority.issue()
    data = pkcs12.serialize_key_and_certificates(
        alias, certificate.key, certificate.certificate, None, BestAvailableEncryption(b"right")
    )
    store = load_key_store(write(data, "keys.p12"), "right")
    assert store.keys[0].curve == "P-256"
    assert (store.keys[0].kid == "my-key") is (alias is not None)
    with pytest.raises(KeyFileError, match="password"):
        load_key_store(write(data, "keys.p12"), "wrong")


def test_pkcs12_without_a_key(write, authority):
    """A PKCS#12 file of certificates alone is no key store."""
    certificates: list[x509.Certificate] = [authority.own.certificate]
    data = pkcs12.serialize_key_and_certificates(None, None, None, certificates, NoEncryption())
    with pytest.raises(KeyFileError, match="no private key"):
        load_key_store(write(data))


def test_java_key_store(write):
    """A JKS file is refused with the command that converts it."""
    with pytest.raises(KeyFileError, match="keytool"):
        load_key_store(write(b"\xfe\xed\xfe\xed\0\0\0\2"))


def public_jwk():
    return ECKey.generate_key("P-256").as_dict(private=False)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"junk", b"{", {"keys": []}, {"keys": {}}, {"keys": ["x"]}, {"kty": "EC"},
        {"keys": [{"kty": "EC", "d": "x"}]},
        {"keys": [public_jwk()]}, {"keys": [private_jwk(OctKey.generate_key(256))]},
        {"keys": [private_jwk(OKPKey.generate_key("X25519"))]},
        {"keys": [private_jwk(ECKey.generate_key("secp256k1"))]},
        {"keys": [{**private_jwk(ECKey.generate_key("P-256")), "d": "!!"}]},
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"-----BEGIN CERTIFICATE-----\n",
        {"keys": [private_jwk(ECKey.generate_key("P-256"), kid="same")] * 2},
    ],
)  # fmt: skip
def test_what_is_no_key_store(write, content):
    """Junk, public keys, keys that cannot sign and twice the same id are refused with the file's path."""
    path = write(content)
    with pytest.raises(KeyFileError) as caught:
        load_key_store(path)
    assert str(path) in str(caught.value)


def test_weak_rsa_key(write):
    """An RSA key of less than 2048 bits is not used."""
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(KeyFileError, match="2048"):
        load_key_store(write(pem(weak)))


def test_select(write):
    """A key is chosen by algorithm and id; without either the first one with its usual algorithm."""
    keys = [
        private_jwk(ECKey.generate_key("P-384"), kid="a"),
        private_jwk(OKPKey.generate_key("Ed25519"), kid="b"),
        private_jwk(ECKey.generate_key("P-256"), kid="c", alg="ES256"),
    ]
    store = load_key_store(write({"keys": keys}))

    def chosen(**criteria):
        key, algorithm = store.select(**criteria)
        return key.kid, algorithm.name

    assert chosen() == ("a", "ES384")
    assert chosen(algorithm="EdDSA") == ("b", "EdDSA")
    assert chosen(key_id="c") == ("c", "ES256")
    for criteria in ({"algorithm": "RS256"}, {"algorithm": "HS256"}, {"algorithm": "ES256", "key_id": "a"}):
        with pytest.raises(ClientAuthenticationError):
            store.select(**criteria)
    with pytest.raises(ClientAuthenticationError, match="no such key"):
        KeyStore().select()
