"""JSON Web Encryption: what is opened, with which key, and what is refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey, RSAKey

from oxd_server.op.base64url import encode_base64url
from oxd_server.op.errors import IdTokenCheck, IdTokenError
from oxd_server.op.jose import MAX_TOKEN_CHARACTERS, KeySet, parse_key_set
from oxd_server.op.jwe import CONTENT_ENCRYPTION, KEY_MANAGEMENT, Encryption, decrypt_token, encrypt_token, is_encrypted
from oxd_server.op.key_store import KeyStore, StoredKey, load_key_store, new_key_store

SECRET = "client-secret-" * 5
TEXT = "a.signed.token"
RSA, EC = RSAKey.generate_key(2048), ECKey.generate_key("P-256")
STORE = KeyStore(
    decryption_keys=(StoredKey("r", "RSA", None, None, RSA), StoredKey("e", "EC", "P-256", None, EC)), now=0
)


def published(store: KeyStore) -> KeySet:
    """The keys as an OP reads them."""
    keys = parse_key_set(store.public_jwks())
    assert keys is not None
    return keys


def sealed(encryption: Encryption, text: str = TEXT) -> str:
    """The text, encrypted to us."""
    token = encrypt_token(text, encryption, published(STORE), SECRET)
    assert token is not None
    return token


@pytest.mark.parametrize("enc", CONTENT_ENCRYPTION)
@pytest.mark.parametrize("alg", KEY_MANAGEMENT)
def test_every_algorithm(alg: str, enc: str) -> None:
    """What is encrypted to a published key, or under the client secret, comes out again."""
    encryption = Encryption(alg, enc)
    token = sealed(encryption)
    assert is_encrypted(token)
    assert decrypt_token(token, encryption, STORE.decryption_keys, SECRET) == TEXT


def test_the_secret_becomes_a_key_as_the_specification_says() -> None:
    """Core section 10.2: the left-most bits of the shortest SHA-2 that has enough; another library agrees."""
    for enc, digest in (("A128GCM", "sha256"), ("A192CBC-HS384", "sha384"), ("A256CBC-HS512", "sha512")):
        import hashlib

        key = OctKey.import_key(hashlib.new(digest, SECRET.encode()).digest()[: CONTENT_ENCRYPTION[enc] // 8])
        token = jwe.encrypt_compact({"alg": "dir", "enc": enc}, TEXT, key, algorithms=["dir", enc])
        assert decrypt_token(token, Encryption("dir", enc), (), SECRET) == TEXT


def refused(token: str, encryption: Encryption, keys: tuple[StoredKey, ...] = STORE.decryption_keys) -> IdTokenCheck:
    """The check that the token fails."""
    with pytest.raises(IdTokenError) as caught:
        decrypt_token(token, encryption, keys, SECRET)
    assert TEXT not in str(caught.value)
    return caught.value.check


def test_other_algorithms_than_the_registered_ones() -> None:
    """Neither another alg nor another enc, nor one that nobody should use."""
    token = sealed(Encryption("RSA-OAEP", "A128GCM"))
    assert refused(token, Encryption("RSA-OAEP-256", "A128GCM")) is IdTokenCheck.ALGORITHM_NOT_ALLOWED
    assert refused(token, Encryption("RSA-OAEP")) is IdTokenCheck.ALGORITHM_NOT_ALLOWED
    header = encode_base64url(b'{"alg":"RSA1_5","enc":"A128GCM"}')
    assert refused(f"{header}.a.b.c.d", Encryption("RSA1_5", "A128GCM")) is IdTokenCheck.ALGORITHM_NOT_ALLOWED


def test_headers_that_are_refused() -> None:
    """Compression, extensions, and what is no header at all."""
    for member in ({"zip": "DEF"}, {"crit": ["exp"], "exp": 1}):
        header = encode_base64url(json.dumps({"alg": "dir", "enc": "A128GCM", **member}).encode())
        assert refused(f"{header}..b.c.d", Encryption("dir", "A128GCM")) is IdTokenCheck.CRITICAL_HEADER
    assert refused("e30=.a.b.c.d", Encryption("dir", "A128GCM")) is IdTokenCheck.MALFORMED
    assert refused("x" * (MAX_TOKEN_CHARACTERS + 1), Encryption("dir", "A128GCM")) is IdTokenCheck.TOO_LARGE


def test_a_bomb_is_not_unpacked() -> None:
    """A small token that would unpack to a huge one is refused by its header."""
    bomb = zlib.compress(b"0" * 1_000_000)
    header = encode_base64url(b'{"alg":"dir","enc":"A128GCM","zip":"DEF"}')
    assert refused(f"{header}..AAAA.{encode_base64url(bomb)}.AAAA", Encryption("dir", "A128GCM"))


@pytest.mark.parametrize("part", range(1, 5))
def test_what_was_changed_on_the_way(part: int) -> None:
    """One character in any part, and it is not opened."""
    encryption = Encryption("RSA-OAEP-256", "A128CBC-HS256")
    parts = sealed(encryption).split(".")
    parts[part] = ("B" if parts[part][0] != "B" else "C") + parts[part][1:]
    assert refused(".".join(parts), encryption) is IdTokenCheck.DECRYPTION_FAILED


@given(st.text(max_size=200))
def test_anything_else_is_refused(text: str) -> None:
    """Whatever is no token raises nothing but the error."""
    with pytest.raises(IdTokenError):
        decrypt_token(text, Encryption("RSA-OAEP"), STORE.decryption_keys, SECRET)


def test_without_a_key() -> None:
    """No key of the kind, none for the algorithm, no secret: each says what is missing."""
    encryption = Encryption("RSA-OAEP", "A128GCM")
    token = sealed(encryption)
    assert refused(token, encryption, ()) is IdTokenCheck.KEY_UNUSABLE
    other = StoredKey("r", "RSA", None, "RSA-OAEP-256", RSA)
    assert refused(token, encryption, (other,)) is IdTokenCheck.KEY_UNUSABLE
    with pytest.raises(IdTokenError, match="client secret"):
        encrypt_token(TEXT, Encryption("dir"), KeySet(), None)
    with pytest.raises(IdTokenError, match="RSA1_5"):
        encrypt_token(TEXT, Encryption("RSA1_5"), KeySet())


def test_a_key_without_an_id() -> None:
    """Where the header names no key of ours, each of them is tried."""
    encryption = Encryption("RSA-OAEP", "A128GCM")
    others = tuple(StoredKey(str(n), "RSA", None, None, RSAKey.generate_key(2048)) for n in range(2))
    token = jwe.encrypt_compact({"alg": "RSA-OAEP", "enc": "A128GCM"}, TEXT, RSA, algorithms=["RSA-OAEP", "A128GCM"])
    assert decrypt_token(token, encryption, (*others, *STORE.decryption_keys)) == TEXT
    assert refused(token, encryption, others) is IdTokenCheck.DECRYPTION_FAILED


def test_whom_requests_are_encrypted_to(tmp_path: Path) -> None:
    """To a key with use enc only: one that signs is not for this."""
    new_key_store(tmp_path / "keys")
    store = load_key_store(tmp_path / "keys")
    assert encrypt_token(TEXT, Encryption("RSA-OAEP"), published(store)) is not None
    signing_only = KeyStore(store.keys)
    assert encrypt_token(TEXT, Encryption("RSA-OAEP"), published(signing_only)) is None
