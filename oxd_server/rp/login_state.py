"""States and nonces: issuing them and checking them, without remembering any.

A state is sealed, not stored: it carries its own expiry and random bytes under a MAC that also covers the site and
what the state is for. The nonce and the PKCE verifier are derived from it under the same key. So a flood of
``get_authorization_url`` costs no memory, states survive a restart (the key is kept in the store), and one that was
issued for another site, was tampered with or is too old is simply not a state. That each is used once is the store's
job, which remembers ``LoginState.used_token`` until ``expires_at``.

Layout, before base64url: version 1 byte, flags 1 byte, expiry 6 bytes (milliseconds since 1970), random 16 bytes,
MAC 16 bytes. The MAC is BLAKE2b of all before it and of the oxd_id; nonce and verifier are parts of BLAKE2b of the
random bytes; both under the key and personalized for their use (RFC 7693). As the latter two depend on nothing else,
they are made for several states at a time, which costs half as much.
"""

import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from oxd_protocol.discreet import Discreet
from oxd_server.op.authorization import pkce_challenge
from oxd_server.op.base64url import decode_base64url, encode_base64url

__all__ = ["KEY_BYTES", "KEY_NAME", "IssuedState", "LoginState", "Purpose", "States", "expiry_of"]

KEY_BYTES: Final = 32
KEY_NAME: Final = "state"
"""The key's name among the store's secrets."""

_SET_BACK_SECONDS: Final = 60.0

_VERSION: Final = 1
_WITH_PKCE: Final = 1
_SIGNED_RESPONSE: Final = 2
_HEADS: Final = tuple(_VERSION << 56 | flags << 48 for flags in range(4))
_RANDOM_BYTES: Final = 16
_MAC_BYTES: Final = 16
_NONCE_BYTES: Final = 16
_VERIFIER_BYTES: Final = 32
_SEALED_BYTES: Final = 1 + 1 + 6 + _RANDOM_BYTES
_PREPARED: Final = 32
_STATE_CHARACTERS: Final = 54  # 40 bytes in base64url without padding


class Purpose(enum.StrEnum):
    """What a state is for; one that was issued for something else is not accepted."""

    LOGIN = "login"
    CLAIMS_GATHERING = "claims"

    __hash__ = str.__hash__  # that of enumerations is Python code, and every login needs it


class IssuedState(Discreet, frozen=True):
    """What goes into a URL. ``code_challenge`` is None for a request without PKCE."""

    state: str
    nonce: str
    code_challenge: str | None


class LoginState(Discreet, frozen=True):
    """What belongs to a state that came back. ``code_verifier`` is None if the request was made without PKCE."""

    nonce: str
    code_verifier: str | None
    used_token: bytes
    expires_at: float  # seconds since 1970
    redirect_uri: str | None = None  # the one that was used, where that is not the site's first
    signed_response: bool = False  # the OP was asked to answer with a signed JWT


class _Prepared(Discreet, frozen=True):
    random: bytes
    nonce: str
    code_challenge: str


class States:
    """Issues and opens states under one key. ``lifetime`` is in seconds; randomness is passed in."""

    def __init__(self, key: bytes, lifetime: float, random: Callable[[int], bytes]) -> None:
        self._lifetime = lifetime
        self._random = random
        self.use_key(key)

    def use_key(self, key: bytes) -> None:
        """Issue and open under this key from now on; what was issued under the one before opens no more."""
        self._key = key
        self._macs = {use: _keyed(key, use, _MAC_BYTES) for use in Purpose}
        self._secrets = _keyed(key, "secrets", _NONCE_BYTES + _VERIFIER_BYTES)
        self._prepared: list[_Prepared] = []

    def uses(self, key: bytes) -> bool:
        """Return whether this is the key in force."""
        return hmac.compare_digest(key, self._key)

    def issue(
        self,
        oxd_id: str,
        now: float,
        *,
        pkce: bool,
        signed_response: bool = False,
        purpose: Purpose = Purpose.LOGIN,
    ) -> IssuedState:
        """Return a new state for this site. ``now`` is in seconds since 1970."""
        if not self._prepared:
            self._prepared = self._prepare()
        prepared = self._prepared.pop()
        head = _HEADS[pkce | signed_response << 1] + int((now + self._lifetime) * 1000)
        sealed = head.to_bytes(8, "big") + prepared.random
        state = encode_base64url(sealed + self._mac(sealed, oxd_id, purpose))
        return IssuedState(state, prepared.nonce, prepared.code_challenge if pkce else None)

    def open(self, state: str, oxd_id: str, now: float, purpose: Purpose = Purpose.LOGIN) -> LoginState | None:
        """Return what was issued with ``state``, None if it was not issued here for this site or has expired."""
        sealed = self._unseal(state, oxd_id, purpose)
        if sealed is None:
            return None
        expires_at = int.from_bytes(sealed[2:8], "big") / 1000
        # One that expires later than any that is issued now is of a time from which the clock was set back.
        if not now < expires_at <= now + self._lifetime + _SET_BACK_SECONDS:
            return None
        random = sealed[-_RANDOM_BYTES:]
        nonce, verifier = self._derive(random)
        return LoginState(
            nonce,
            verifier if sealed[1] & _WITH_PKCE else None,
            random,
            expires_at,
            signed_response=bool(sealed[1] & _SIGNED_RESPONSE),
        )

    def issued(self, state: str, oxd_id: str, purpose: Purpose = Purpose.LOGIN) -> bool:
        """Return whether ``state`` was issued here for this site, however long ago."""
        return self._unseal(state, oxd_id, purpose) is not None

    def _unseal(self, state: str, oxd_id: str, purpose: Purpose) -> bytes | None:
        # One state has one spelling: what decodes to the same bytes but is written in another way is none.
        raw = decode_base64url(state) if len(state) == _STATE_CHARACTERS else None
        if raw is None:
            return None
        sealed, mac = raw[:_SEALED_BYTES], raw[_SEALED_BYTES:]
        if not hmac.compare_digest(mac, self._mac(sealed, oxd_id, purpose)) or sealed[0] != _VERSION:
            return None
        return sealed

    def _prepare(self) -> list[_Prepared]:
        random = self._random(_PREPARED * _RANDOM_BYTES)
        pieces = [random[start : start + _RANDOM_BYTES] for start in range(0, len(random), _RANDOM_BYTES)]
        derived = [(piece, *self._derive(piece)) for piece in pieces]
        return [_Prepared(piece, nonce, pkce_challenge(verifier)) for piece, nonce, verifier in derived]

    def _derive(self, random: bytes) -> tuple[str, str]:
        """Return nonce and verifier."""
        # 16 bytes of a PRF's output are as unguessable as the 128 bits that a state needs (RFC 6749, section 10.10);
        # a verifier has 43 to 128 characters, letters and digits among them (RFC 7636, section 4.1), and these have 64.
        derived = _digest(self._secrets, random)
        return derived[:_NONCE_BYTES].hex(), derived[_NONCE_BYTES:].hex()

    def _mac(self, sealed: bytes, oxd_id: str, purpose: Purpose) -> bytes:
        return _digest(self._macs[purpose], sealed + oxd_id.encode())  # ``sealed`` always has the same length


def _keyed(key: bytes, use: str, size: int) -> "hashlib.blake2b":
    """Return a MAC that has read its key already; a copy of it reads the message."""
    return hashlib.blake2b(key=key, person=use.encode(), digest_size=size)


def _digest(keyed: "hashlib.blake2b", message: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(message)
    return mac.digest()


def expiry_of(state: str) -> float:
    """Return when a state that was issued here expires, in seconds since 1970, without opening it."""
    return int.from_bytes((decode_base64url(state) or b"")[2:8], "big") / 1000
