"""States and nonces: issuing them and checking them, without remembering any.

A state is sealed, not stored: it carries its own expiry and random bytes under a MAC that also covers the site and
what the state is for. The nonce and the PKCE verifier are derived from it under the same key. So a flood of
``get_authorization_url`` costs no memory, states survive a restart (the key is kept in the store), and one that was
issued for another site, was tampered with or is too old is simply not a state. That each is used once is the store's
job, which remembers ``LoginState.used_token`` until ``expires_at``.

Layout, before base64url: version 1 byte, flags 1 byte, expiry 6 bytes (milliseconds since 1970), random 16 bytes,
MAC 16 bytes. MAC, nonce and verifier are the parts of one BLAKE2b digest of all before the MAC and of the oxd_id, under
the key and personalized for the purpose (RFC 7693): parts of a PRF's output say nothing of one another.
"""

import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from oxd_server.op.base64url import decode_base64url, encode_base64url

__all__ = ["KEY_BYTES", "KEY_NAME", "LoginState", "Purpose", "States"]

KEY_BYTES: Final = 32
KEY_NAME: Final = "state"
"""The key's name among the store's secrets."""

_SET_BACK_SECONDS: Final = 60.0

_VERSION: Final = 1
_WITH_PKCE: Final = 1
_HEADS: Final = (_VERSION << 56, _VERSION << 56 | _WITH_PKCE << 48)
_RANDOM_BYTES: Final = 16
_MAC_BYTES: Final = 16
_NONCE_BYTES: Final = 16
_VERIFIER_BYTES: Final = 32
_END_OF_NONCE: Final = _MAC_BYTES + _NONCE_BYTES
_SEALED_BYTES: Final = 1 + 1 + 6 + _RANDOM_BYTES
_STATE_CHARACTERS: Final = 54  # 40 bytes in base64url without padding


class Purpose(enum.StrEnum):
    """What a state is for; one that was issued for something else is not accepted."""

    LOGIN = "login"
    CLAIMS_GATHERING = "claims"


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
        size = _END_OF_NONCE + _VERIFIER_BYTES
        self._keyed = {use: hashlib.blake2b(key=key, person=use.encode(), digest_size=size) for use in Purpose}

    def uses(self, key: bytes) -> bool:
        """Return whether this is the key in force."""
        return hmac.compare_digest(key, self._key)

    def issue(self, oxd_id: str, now: float, *, pkce: bool, purpose: Purpose = Purpose.LOGIN) -> LoginState:
        """Return a new state for this site. ``now`` is in seconds since 1970."""
        head = _HEADS[pkce] + int((now + self._lifetime) * 1000)
        sealed = head.to_bytes(8, "big") + self._random(_RANDOM_BYTES)
        return _login_state(sealed, self._derive(sealed, oxd_id, purpose))

    def open(self, state: str, oxd_id: str, now: float, purpose: Purpose = Purpose.LOGIN) -> LoginState | None:
        """Return what was issued with ``state``, None if it was not issued here for this site or has expired."""
        # One state has one spelling: what decodes to the same bytes but is written in another way is none.
        raw = decode_base64url(state) if len(state) == _STATE_CHARACTERS else None
        if raw is None:
            return None
        sealed, mac = raw[:_SEALED_BYTES], raw[_SEALED_BYTES:]
        derived = self._derive(sealed, oxd_id, purpose)
        if not hmac.compare_digest(mac, derived[:_MAC_BYTES]) or sealed[0] != _VERSION:
            return None
        opened = _login_state(sealed, derived)
        # One that expires later than any that is issued now is of a time from which the clock was set back.
        return opened if now < opened.expires_at <= now + self._lifetime + _SET_BACK_SECONDS else None

    def _derive(self, sealed: bytes, oxd_id: str, purpose: Purpose) -> bytes:
        digest = self._keyed[purpose].copy()  # it has read the key already
        digest.update(sealed + oxd_id.encode())  # ``sealed`` always has the same length
        return digest.digest()


def _login_state(sealed: bytes, derived: bytes) -> LoginState:
    # 16 bytes of a PRF's output are as unguessable as the 128 bits that a state needs (RFC 6749, section 10.10);
    # a verifier has 43 to 128 characters, letters and digits among them (RFC 7636, section 4.1), and these have 64.
    return LoginState(
        encode_base64url(sealed + derived[:_MAC_BYTES]),
        derived[_MAC_BYTES:_END_OF_NONCE].hex(),
        derived[_END_OF_NONCE:].hex() if sealed[1] & _WITH_PKCE else None,
        sealed[-_RANDOM_BYTES:],
        int.from_bytes(sealed[2:8], "big") / 1000,
    )
