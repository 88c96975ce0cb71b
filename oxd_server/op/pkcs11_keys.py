"""Private keys that lie in a PKCS#11 token and never leave it: the token signs.

They have the interface of the keys of `cryptography`, so that whoever signs need not know where a key lies.

Everything here blocks; call it in a thread. Importing this module needs the extra `pkcs11`.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, NoReturn, Self

import pkcs11
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from joserfc.jwk import ECKey, RSAKey
from pkcs11.util.ec import encode_ec_public_key, encode_ecdsa_signature
from pkcs11.util.rsa import encode_rsa_public_key

from oxd_server.op.errors import ClientAuthenticationError, KeyFileError
from oxd_server.op.jose import MIN_RSA_BITS
from oxd_server.op.key_store import StoredKey
from oxd_server.op.pkcs11_uri import KeyUri, parse_key_uri

__all__ = ["load_token_keys"]

_SHA: Final[dict[object, tuple[str, Any, int]]] = {
    hashes.SHA256: ("SHA256", hashlib.sha256, 32),
    hashes.SHA384: ("SHA384", hashlib.sha384, 48),
    hashes.SHA512: ("SHA512", hashlib.sha512, 64),
}
_CURVES: Final = {
    "secp256r1": ("P-256", hashes.SHA256),
    "secp384r1": ("P-384", hashes.SHA384),
    "secp521r1": ("P-521", hashes.SHA512),
}
_Names = tuple[str | None, bytes | None]
"""What a token is called: its label and its serial number."""
_PROBE: Final = b"oxd-server: does this key sign?"


def load_token_keys(uris: Sequence[str], pin: str | None) -> tuple[StoredKey, ...]:
    """The keys with these PKCS#11 URIs, in their order; each has signed once, so that a wrong one shows now.

    Raises:
        KeyFileError: a URI, the PIN, the library, the token or a key cannot be used; says why.
    """
    keys = tuple(_stored_key(_KeyInToken(parse_key_uri(uri), pin)) for uri in uris)
    if len({key.kid for key in keys}) < len(keys):
        raise KeyFileError("crypt_provider_pkcs11_uris: two URIs name the same key")
    return keys


class _Library:
    """A token's library, and the sessions of this process: one for each token, as a login is the whole process's.

    It serves one caller at a time: it cannot begin anew while it signs.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._sessions: dict[_Names, pkcs11.Session] = {}
        self._refused_pins: set[tuple[_Names, str | None]] = set()

    def run(self, token: _Names, pin: str | None, work: Callable[[pkcs11.Session], bytes]) -> bytes:
        """What `work` returns. A session that was lost, as with a restarted token, is opened again, once.

        Raises ``PKCS11Error``.
        """
        with self._lock:
            session = self._sessions.get(token)
            if session is not None:
                try:
                    return work(session)
                except pkcs11.PKCS11Error:
                    del self._sessions[token]
                    with suppress(pkcs11.PKCS11Error):  # it may be gone already
                        session.close()
            session = self._sessions[token] = self._open(token, pin)
            return work(session)

    def _open(self, token: _Names, pin: str | None) -> pkcs11.Session:
        # A token locks itself after a few wrong PINs: none is tried twice.
        if (token, pin) in self._refused_pins:
            raise pkcs11.PinIncorrect
        try:
            return self._log_in(token, pin)
        except pkcs11.PinIncorrect:
            self._refused_pins.add((token, pin))
            raise
        except pkcs11.PKCS11Error:
            # It may look for tokens only when it begins; that ends the other sessions.
            self._sessions.clear()
            pkcs11.lib(self._module).reinitialize()
            return self._log_in(token, pin)

    def _log_in(self, token: _Names, pin: str | None) -> pkcs11.Session:
        label, serial = token
        found = pkcs11.lib(self._module).get_token(token_label=label, token_serial=serial)
        try:
            return found.open(user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:  # by another name of the same token
            return found.open()


_library = cache(_Library)
"""They stay open: a token allows few sessions, and a reload uses the same ones."""


class _KeyInToken:
    """One private key, by its URI."""

    def __init__(self, uri: KeyUri, pin: str | None) -> None:
        self.uri = uri
        self._pin = pin
        self._library = _library(uri.module)

    def public_der(self) -> bytes:
        """The public key, which lies beside the private one with the same label and id. Raises ``PKCS11Error``."""
        return self._run(self._public_der)

    def _public_der(self, session: pkcs11.Session) -> bytes:
        self._find(session, pkcs11.ObjectClass.PRIVATE_KEY)
        key: Any = self._find(session, pkcs11.ObjectClass.PUBLIC_KEY)
        return encode_rsa_public_key(key) if key.key_type == pkcs11.KeyType.RSA else encode_ec_public_key(key)

    def sign(self, data: bytes, mechanism: pkcs11.Mechanism, param: object = None) -> bytes:
        """The token's signature. Raises ``ClientAuthenticationError``."""

        def work(session: pkcs11.Session) -> bytes:
            key = self._find(session, pkcs11.ObjectClass.PRIVATE_KEY)
            if not isinstance(key, pkcs11.SignMixin):
                raise pkcs11.KeyTypeInconsistent
            return bytes(key.sign(data, mechanism=mechanism, mechanism_param=param))

        try:
            return self._run(work)
        except pkcs11.PKCS11Error as error:
            raise ClientAuthenticationError(f"{self.uri} cannot sign: {_reason(error)}") from error

    def _run(self, work: Callable[[pkcs11.Session], bytes]) -> bytes:
        return self._library.run((self.uri.token, self.uri.serial), self._pin, work)

    def _find(self, session: pkcs11.Session, kind: pkcs11.ObjectClass) -> pkcs11.Object:
        names = {
            pkcs11.Attribute.LABEL: self.uri.label,
            pkcs11.Attribute.ID: self.uri.key_id and bytes.fromhex(self.uri.key_id),
        }
        wanted = {name: value for name, value in names.items() if value is not None}
        # All of them, as a search that does not end holds the session.
        found = list(session.get_objects({pkcs11.Attribute.CLASS: kind, **wanted}))
        if len(found) > 1:
            raise pkcs11.MultipleObjectsReturned
        if not found:
            raise pkcs11.NoSuchKey
        return found[0]


class _StaysInside:
    """What no key in a token does."""

    def __init__(self, place: _KeyInToken) -> None:
        self._place = place

    def private_numbers(self) -> NoReturn:
        raise UnsupportedAlgorithm(f"{self._place.uri} does not leave its token")

    def private_bytes(self, *_: object) -> NoReturn:
        self.private_numbers()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self


class _TokenRsaKey(_StaysInside, rsa.RSAPrivateKey):
    def __init__(self, place: _KeyInToken, public: rsa.RSAPublicKey) -> None:
        super().__init__(place)
        self._public = public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    def sign(self, data: Any, padding: padding.AsymmetricPadding, algorithm: Any) -> bytes:
        """RFC 7518 sections 3.3 and 3.5: in PSS, MGF1 has the same hash, and the salt is as long as its value."""
        name, _, length = _SHA[type(algorithm)]
        if padding.name == "EMSA-PSS":
            mechanism = pkcs11.Mechanism[f"{name}_RSA_PKCS_PSS"]
            return self._place.sign(data, mechanism, (pkcs11.Mechanism[name], pkcs11.MGF[name], length))
        return self._place.sign(data, pkcs11.Mechanism[f"{name}_RSA_PKCS"])

    def decrypt(self, ciphertext: Any, padding: padding.AsymmetricPadding) -> NoReturn:
        raise UnsupportedAlgorithm(f"{self._place.uri} only signs")


class _TokenEcKey(_StaysInside, ec.EllipticCurvePrivateKey):
    def __init__(self, place: _KeyInToken, public: ec.EllipticCurvePublicKey) -> None:
        super().__init__(place)
        self._public = public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """The hash is made here: not every token makes it too."""
        _, digest, _ = _SHA[type(signature_algorithm.algorithm)]
        return encode_ecdsa_signature(self._place.sign(digest(data).digest(), pkcs11.Mechanism.ECDSA))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        raise UnsupportedAlgorithm(f"{self._place.uri} only signs")


def _stored_key(place: _KeyInToken) -> StoredKey:
    try:
        public = load_der_public_key(place.public_der())
        if isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
            return _rsa_key(place, public)
        if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
            return _ec_key(place, public)
    except (pkcs11.PKCS11Error, ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{place.uri}: {_reason(error)}") from error
    except ClientAuthenticationError as error:
        raise KeyFileError(str(error)) from error
    except InvalidSignature as error:
        raise KeyFileError(f"{place.uri}: the public key beside it is another key's") from error
    raise KeyFileError(f"{place.uri}: this key cannot sign (RSA from {MIN_RSA_BITS} bits, EC P-256 to P-521)")


def _rsa_key(place: _KeyInToken, public: rsa.RSAPublicKey) -> StoredKey:
    native, padded, algorithm = _TokenRsaKey(place, public), padding.PKCS1v15(), hashes.SHA256()
    public.verify(native.sign(_PROBE, padded, algorithm), _PROBE, padded, algorithm)
    # The key in joserfc's form is made with its public members: it would ask for the private ones else.
    return _as_stored(RSAKey(native, RSAKey.import_key(public).as_dict(private=False)), None)


def _ec_key(place: _KeyInToken, public: ec.EllipticCurvePublicKey) -> StoredKey:
    curve, hash_of = _CURVES[public.curve.name]
    native, algorithm = _TokenEcKey(place, public), ec.ECDSA(hash_of())
    public.verify(native.sign(_PROBE, algorithm), _PROBE, algorithm)
    return _as_stored(ECKey(native, ECKey(public, public).as_dict(private=False)), curve)


def _as_stored(key: RSAKey | ECKey, curve: str | None) -> StoredKey:
    return StoredKey(key.thumbprint(), key.key_type, curve, None, key, in_hsm=True)


def _reason(error: Exception) -> str:
    match error:
        case pkcs11.PinIncorrect() | pkcs11.PinLenRange() | pkcs11.PinInvalid():
            return "the PIN (crypt_provider_pkcs11_pin) is wrong"
        case pkcs11.PinLocked():
            return "the PIN is locked, after too many wrong ones"
        case pkcs11.NoSuchToken():
            return "its library knows no such token"
        case pkcs11.NoSuchKey():
            return "the token shows no such key with its public key beside it (crypt_provider_pkcs11_pin may be needed)"
        case pkcs11.KeyTypeInconsistent():
            return "it is no key that signs (CKA_SIGN)"
        case pkcs11.MultipleObjectsReturned():
            return "more than one key is called so; name it by object and id"
    return str(error) or type(error).__name__
