"""States and nonces: issuing them and checking them, without remembering any.

A state is sealed, not stored: it carries its own expiry and random bytes under a MAC that also covers the site and
what the state is for. The nonce and the PKCE verifier are derived from it under the same key. So a flood of
``get_authorization_url`` costs no memory, states survive a restart (the key is kept in the store), and one that was
issued for another site, was tampered with or is too old is simply not a state. That each is used once is the store's
job, which remembers ``LoginState.used_token`` until ``expires_at``.

Layout, before base64url: version 1 byte, flags 1 byte, expiry 6 bytes (milliseconds since 1970), random 16 bytes,
MAC 16 bytes. MAC, nonce and verifier are BLAKE2b under the key, personalized for their use (RFC 7693).
"""

import base64
import binascii
import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec

__all__ = ["KEY_BYTES", "KEY_NAME", "LoginState", "Purpose", "States"]

KEY_BYTES: Final = 32
KEY_NAME: Final = "state"
"""The key's name among the store's secrets."""

_SET_BACK_SECONDS: Final = 60.0

_VERSION: Final = 1
_WITH_PKCE: Final = 1
_RANDOM_BYTES: Final = 16
_MAC_BYTES: Final = 16
_NONCE_BYTES: Final = 16
_VERIFIER_BYTES: Final = 32
_SEALED_BYTES: Final = 1 + 1 + 6 + _RANDOM_BYTES
_STATE_CHARACTERS: Final = 54  # 40 bytes in base64url without padding


class Purpose(enum.Enum):
    """What a state is for; one that was issued for something else is not accepted."""

    LOGIN = b"login"
    CLAIMS_GATHERING = b"claims"


class LoginState(msgspec.Struct, frozen=True):
    """A state and what belongs to it. ``code_verifier`` is None when the request was made without PKCE."""

    state: str
    nonce: str
    code_verifier: str | None
    used_token: bytes
    expires_at: float  # seconds since 1970

    def __repr__(self) -> str:
        return f"LoginState(expires_at={self.expires_at})"

    def __rich_repr__(self) -> list[tuple[str, float]]:  # msgspec's own would show every field
        return [("expires_at", self.expires_at)]


class States:
    """Issues and opens states under one key. ``lifetime`` is in seconds; randomness is passed in."""

    def __init__(self, key: bytes, lifetime: float, random: Callable[[int], bytes]) -> None:
        self._lifetime = lifetime
        self._random = random
        self.use_key(key)

    def use_key(self, key: bytes) -> None:
        """Issue and open under this key from now on; what was issued under the one before opens no more."""
        self._key = key
        self._macs = {purpose: _keyed(key, purpose.value, _MAC_BYTES) for purpose in Purpose}
        self._nonces = _keyed(key, b"nonce", _NONCE_BYTES)
        self._verifiers = _keyed(key, b"verifier", _VERIFIER_BYTES)

    def uses(self, key: bytes) -> bool:
        """Return whether this is the key in force."""
        return hmac.compare_digest(key, self._key)

    def issue(self, oxd_id: str, now: float, *, pkce: bool, purpose: Purpose = Purpose.LOGIN) -> LoginState:
        """Return a new state for this site. ``now`` is in seconds since 1970."""
        expiry = int((now + self._lifetime) * 1000)
        flags = _WITH_PKCE if pkce else 0
        sealed = bytes((_VERSION, flags)) + expiry.to_bytes(6, "big") + self._random(_RANDOM_BYTES)
        return self._derive(sealed + self._mac(sealed, oxd_id, purpose))

    def open(self, state: str, oxd_id: str, now: float, purpose: Purpose = Purpose.LOGIN) -> LoginState | None:
        """Return what was issued with ``state``, None if it was not issued here for this site or has expired."""
        raw = _decode(state)
        if raw is None:
            return None
        sealed, mac = raw[:_SEALED_BYTES], raw[_SEALED_BYTES:]
        if not hmac.compare_digest(mac, self._mac(sealed, oxd_id, purpose)) or sealed[0] != _VERSION:
            return None
        opened = self._derive(raw)
        # One that expires later than any that is issued now is of a time from which the clock was set back.
        return opened if now < opened.expires_at <= now + self._lifetime + _SET_BACK_SECONDS else None

    def _derive(self, raw: bytes) -> LoginState:
        # 16 bytes of a PRF's output are as unguessable as the 128 bits that a state needs (RFC 6749, section 10.10);
        # a verifier must have at least 43 characters, which are 32 bytes (RFC 7636, section 4.1).
        return LoginState(
            state=_encode(raw),
            nonce=_encode(_digest(self._nonces, raw)),
            code_verifier=_encode(_digest(self._verifiers, raw)) if raw[1] & _WITH_PKCE else None,
            used_token=raw[8:_SEALED_BYTES],
            expires_at=int.from_bytes(raw[2:8], "big") / 1000,
        )

    def _mac(self, sealed: bytes, oxd_id: str, purpose: Purpose) -> bytes:
        return _digest(self._macs[purpose], sealed + oxd_id.encode())  # ``sealed`` always has the same length


def _keyed(key: bytes, use: bytes, size: int) -> "hashlib.blake2b":
    """Return a MAC that has read its key already; a copy of it reads the message."""
    return hashlib.blake2b(key=key, person=use, digest_size=size)


def _digest(keyed: "hashlib.blake2b", message: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(message)
    return mac.digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(state: str) -> bytes | None:
    if len(state) != _STATE_CHARACTERS:
        return None
    try:
        raw = base64.b64decode(state + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    # One state has one spelling: the last character carries bits that decoding ignores.
    return raw if _encode(raw) == state else None
