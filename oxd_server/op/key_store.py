"""Our own private keys, for signing and decrypting: from a private JWK Set, a PEM or a PKCS#12 file.

In a JWK Set a key may have `nbf`, from when on it signs, and `exp`, when it is gone (both in seconds since 1970): so
one key takes over from another, see `key_rotation`.

Everything here that reads, writes or makes keys blocks; call it in a thread.
"""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from msgspec.structs import replace

from oxd_protocol.discreet import Discreet
from oxd_server.op.answer import decode_json_object
from oxd_server.op.errors import ClientAuthenticationError, KeyFileError
from oxd_server.op.jose import ALGORITHMS, Algorithm, JwkKey
from oxd_server.op.key_files import is_pem, load_pkcs12, read_key_file

__all__ = [
    "NEW_KEYS",
    "KeyStore",
    "StoredKey",
    "load_key_store",
    "new_jwk",
    "new_key_store",
    "write_new_file",
]

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey

NEW_KEYS: Final = (("RSA", None), ("EC", "P-256"))
"""Type and curve of the keys that a new key store has, for each use."""
_RSA_BITS: Final = 3072
_PEM_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)


class StoredKey(Discreet, frozen=True):
    """A private key, for signing or for decrypting.

    Attributes:
        algorithm: the only one it is for, or None.
        not_before, expires_at: when it begins to sign, and when it is gone, in seconds since the epoch.
        in_hsm: whether a token signs, which may take its time.
    """

    shows = ("kid", "key_type", "curve", "algorithm", "not_before", "expires_at", "in_hsm")

    kid: str
    key_type: str
    curve: str | None
    algorithm: str | None
    key: JwkKey
    not_before: float = 0
    expires_at: float = math.inf
    in_hsm: bool = False

    def fits(self, algorithm: Algorithm) -> bool:
        """Whether it can sign with this algorithm."""
        return (
            self.key_type == algorithm.key_type
            and (algorithm.curve is None or self.curve == algorithm.curve)
            and (self.algorithm is None or self.algorithm in algorithm.names)
        )


class KeyStore(msgspec.Struct, frozen=True):
    """The private keys of this server.

    Attributes:
        keys: those that sign, now or later; of those that fit, the first one does.
        decryption_keys: those that decrypt.
        now: the time that counts, in seconds since the epoch; without one, keys that are yet to come count too.
    """

    keys: tuple[StoredKey, ...] = ()
    decryption_keys: tuple[StoredKey, ...] = ()
    now: float = math.inf

    def at(self, now: float) -> "KeyStore":
        """The key store at this time: without the keys that are gone."""
        return KeyStore(
            tuple(key for key in self.keys if now < key.expires_at),
            tuple(key for key in self.decryption_keys if now < key.expires_at),
            now,
        )

    @property
    def in_hsm(self) -> bool:
        """Whether a key lies in a token."""
        return any(key.in_hsm for key in self.keys)

    def known_as(self, kids: frozenset[str]) -> "KeyStore":
        """The key store as far as somebody knows it who has keys with these ids only.

        If that is none of those that sign, it is the whole one: what that somebody knows says nothing then.
        """
        known = tuple(key for key in self.keys if key.kid in kids and key.not_before <= self.now)
        return replace(self, keys=known) if known else self

    def select(self, algorithm: str | None = None, key_id: str | None = None) -> tuple[StoredKey, Algorithm]:
        """The first key that fits, and the algorithm to use it with.

        Args:
            algorithm: None means the key's own, else the usual one of its type (RS256, ES256, EdDSA, ...).
            key_id: None means any key that fits.

        Raises:
            ClientAuthenticationError: no key fits, or the algorithm is none for signing with a private key.
        """
        if algorithm is not None and (algorithm not in ALGORITHMS or ALGORITHMS[algorithm].symmetric):
            raise ClientAuthenticationError(f"{algorithm[:50]} is no algorithm for signing with a private key")
        for key in self.keys:
            chosen = ALGORITHMS[algorithm] if algorithm is not None else _usual_algorithm(key)
            if key.fits(chosen) and key_id in (None, key.kid) and key.not_before <= self.now:
                return key, chosen
        wanted = " ".join([algorithm or "any", "key"] + ([f"with id {key_id[:200]}"] if key_id is not None else []))
        raise ClientAuthenticationError(f"the key store has no such key: {wanted}")

    def public_jwks(self) -> dict[str, object]:
        """The public JWK Set, to be given to OPs; they are to encrypt to the keys that stay."""
        staying = (key for key in self.decryption_keys if key.expires_at == math.inf)
        return {
            "keys": [*(_public_jwk(key, "sig") for key in self.keys), *(_public_jwk(key, "enc") for key in staying)]
        }


def load_key_store(path: Path, password: str | None = None) -> KeyStore:
    """The keys in a private JWK Set, PEM or PKCS#12 file (blocking).

    A PKCS#12 file yields its first private key; its alias becomes the key id.

    Raises:
        KeyFileError: the file cannot be used; says why.
    """
    data = read_key_file(path)
    decryption_keys: list[StoredKey] = []
    if is_pem(data):
        keys = _keys_from_pem(path, data, password)
    elif data.lstrip()[:1] == b"{":
        keys, decryption_keys = _keys_from_jwks(path, data)
    else:
        keys = _keys_from_pkcs12(path, data, password)
    if not keys:
        raise KeyFileError(
            f"{path}: holds no private key that can sign (RSA from 2048 bits, EC P-256 to P-521, Ed25519)"
        )
    kids = [key.kid for key in (*keys, *decryption_keys)]
    if len(set(kids)) < len(kids):
        raise KeyFileError(f"{path}: two keys have the same id")
    return KeyStore(tuple(keys), tuple(decryption_keys))


def new_key_store(path: Path) -> KeyStore:
    """Make keys and write them as a private JWK Set that only the owner can read (blocking).

    There are an RSA and an EC key that sign, and one of each that decrypts.

    Raises:
        KeyFileError: the file exists already (it is never overwritten) or cannot be written.
    """
    keys = [new_jwk(key_type, curve, use) for use in ("sig", "enc") for key_type, curve in NEW_KEYS]
    write_new_file(path, msgspec.json.encode({"keys": keys}))
    return load_key_store(path)


def new_jwk(key_type: str, curve: str | None, use: str) -> dict[str, object]:
    """A new private key as a JWK, its thumbprint for an id (blocking)."""
    key: JwkKey
    match key_type:
        case "RSA":
            key = RSAKey.generate_key(_RSA_BITS)
        case "EC":
            key = ECKey.generate_key(curve or "P-256")
        case _:
            key = OKPKey.generate_key("Ed25519")
    return {**key.as_dict(private=True), "kid": key.thumbprint(), "use": use}


def write_new_file(path: Path, content: bytes) -> None:
    """Write a file that only the owner can read, and have it on the disk (blocking).

    Raises:
        KeyFileError: it exists already, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists already; keys are never overwritten") from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error


def _usual_algorithm(key: StoredKey) -> Algorithm:
    if key.algorithm is not None and key.algorithm in ALGORITHMS:
        return ALGORITHMS[key.algorithm]
    usual = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
    return ALGORITHMS[usual[key.curve] if key.curve is not None else "RS256"]


def _public_jwk(key: StoredKey, use: str) -> dict[str, object]:
    members: dict[str, object] = {**key.key.as_dict(private=False), "kid": key.kid, "use": use}
    return members if key.algorithm is None else {**members, "alg": key.algorithm}


def _stored_key(key: JwkKey, members: Mapping[str, object]) -> StoredKey:
    kid, algorithm = members.get("kid"), members.get("alg")
    curve = key.get("crv")
    return StoredKey(
        kid=kid if isinstance(kid, str) and kid else key.thumbprint(),
        key_type=key.key_type,
        curve=curve if isinstance(curve, str) else None,
        algorithm=algorithm if isinstance(algorithm, str) else None,
        key=key,
        not_before=_seconds(members.get("nbf"), 0),
        expires_at=_seconds(members.get("exp"), math.inf),
    )


def _seconds(value: object, otherwise: float) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _keys_from_jwks(path: Path, data: bytes) -> tuple[list[StoredKey], list[StoredKey]]:
    """The keys that sign and those that decrypt: only here is it said what a key is for.

    OpenID Connect Core 1.0 section 10.2: to use one for both is "NOT RECOMMENDED".
    """
    document = decode_json_object(data)
    entries = document.get("keys") if document is not None else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KeyFileError(f"{path}: is no JWK Set ({{'keys': [...]}})")
    decrypting = [_key_from_jwk(path, entry) for entry in entries if entry.get("use") == "enc"]
    if any(key.key_type == "OKP" for key in decrypting):
        raise KeyFileError(f"{path}: a key cannot decrypt (RSA from 2048 bits, EC P-256 to P-521)")
    return [_key_from_jwk(path, entry) for entry in entries if entry.get("use", "sig") == "sig"], decrypting


def _key_from_jwk(path: Path, entry: dict[str, object]) -> StoredKey:
    classes: dict[object, type[JwkKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    key_class = classes.get(entry.get("kty"))
    if key_class is None or not isinstance(entry.get("d"), str):
        raise KeyFileError(f"{path}: a key is no private RSA, EC or OKP key")
    members = {name: value for name, value in entry.items() if name in _JWK_MEMBERS and isinstance(value, str)}
    try:
        native = key_class.import_key({**members}).private_key
    except (JoseError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: a key has members that make no key") from error
    key = _checked_key(native)
    if key is None:
        raise KeyFileError(f"{path}: a key cannot sign (RSA from 2048 bits, EC P-256 to P-521, Ed25519)")
    return _stored_key(key, entry)


_JWK_MEMBERS = frozenset({"kty", "crv", "n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y"})


def _keys_from_pem(path: Path, data: bytes, password: str | None) -> list[StoredKey]:
    secret = password.encode() if password is not None else None
    keys = []
    for block in _PEM_KEY.finditer(data):
        encrypted = b"ENCRYPTED" in block.group(0)
        try:
            native = load_pem_private_key(block.group(0), secret if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{path}: a private key does not open; is its password right?") from error
        keys.append(_checked_key(native))
    return [_stored_key(key, {}) for key in keys if key is not None]


def _keys_from_pkcs12(path: Path, data: bytes, password: str | None) -> list[StoredKey]:
    content = load_pkcs12(path, data, password)
    key = _checked_key(content.key)
    if key is None:
        return []
    alias = content.cert.friendly_name if content.cert is not None else None
    return [_stored_key(key, {"kid": alias.decode("utf-8", "replace")} if alias else {})]


def _checked_key(native: object) -> JwkKey | None:
    """The key in joserfc's form if it is of a kind that can sign, else None.

    It was checked when it was read. To import it would check it again: for RSA that takes a tenth of a second.
    """
    if isinstance(native, RSAPrivateKey) and native.key_size >= 2048:
        return RSAKey(native, native)
    if isinstance(native, EllipticCurvePrivateKey) and native.curve.name in ("secp256r1", "secp384r1", "secp521r1"):
        return ECKey(native, native)
    if isinstance(native, Ed25519PrivateKey):
        return OKPKey(native, native)
    return None
