"""DPoP: proofs that whoever shows a token has the key that it is bound to. Pure. Specification: RFC 9449.

A client makes a proof for each request; a resource server checks it. Both are here.
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from joserfc.jwk import ECKey, OKPKey, RSAKey

from oxd_protocol.discreet import Discreet
from oxd_server.op.base64url import encode_base64url
from oxd_server.op.errors import DpopProofError, IdTokenCheck, IdTokenError
from oxd_server.op.jose import ALGORITHMS, Algorithm, JwkKey, header_of, parse_key_set, sign_token, verify_token
from oxd_server.op.reach import origin_of

__all__ = ["DpopKey", "ProofReplays", "load_dpop_key", "new_dpop_key", "same_target", "sign_proof", "verify_proof"]

PROOF_SECONDS = 60.0
"""How old a proof may be, beside what clocks may differ. Section 11.1: "only for a limited time window"."""

_TYPE = "dpop+jwt"
_MAX_PROOF_CHARACTERS = 8192
_MAX_TOKEN_ID_CHARACTERS = 255
_ASYMMETRIC = frozenset(name for name, algorithm in ALGORITHMS.items() if not algorithm.symmetric)
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


# --- the client ------------------------------------------------------------------------------


class DpopKey(Discreet, frozen=True):
    """A client's key; `public` is what a proof shows of it, `thumbprint` what a token is bound to (section 6.1)."""

    shows = ("algorithm", "public", "thumbprint")

    key: JwkKey
    algorithm: Algorithm
    public: dict[str, Any]
    thumbprint: str


_MAKERS: dict[str, Callable[[], JwkKey]] = {
    "ES256": lambda: ECKey.generate_key("P-256", private=True),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519", private=True),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519", private=True),
    "PS256": lambda: RSAKey.generate_key(2048, private=True),
    "RS256": lambda: RSAKey.generate_key(2048, private=True),
}


def new_dpop_key(listed: Iterable[str]) -> str:
    """A new private key as the text of a JWK, for the first algorithm here that the OP lists, else for ES256.

    It may take a while: call it in a thread.
    """
    supported = set(listed)
    name = next((name for name in _MAKERS if name in supported), "ES256")
    return msgspec.json.encode({**_MAKERS[name]().as_dict(private=True), "alg": name}).decode()


@lru_cache(maxsize=1000)
def load_dpop_key(text: str) -> DpopKey:
    """The key that `new_dpop_key` made."""
    jwk = msgspec.json.decode(text, type=dict[str, Any])
    kinds: dict[str, type[JwkKey]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
    algorithm = ALGORITHMS[jwk.pop("alg")]
    key = kinds[algorithm.key_type].import_key(jwk)
    public = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    return DpopKey(key, algorithm, public, key.thumbprint())


def sign_proof(
    key: DpopKey,
    method: str,
    url: str,
    now: float,
    random: Callable[[int], bytes],
    *,
    access_token: str | None = None,
    nonce: str | None = None,
) -> str:
    """The proof for one request (section 4.2).

    Args:
        key: the client's.
        method: the HTTP method.
        url: where the request goes; its query and fragment do not count.
        now: seconds since the epoch.
        random: gives that many unguessable bytes.
        access_token: the token that goes with the request.
        nonce: what the server asked for.
    """
    claims: dict[str, object] = {
        "jti": encode_base64url(random(16)),
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": int(now),
    }
    if access_token is not None:
        claims["ath"] = _hash_of(access_token)
    if nonce is not None:
        claims["nonce"] = nonce
    return sign_token({"typ": _TYPE, "jwk": key.public}, claims, key.algorithm, key.key)


def _hash_of(access_token: str) -> str:
    """Section 4.2: ath is "the base64url encoding of the SHA-256 hash of the ASCII encoding" of the token."""
    return encode_base64url(hashlib.sha256(access_token.encode("utf-8", "surrogatepass")).digest())


# --- the resource server ---------------------------------------------------------------------


def verify_proof(
    proof: str, *, method: str, url: str, access_token: str, thumbprint: str | None, now: float, leeway: float
) -> str:
    """Check a proof that came with a token (section 4.3), and return what it is known by if it comes again.

    Args:
        proof: the one DPoP header of the request.
        method: the request's method.
        url: its URL, as the client knows it.
        access_token: the token of the request.
        thumbprint: `cnf.jkt` of the token; None: it is bound to no key.
        now: seconds since the epoch.
        leeway: seconds by which clocks may differ.

    Raises:
        DpopProofError: the check that failed.
    """
    try:
        return _verify(proof, method, url, access_token, thumbprint, now, leeway)
    except IdTokenError as error:
        raise DpopProofError(error.check, error.expected, error.actual) from error


def _verify(
    proof: str, method: str, url: str, access_token: str, thumbprint: str | None, now: float, leeway: float
) -> str:
    # Section 7.1: the resource server checks "that the access token is bound to the public key of the DPoP proof".
    if thumbprint is None:
        raise IdTokenError(IdTokenCheck.NOT_BOUND, "a token that is bound to a key", "one that is not")
    if len(proof) > _MAX_PROOF_CHARACTERS:
        raise IdTokenError(IdTokenCheck.TOO_LARGE, f"at most {_MAX_PROOF_CHARACTERS} characters", str(len(proof)))
    jwk = header_of(proof).get("jwk")
    # (7): "The jwk JOSE Header Parameter does not contain a private key."
    if not isinstance(jwk, dict) or _PRIVATE_MEMBERS & jwk.keys():
        raise IdTokenError(IdTokenCheck.KEY_UNUSABLE, "a public key as jwk", "none, or more than that")
    keys = parse_key_set({"keys": [{name: value for name, value in jwk.items() if name != "kid"}]})
    assert keys is not None
    # (4), (5), (6): the type, an asymmetric algorithm, and the signature "verifies with the public key contained in
    # the jwk JOSE Header Parameter".
    claims = verify_token(proof, keys, _ASYMMETRIC, types=frozenset({_TYPE})).claims
    actual = keys.keys[0].key.thumbprint()
    if not _equal(actual, thumbprint):
        raise IdTokenError(IdTokenCheck.WRONG_KEY, "the key that the token is bound to", "another one")
    _check_request(claims, method, url)
    _check_time(claims.get("iat"), now, leeway)
    # (12): "ensure that the value of the ath claim equals the hash of that access token".
    ath = claims.get("ath")
    if not isinstance(ath, str) or not _equal(ath, _hash_of(access_token)):
        raise IdTokenError(IdTokenCheck.WRONG_TOKEN, "the hash of the token as ath", "another one, or none")
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= _MAX_TOKEN_ID_CHARACTERS:
        raise IdTokenError(IdTokenCheck.MISSING_TOKEN_ID, "a jti")
    return f"{actual} {token_id}"


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _check_request(claims: dict[str, object], method: str, url: str) -> None:
    # (8): "The htm claim matches the HTTP method of the current request."
    if claims.get("htm") != method:
        raise IdTokenError(IdTokenCheck.WRONG_METHOD, f"htm {method}", claims.get("htm"))
    # (9): "The htu claim matches the HTTP URI value for the HTTP request in which the JWT was received, ignoring any
    # query and fragment parts."
    target = claims.get("htu")
    if not isinstance(target, str) or not same_target(target, url):
        raise IdTokenError(IdTokenCheck.WRONG_URL, f"htu {url.partition('?')[0]}", target)


def _check_time(issued_at: object, now: float, leeway: float) -> None:
    # (11): "The creation time of the JWT [...] is within an acceptable window."
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        raise IdTokenError(IdTokenCheck.MISSING_ISSUED_AT, "an iat")
    if not now - PROOF_SECONDS - leeway <= issued_at <= now + leeway:
        raise IdTokenError(IdTokenCheck.NOT_RECENT, f"an iat near {now:.0f}", str(issued_at))


def same_target(one: str, other: str) -> bool:
    """Whether two URLs mean the same target, without their queries and fragments.

    Section 4.3: servers "SHOULD employ syntax-based normalization and scheme-based normalization" (RFC 3986 sections
    6.2.2 and 6.2.3).
    """
    target = _normal(one)
    return target is not None and target == _normal(other)


def _normal(url: str) -> str | None:
    origin = origin_of(url)
    if not origin.startswith(("https://", "http://")):
        return None
    path = _ESCAPE.sub(_normal_escape, urlsplit(url).path)
    return origin + _without_dots(path)


def _normal_escape(escape: re.Match[str]) -> str:
    character = unquote(escape.group(), "latin-1")
    return character if _UNRESERVED.fullmatch(character) else escape.group().upper()


def _without_dots(path: str) -> str:
    """The path without the segments `.` and `..` (RFC 3986 section 5.2.4); an empty one is `/`."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


class ProofReplays:
    """The proofs that came, until they are too old to come again: so many of them at most."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, name: str, now: float, leeway: float) -> bool:
        """Whether a proof comes for the first time; of more than fit in, the last ones count as seen.

        Section 11.1: so a proof that was stolen is worth nothing once it was used.
        """
        while self._seen and next(iter(self._seen.values())) <= now:
            self._seen.popitem(last=False)
        key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16]
        if key in self._seen or len(self._seen) >= self._capacity:
            return False
        self._seen[key] = now + PROOF_SECONDS + 2 * leeway
        return True
