"""Base64url without padding, as tokens, PKCE and states are written (RFC 7515, section 2)."""

import base64
import binascii
import re

__all__ = ["decode_base64url", "encode_base64url"]

_TEXT = re.compile(r"[A-Za-z0-9_-]*")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def encode_base64url(data: bytes) -> str:
    """The text of the bytes."""
    # Every login has two of them: the functions of the module base64 would take twice as long on the way to this one.
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_URL_SAFE).decode("ascii")


def decode_base64url(text: str) -> bytes | None:
    """The bytes of the text, or None if an encoder would not have written it so."""
    if not _TEXT.fullmatch(text) or len(text) % 4 == 1:
        return None
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if encode_base64url(data) == text else None
