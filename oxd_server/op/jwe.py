"""JSON Web Encryption: what an OP encrypts to us, and what we encrypt to it. Pure.

What is encrypted is a signed JWT in any case that decides anything: encryption alone says nothing of who sent it.
RSA1_5 is not among the algorithms (RFC 8725 section 3.2), nor is what derives keys from passwords.

Specifications: RFC 7516 (JWE), RFC 7518 sections 4 and 5, OpenID Connect Core 1.0 section 10.2.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwe import JWERegistry, decrypt_compact, encrypt_compact
from joserfc.jwk import ECKey, OctKey, RSAKey

from oxd_server.op.answer import decode_json_object
from oxd_server.op.base64url import decode_base64url
from oxd_server.op.errors import IdTokenCheck, IdTokenError
from oxd_server.op.jose import MAX_TOKEN_CHARACTERS, KeySet
from oxd_server.op.key_store import StoredKey

__all__ = [
    "CONTENT_ENCRYPTION",
    "DEFAULT_ENCRYPTION",
    "KEY_MANAGEMENT",
    "Encryption",
    "decrypt_token",
    "encrypt_token",
    "is_encrypted",
]

KEY_MANAGEMENT: Final[Mapping[str, str]] = {
    "RSA-OAEP": "RSA", "RSA-OAEP-256": "RSA",
    "ECDH-ES": "EC", "ECDH-ES+A128KW": "EC", "ECDH-ES+A192KW": "EC", "ECDH-ES+A256KW": "EC",
    "A128KW": "oct", "A192KW": "oct", "A256KW": "oct",
    "A128GCMKW": "oct", "A192GCMKW": "oct", "A256GCMKW": "oct", "dir": "oct",
}  # fmt: skip
"""The algorithms, and the type of key of each; the key of `oct` is made from the client secret."""
CONTENT_ENCRYPTION: Final[Mapping[str, int]] = {
    "A128CBC-HS256": 256, "A192CBC-HS384": 384, "A256CBC-HS512": 512, "A128GCM": 128, "A192GCM": 192, "A256GCM": 256,
}  # fmt: skip
"""The encryption methods, and how many bits their keys have."""
DEFAULT_ENCRYPTION: Final = "A128CBC-HS256"

_PARTS: Final = 5
_MAX_KEYS_TRIED: Final = 8


class Encryption(msgspec.Struct, frozen=True):
    """What a client registered for something: `alg` and `enc`.

    Registration 1.0 section 2: where only `alg` is named, `enc` is A128CBC-HS256.
    """

    alg: str
    enc: str = DEFAULT_ENCRYPTION

    @property
    def symmetric(self) -> bool:
        """Whether the key is made from the client secret."""
        return KEY_MANAGEMENT.get(self.alg) == "oct"

    @property
    def key_type(self) -> str | None:
        """The type of key that is needed, None for an algorithm that is none of ours."""
        return KEY_MANAGEMENT.get(self.alg) if self.enc in CONTENT_ENCRYPTION else None


def is_encrypted(token: str) -> bool:
    """Whether it is a JWE in compact serialization (RFC 7516 section 9)."""
    return token.count(".") == _PARTS - 1


def decrypt_token(
    token: str, encryption: Encryption, keys: Iterable[StoredKey], client_secret: str | None = None
) -> str:
    """What is in a JWE.

    Args:
        token: the JWE in compact serialization.
        encryption: the algorithms that the client registered; no others count.
        keys: our own.
        client_secret: what the key of a symmetric algorithm is made from.

    Raises:
        IdTokenError: it cannot be decrypted.
    """
    header = _checked_header(token, encryption)
    registry = JWERegistry(algorithms=[encryption.alg, encryption.enc], strict_check_header=False)
    for key in _decryption_keys(header, encryption, keys, client_secret):
        try:
            plaintext = decrypt_compact(token, key, registry=registry).plaintext
        except (JoseError, ValueError, TypeError, KeyError, OverflowError):
            continue
        return (plaintext or b"").decode("utf-8", "replace")
    # Nothing more is said: what exactly failed would help whoever tries.
    raise IdTokenError(IdTokenCheck.DECRYPTION_FAILED, f"what one of our keys for {encryption.alg} can decrypt")


def _checked_header(token: str, encryption: Encryption) -> Mapping[str, object]:
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise IdTokenError(IdTokenCheck.TOO_LARGE, f"at most {MAX_TOKEN_CHARACTERS} characters", str(len(token)))
    header = decode_json_object(decode_base64url(token.partition(".")[0]) or b"")
    if header is None:
        raise IdTokenError(IdTokenCheck.MALFORMED, "a JSON object as header", "something else")
    # RFC 7516 section 4.1.13: extensions that are not understood make it invalid. RFC 8725 section 3.6: compression
    # of what is encrypted gives it away, and unpacking it takes any amount of room.
    for name in ("crit", "zip"):
        if name in header:
            raise IdTokenError(IdTokenCheck.CRITICAL_HEADER, f"no {name}", header[name])
    used = (header.get("alg"), header.get("enc"))
    if encryption.key_type is None or used != (encryption.alg, encryption.enc):
        wanted = f"{encryption.alg} with {encryption.enc}"
        raise IdTokenError(IdTokenCheck.ALGORITHM_NOT_ALLOWED, wanted, f"{used[0]} with {used[1]}")
    return header


def _decryption_keys(
    header: Mapping[str, object], encryption: Encryption, keys: Iterable[StoredKey], client_secret: str | None
) -> list[RSAKey | ECKey | OctKey]:
    if encryption.symmetric:
        return [_secret_key(encryption, client_secret)]
    fitting = [key for key in keys if key.key_type == encryption.key_type and key.algorithm in (None, encryption.alg)]
    named = [key for key in fitting if key.kid == header.get("kid")]
    found: list[RSAKey | ECKey | OctKey] = [
        key.key for key in (named or fitting)[:_MAX_KEYS_TRIED] if isinstance(key.key, RSAKey | ECKey)
    ]
    if not found:
        remedy = "(oxd-server keys rotate makes some, if the key store has none)"
        raise IdTokenError(IdTokenCheck.KEY_UNUSABLE, f"a key of ours with use enc for {encryption.alg} {remedy}")
    return found


def encrypt_token(text: str, encryption: Encryption, keys: KeySet, client_secret: str | None = None) -> str | None:
    """The signed JWT `text` as a nested one; None where the OP publishes no key for it.

    Raises:
        IdTokenError: the algorithm is none of ours, or there is no client secret for it.
    """
    if encryption.key_type is None:
        raise IdTokenError(IdTokenCheck.ALGORITHM_NOT_ALLOWED, " or ".join(KEY_MANAGEMENT), encryption.alg)
    header: dict[str, object] = {"alg": encryption.alg, "enc": encryption.enc, "cty": "JWT"}
    key: RSAKey | ECKey | OctKey
    if encryption.symmetric:
        key = _secret_key(encryption, client_secret)
    else:
        published = keys.select_for_encryption(encryption.key_type, encryption.alg)
        if published is None or not isinstance(published.key, RSAKey | ECKey):
            return None
        key = published.key
        if published.kid is not None:
            header["kid"] = published.kid
    registry = JWERegistry(algorithms=[encryption.alg, encryption.enc])
    return encrypt_compact(header, text.encode(), key, registry=registry)


def _secret_key(encryption: Encryption, client_secret: str | None) -> OctKey:
    """The key that is made from the client secret.

    Core 1.0 section 10.2: "The symmetric encryption key is derived from the client_secret value by using the
    left-most bits of a truncated SHA-2 hash of the octets of the UTF-8 representation of the client_secret."
    """
    if not client_secret:
        raise IdTokenError(IdTokenCheck.KEY_UNUSABLE, f"a client secret for {encryption.alg}", "none")
    bits = CONTENT_ENCRYPTION[encryption.enc] if encryption.alg == "dir" else int(encryption.alg[1:4])
    # "For keys of 256 or fewer bits, SHA-256 is used; for keys of 257-384 bits, SHA-384 is used; for keys of 385-512
    # bits, SHA-512 is used."
    digest = "sha256" if bits <= 256 else "sha384" if bits <= 384 else "sha512"
    return OctKey.import_key(hashlib.new(digest, client_secret.encode()).digest()[: bits // 8])
