"""What is remembered of the tokens that were issued here: their hashes, and whose they are. Pure.

Specification: OpenID Connect Core 1.0, sections 5.3.2 (userinfo) and 12.2 (refreshed id_tokens).
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from oxd_server.op.base64url import decode_base64url, encode_base64url
from oxd_server.op.id_token import EarlierIdToken, IdToken
from oxd_server.op.tokens import TokenAnswer
from oxd_server.store.base import Kept, Login, SiteSession

__all__ = [
    "MAX_HINT_CHARACTERS",
    "after_login",
    "client_named_in",
    "earlier_id_token",
    "hash_of",
    "hint_of",
    "issued_in",
    "login_with",
    "op_of",
    "token_hash",
]

MAX_HINT_CHARACTERS: Final = 6000
"""What of an id_token fits into a URL that browsers and servers take, beside everything else."""

_HASH_BYTES: Final = 16
_JWT_PARTS: Final = 3
_MAX_SUBJECT_CHARACTERS: Final = 255
_DAY: Final = 24 * 3600
_LONGEST_SECONDS: Final = 30 * _DAY
_UNKNOWN_SECONDS: Final = _DAY


def hash_of(text: str) -> str:
    """Return what is kept of a secret text: enough to know it again, useless to anybody else."""
    return encode_base64url(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())


def token_hash(issued_to: str, token: str) -> bytes:
    """Return the hash by which a token is known again; ``issued_to`` keeps apart what different OPs may issue alike."""
    return hashlib.sha256(f"{issued_to}\0{token}".encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]


def login_with(oxd_id: str, id_token: IdToken) -> Login:
    """Return what later answers in the login of this id_token are checked against."""
    nonce = id_token.claims.get("nonce")
    # Core, section 2: the sub "MUST NOT exceed 255 ASCII characters in length". A longer one is not remembered.
    subject = id_token.subject if len(id_token.subject) <= _MAX_SUBJECT_CHARACTERS else None
    return Login(
        oxd_id=oxd_id,
        subject=subject,
        nonce=hash_of(nonce) if isinstance(nonce, str) else None,
        azp=id_token.claims.get("azp") is not None,
    )


def earlier_id_token(login: Login) -> EarlierIdToken:
    """Return what a refreshed id_token has to agree with."""

    def is_nonce(nonce: str) -> bool:
        return login.nonce is not None and hmac.compare_digest(hash_of(nonce), login.nonce)

    return EarlierIdToken(login.subject, is_nonce, login.azp)


def op_of(op_host: str, op_discovery_path: str | None) -> str:
    """Return the OP that issues tokens, as that by which a setup client's tokens are known."""
    return f"{op_host} {op_discovery_path or ''}"


def client_named_in(token: str) -> str:
    """Return the client_id that stands in a token which is a JWT (RFC 9068, section 2.2), "" if none does.

    Nothing of it is checked: it is a hint whom to ask about the token, and no more.
    """
    parts = token.split(".")
    if len(parts) != _JWT_PARTS or len(token) > MAX_HINT_CHARACTERS:
        return ""
    try:
        claims = json.loads(decode_base64url(parts[1]) or b"")
    except (ValueError, RecursionError):
        return ""
    named = claims.get("client_id") or claims.get("azp") if isinstance(claims, dict) else None
    return named if isinstance(named, str) else ""


def issued_in(login: Login, tokens: TokenAnswer, now: float, to: str | None = None) -> tuple[Kept, ...]:
    """Return the tokens to remember of an answer. A refresh token's lifetime is not known: it is remembered longest.

    ``to`` is what they are known by, the site if it is None: see ``token_hash``.
    """
    issued_to = login.oxd_id if to is None else to
    lifetime = min(tokens.expires_in or _UNKNOWN_SECONDS, _LONGEST_SECONDS)
    lifetimes = ((tokens.access_token, lifetime), (tokens.refresh_token, _LONGEST_SECONDS))
    return tuple(
        Kept(hash=token_hash(issued_to, token), what=login, expires_at=now + seconds)
        for token, seconds in _named(lifetimes)
    )


def _named(lifetimes: Iterable[tuple[str | None, int]]) -> Iterable[tuple[str, int]]:
    return ((token, seconds) for token, seconds in lifetimes if token is not None)


def after_login(session: SiteSession, token: str, id_token: IdToken) -> SiteSession:
    """Return the session after a login with this id_token; one that fits into no URL is not kept for the logout."""
    fits = len(token) <= MAX_HINT_CHARACTERS
    subject = hash_of(id_token.subject)
    unknown_before = session.subject is None and session.id_token is not None
    expires_at = id_token.claims["exp"]
    return replace(
        session,
        id_token=token if fits else None,
        id_token_expires_at=int(expires_at) if fits and isinstance(expires_at, int | float) else 0,
        subject=session.subject or subject,
        several_subjects=session.several_subjects or unknown_before or session.subject not in (None, subject),
    )


def hint_of(session: SiteSession, now: float) -> str | None:
    """Return the id_token that may stand in anybody's logout URL at this site, if there is one.

    Whose logout it is, is not known. So it is none as soon as the site has had two users.
    """
    return session.id_token if not session.several_subjects and now < session.id_token_expires_at else None
