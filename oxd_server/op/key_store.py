"""Our own private keys, for `private_key_jwt`: from a private JWK Set, a PEM or a PKCS#12 file.

Everything here that reads, writes or makes keys blocks; call it in a thread.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from oxd_server.op.answer import decode_json_object
from oxd_server.op.errors import ClientAuthenticationError, KeyFileError
from oxd_server.op.jose import ALGORITHMS, Algorithm, JwkKey
from oxd_server.op.key_files import is_pem, load_pkcs12, read_key_file

__all__ = ["KeyStore", "SigningKey", "load_key_store", "new_key_store"]

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey

_PEM_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key; `algorithm` is the only one it is for, or None."""

    kid: str
    key_type: str
    curve: str | None
    algorithm: str | None
    key: JwkKey = field(repr=False)

    def fits(self, algorithm: Algorithm) -> bool:
        """Whether it can sign with this algorithm."""
        return (
            self.key_type == algorithm.key_type
            and (algorithm.curve is None or self.curve == algorithm.curve)
            and (self.algorithm is None or self.algorithm in algorithm.names)
        )


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The private keys of this server."""

    keys: tuple[SigningKey, ...] = ()

    def select(self, algorithm: str | None = None, key_id: str | None = None) -> tuple[SigningKey, Algorithm]:
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
            if key.fits(chosen) and key_id in (None, key.kid):
                return key, chosen
        wanted = " ".join([algorithm or "any", "key"] + ([f"with id {key_id[:200]}"] if key_id is not None else []))
        raise ClientAuthenticationError(f"the key store has no such key: {wanted}")

    def public_jwks(self) -> dict[str, object]:
        """The public JWK Set, to be given to OPs."""
        return {"keys": [_public_jwk(key) for key in self.keys]}


def load_key_store(path: Path, password: str | None = None) -> KeyStore:
    """The keys in a private JWK Set, PEM or PKCS#12 file (blocking).

    A PKCS#12 file yields its first private key; its alias becomes the key id.

    Raises:
        KeyFileError: the file cannot be used; says why.
    """
    data = read_key_file(path)
    if is_pem(data):
        keys = _keys_from_pem(path, data, password)
    elif data.lstrip()[:1] == b"{":
        keys = _keys_from_jwks(path, data)
    else:
        keys = _keys_from_pkcs12(path, data, password)
    if not keys:
        raise KeyFileError(
            f"{path}: holds no private key that can sign (RSA from 2048 bits, EC P-256 to P-521, Ed25519)"
        )
    if len({key.kid for key in keys}) < len(keys):
        raise KeyFileError(f"{path}: two keys have the same id")
    return KeyStore(tuple(keys))


def new_key_store(path: Path) -> KeyStore:
    """Make an RSA and an EC key and write them as a private JWK Set that only the owner can read (blocking).

    Raises:
        KeyFileError: the file exists already (it is never overwritten) or cannot be written.
    """
    private_keys: list[JwkKey] = [RSAKey.generate_key(3072), ECKey.generate_key("P-256")]
    keys = [_signing_key(key, {}) for key in private_keys]
    document = {"keys": [{**key.key.as_dict(private=True), "kid": key.kid, "use": "sig"} for key in keys]}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(document))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists already; keys are never overwritten") from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    return KeyStore(tuple(keys))


def _usual_algorithm(key: SigningKey) -> Algorithm:
    if key.algorithm is not None and key.algorithm in ALGORITHMS:
        return ALGORITHMS[key.algorithm]
    usual = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
    return ALGORITHMS[usual[key.curve] if key.curve is not None else "RS256"]


def _public_jwk(key: SigningKey) -> dict[str, object]:
    members: dict[str, object] = {**key.key.as_dict(private=False), "kid": key.kid, "use": "sig"}
    return members if key.algorithm is None else {**members, "alg": key.algorithm}


def _signing_key(key: JwkKey, members: Mapping[str, object]) -> SigningKey:
    kid, algorithm = members.get("kid"), members.get("alg")
    curve = key.get("crv")
    return SigningKey(
        kid=kid if isinstance(kid, str) and kid else key.thumbprint(),
        key_type=key.key_type,
        curve=curve if isinstance(curve, str) else None,
        algorithm=algorithm if isinstance(algorithm, str) else None,
        key=key,
    )


def _keys_from_jwks(path: Path, data: bytes) -> list[SigningKey]:
    document = decode_json_object(data)
    entries = document.get("keys") if document is not None else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KeyFileError(f"{path}: is no JWK Set ({{'keys': [...]}})")
    return [_key_from_jwk(path, entry) for entry in entries if entry.get("use", "sig") == "sig"]


def _key_from_jwk(path: Path, entry: dict[str, object]) -> SigningKey:
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
    return _signing_key(key, entry)


_JWK_MEMBERS = frozenset({"kty", "crv", "n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y"})


def _keys_from_pem(path: Path, data: bytes, password: str | None) -> list[SigningKey]:
    secret = password.encode() if password is not None else None
    keys = []
    for block in _PEM_KEY.finditer(data):
        encrypted = b"ENCRYPTED" in block.group(0)
        try:
            native = load_pem_private_key(block.group(0), secret if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{path}: a private key does not open; is its password right?") from error
        keys.append(_checked_key(native))
    return [_signing_key(key, {}) for key in keys if key is not None]


def _keys_from_pkcs12(path: Path, data: bytes, password: str | None) -> list[SigningKey]:
    content = load_pkcs12(path, data, password)
    key = _checked_key(content.key)
    if key is None:
        return []
    alias = content.cert.friendly_name if content.cert is not None else None
    return [_signing_key(key, {"kid": alias.decode("utf-8", "replace")} if alias else {})]


def _checked_key(native: object) -> JwkKey | None:
    """The key in joserfc's form if it is of a kind that can sign, else None."""
    if isinstance(native, RSAPrivateKey) and native.key_size >= 2048:
        return RSAKey.import_key(_pem(native))
    if isinstance(native, EllipticCurvePrivateKey) and native.curve.name in ("secp256r1", "secp384r1", "secp521r1"):
        return ECKey.import_key(_pem(native))
    if isinstance(native, Ed25519PrivateKey):
        return OKPKey.import_key(_pem(native))
    return None


def _pem(native: PrivateKey) -> bytes:
    return native.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
