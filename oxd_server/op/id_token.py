"""The validation of an id_token: a chain of checks, each with a reason of its own. Pure.

Specification: OpenID Connect Core 1.0 section 3.1.3.7 (code flow), 3.3.2.11 and 3.3.3.6 (hybrid flow), 12.2
(refreshed id_tokens).
"""

import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum

from authlib.oidc.core.util import create_half_hash

from oxd_protocol.discreet import Discreet
from oxd_server.op.answer import type_name
from oxd_server.op.errors import IdTokenCheck, IdTokenError
from oxd_server.op.jose import Algorithm, KeySet, verify_token
from oxd_server.op.settings import NO_NONCE

__all__ = [
    "DEFAULT_LEEWAY",
    "EarlierIdToken",
    "Expectations",
    "IdToken",
    "Unchecked",
    "check_at_hash",
    "check_audience",
    "check_authorized_party",
    "check_c_hash",
    "check_issuer",
    "check_nonce",
    "check_refreshed",
    "check_s_hash",
    "check_subject",
    "check_times",
    "half_hash",
    "same_secret",
    "tenant_issuer",
    "validate_id_token",
]

DEFAULT_LEEWAY = 60.0
MAX_SECONDS = 10**15


TENANT = "{tenantid}"
_TENANT = re.compile(r"[0-9A-Za-z-]{1,64}")


class Unchecked(Enum):
    """Checks that a caller leaves out on purpose, by name."""

    NONCE = "nonce"
    """No nonce is known: whether the id_token belongs to this login is not checked."""


class EarlierIdToken(Discreet, frozen=True):
    """What a refreshed id_token has to agree with (Core section 12.2).

    Attributes:
        subject: its `sub`, None if that is not known.
        is_nonce: tells whether a nonce is the earlier one.
        azp: whether it had that claim.
    """

    shows = ("subject", "azp")

    subject: str | None
    is_nonce: Callable[[str], bool]
    azp: bool


class Expectations(Discreet, frozen=True, kw_only=True):
    """What an id_token is checked against.

    Attributes:
        issuer: the discovered issuer; compared to the letter.
        client_id: must be in the audience.
        algorithms: from `jose.allowed_algorithms`.
        client_secret: the HMAC key, for a client that registered an HMAC algorithm.
        nonce: the one issued with the state, or `Unchecked.NONCE`.
        access_token, code: issued together with the id_token, for at_hash and c_hash.
        state: sent in the authentication request, for s_hash.
        require_at_hash, require_c_hash: what the flow demands (Core sections 3.2.2.10, 3.3.2.11).
        earlier: what is known of the id_token of the login, when this one was refreshed.
        trusted_audiences: other audiences that may stand beside the client.
        nonce_may_be_missing: the operator says that this OP never sends one; another one than `nonce` stays refused.
        leeway: tolerated difference of the clocks, in seconds.
        accept_expired: for telling what an id_token says, never for a login.
    """

    shows = ("issuer", "client_id", "algorithms")

    issuer: str
    client_id: str
    algorithms: frozenset[str]
    nonce: str | Unchecked
    client_secret: str | None = None
    access_token: str | None = None
    code: str | None = None
    state: str | None = None
    require_at_hash: bool = False
    require_c_hash: bool = False
    earlier: "EarlierIdToken | None" = None
    trusted_audiences: frozenset[str] = frozenset()
    nonce_may_be_missing: bool = False
    leeway: float = DEFAULT_LEEWAY
    accept_expired: bool = False


class IdToken(Discreet, frozen=True):
    """A valid id_token."""

    shows = ("header",)

    header: Mapping[str, object]
    claims: Mapping[str, object]

    @property
    def subject(self) -> str:
        """The user at this OP."""
        return str(self.claims["sub"])


def validate_id_token(token: str, keys: KeySet, expected: Expectations, now: float) -> IdToken:
    """The id_token, if every check passes; `now` in seconds since the epoch.

    Raises:
        IdTokenError: names the first check that failed; nothing else is raised, whatever `token` is.
    """
    signed = verify_token(token, keys, expected.algorithms, expected.client_secret)
    claims = signed.claims
    check_issuer(claims, expected.issuer)
    check_audience(claims, expected.client_id, expected.trusted_audiences)
    check_authorized_party(claims, expected.client_id, expected.trusted_audiences)
    check_times(claims, now, expected.leeway, accept_expired=expected.accept_expired)
    check_subject(claims)
    if expected.earlier is not None:
        check_refreshed(claims, expected.earlier)
    check_nonce(claims, expected.nonce, may_be_missing=expected.nonce_may_be_missing)
    check_at_hash(claims, signed.algorithm, expected.access_token, required=expected.require_at_hash)
    check_c_hash(claims, signed.algorithm, expected.code, required=expected.require_c_hash)
    check_s_hash(claims, signed.algorithm, expected.state)
    return IdToken(signed.header, claims)


def check_issuer(claims: Mapping[str, object], issuer: str) -> None:
    """Core 3.1.3.7 (2): the issuer "MUST exactly match the value of the iss (issuer) Claim"."""
    actual = _text_claim(claims, "iss", IdTokenCheck.MISSING_ISSUER)
    expected = tenant_issuer(issuer, claims.get("tid"))
    if actual != expected:
        raise IdTokenError(IdTokenCheck.BAD_ISSUER, expected, actual)


def tenant_issuer(issuer: str, tenant: object) -> str:
    """The issuer; one with `{tenantid}` in it, which the operator has named, is that of the tenant.

    Entra's common endpoint serves every tenant: the `iss` of a token names the one whose `tid` the token has.
    """
    known = isinstance(tenant, str) and _TENANT.fullmatch(tenant)
    return issuer.replace(TENANT, tenant) if known and isinstance(tenant, str) else issuer


def check_audience(claims: Mapping[str, object], client_id: str, trusted: frozenset[str]) -> None:
    """Check that the id_token is for this client, and for nobody else who is not trusted.

    Core 3.1.3.7 (3): "The ID Token MUST be rejected if the ID Token does not list the Client as a valid audience, or if
    it contains additional audiences not trusted by the Client."
    """
    audiences = _audiences(claims)
    if client_id not in audiences:
        raise IdTokenError(IdTokenCheck.BAD_AUDIENCE, client_id, ", ".join(audiences))
    untrusted = [audience for audience in audiences if audience != client_id and audience not in trusted]
    if untrusted:
        remedy = "(others are trusted if trusted_audiences in op_settings names them)"
        raise IdTokenError(IdTokenCheck.UNTRUSTED_AUDIENCE, f"{client_id} alone {remedy}", ", ".join(untrusted))


def check_authorized_party(claims: Mapping[str, object], client_id: str, trusted: frozenset[str] = frozenset()) -> None:
    """`azp` is there when there are several audiences, and it is the client whenever it is there.

    Some OPs issue for several clients of one project; then it may be another one that the operator trusts.
    """
    party = claims.get("azp")
    if party is None:
        if len(set(_audiences(claims))) > 1:
            raise IdTokenError(IdTokenCheck.MISSING_AUTHORIZED_PARTY, client_id)
    elif party != client_id and not (isinstance(party, str) and party in trusted):
        raise IdTokenError(IdTokenCheck.BAD_AUTHORIZED_PARTY, client_id, party)


def check_times(claims: Mapping[str, object], now: float, leeway: float, *, accept_expired: bool = False) -> None:
    """Check that the id_token is good now.

    Core 3.1.3.7 (9): "The current time MUST be before the time represented by the exp Claim."

    `exp` and `iat` are REQUIRED (Core section 2); `nbf` counts when it is there (RFC 7519 section 4.1.5).
    """
    expires_at = _time_claim(claims, "exp", IdTokenCheck.MISSING_EXPIRY)
    if now >= expires_at + leeway and not accept_expired:
        raise IdTokenError(IdTokenCheck.EXPIRED, f"exp after {_time(now)}", _time(expires_at))
    issued_at = _time_claim(claims, "iat", IdTokenCheck.MISSING_ISSUED_AT)
    if issued_at > now + leeway:
        raise IdTokenError(IdTokenCheck.ISSUED_IN_THE_FUTURE, f"iat before {_time(now)}", _time(issued_at))
    if claims.get("nbf") is not None:
        not_before = _time_claim(claims, "nbf", IdTokenCheck.BAD_CLAIM_TYPE)
        if not_before > now + leeway:
            raise IdTokenError(IdTokenCheck.NOT_YET_VALID, f"nbf before {_time(now)}", _time(not_before))


def check_subject(claims: Mapping[str, object]) -> None:
    """`sub` is REQUIRED (Core section 2)."""
    subject = _text_claim(claims, "sub", IdTokenCheck.MISSING_SUBJECT)
    if not subject:
        raise IdTokenError(IdTokenCheck.MISSING_SUBJECT, "a sub", "an empty one")


def check_refreshed(claims: Mapping[str, object], earlier: EarlierIdToken) -> None:
    """Check that a refreshed id_token speaks of the same login.

    Core 12.2: its `sub` "MUST be the same as in the ID Token issued when the original authentication occurred". It
    should have no nonce, but "if it is present, its value MUST be the same", and "if no azp Claim was present in the
    original ID Token, one MUST NOT be present in the new ID Token".
    """
    if earlier.subject is not None and claims["sub"] != earlier.subject:
        raise IdTokenError(IdTokenCheck.BAD_SUBJECT, "the sub of the earlier id_token", "another one")
    nonce = claims.get("nonce")
    if nonce is not None and not (isinstance(nonce, str) and earlier.is_nonce(nonce)):
        raise IdTokenError(IdTokenCheck.BAD_NONCE, "the nonce of the earlier id_token", "another one")
    if claims.get("azp") is not None and not earlier.azp:
        raise IdTokenError(IdTokenCheck.BAD_AUTHORIZED_PARTY, "no azp, as in the earlier id_token", claims["azp"])


def check_nonce(claims: Mapping[str, object], expected: str | Unchecked, *, may_be_missing: bool = False) -> None:
    """Check that the id_token answers our own request.

    Core 3.1.3.7 (11): a nonce Claim MUST be present "and its value checked to verify that it is the same value as the
    one that was sent in the Authentication Request."
    """
    if isinstance(expected, Unchecked) or (may_be_missing and claims.get("nonce") is None):
        return
    if claims.get("nonce") is None:
        remedy = f"(for an OP that never sends it: {NO_NONCE} in op_exceptions)"
        raise IdTokenError(IdTokenCheck.MISSING_NONCE, f"a claim nonce {remedy}")
    actual = _text_claim(claims, "nonce", IdTokenCheck.MISSING_NONCE)
    if not same_secret(actual, expected):
        raise IdTokenError(IdTokenCheck.BAD_NONCE, "the nonce issued with the state", "another one")


def check_at_hash(
    claims: Mapping[str, object], algorithm: Algorithm, access_token: str | None, *, required: bool = False
) -> None:
    """`at_hash` is the left half of the access token's hash (Core sections 3.1.3.8 and 3.2.2.9)."""
    if claims.get("at_hash") is None:
        if required:
            raise IdTokenError(IdTokenCheck.MISSING_AT_HASH, "at_hash, which this flow requires")
    elif access_token is not None and not _is_half_hash(claims["at_hash"], access_token, algorithm):
        raise IdTokenError(IdTokenCheck.BAD_AT_HASH, "the hash of the access token", "another one")


def check_c_hash(
    claims: Mapping[str, object], algorithm: Algorithm, code: str | None, *, required: bool = False
) -> None:
    """`c_hash` is the left half of the code's hash (Core sections 3.3.2.10 and 3.3.2.11)."""
    if claims.get("c_hash") is None:
        if required:
            raise IdTokenError(IdTokenCheck.MISSING_C_HASH, "c_hash, which this flow requires")
    elif code is not None and not _is_half_hash(claims["c_hash"], code, algorithm):
        raise IdTokenError(IdTokenCheck.BAD_C_HASH, "the hash of the code", "another one")


def check_s_hash(claims: Mapping[str, object], algorithm: Algorithm, state: str | None) -> None:
    """`s_hash` is the left half of the state's hash (Financial-grade API Security Profile 1.0, part 2, section 5.1)."""
    has_both = state is not None and claims.get("s_hash") is not None
    if has_both and not _is_half_hash(claims["s_hash"], state or "", algorithm):
        raise IdTokenError(IdTokenCheck.BAD_S_HASH, "the hash of the state", "another one")


def half_hash(value: str, algorithm: Algorithm) -> str:
    """Base64url of the left half of the hash that belongs to the id_token's algorithm (Core section 3.3.2.11)."""
    # Ed25519 is EdDSA with one curve, and its hash is SHA-512 (RFC 8032 section 5.1).
    digest: bytes = create_half_hash(value, "EdDSA" if "EdDSA" in algorithm.names else algorithm.name)
    return digest.decode("ascii")


def same_secret(one: str, other: str) -> bool:
    """Equality in constant time."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _is_half_hash(actual: object, value: str, algorithm: Algorithm) -> bool:
    return isinstance(actual, str) and same_secret(actual, half_hash(value, algorithm))


def _text_claim(claims: Mapping[str, object], name: str, missing: IdTokenCheck) -> str:
    value = claims.get(name)
    if value is None:
        raise IdTokenError(missing, f"a claim {name}")
    if not isinstance(value, str):
        raise IdTokenError(IdTokenCheck.BAD_CLAIM_TYPE, f"a text as {name}", type_name(value))
    return value


def _time_claim(claims: Mapping[str, object], name: str, missing: IdTokenCheck) -> float:
    value = claims.get(name)
    if value is None:
        raise IdTokenError(missing, f"a claim {name}")
    # JSON numbers may be of any size; beyond any date they are of the wrong kind as well.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_SECONDS:
        raise IdTokenError(IdTokenCheck.BAD_CLAIM_TYPE, f"a number of seconds as {name}", _odd_time(value))
    return float(value)


def _time(seconds: float) -> str:
    """A date for a person, in seconds since 1970 and as ISO 8601."""
    try:
        date = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}, which is beyond the calendar: is it in milliseconds?"
    return f"{seconds:.0f} ({date:%Y-%m-%dT%H:%M:%SZ})"


def _odd_time(value: object) -> str:
    shown = isinstance(value, str | int | float) and not isinstance(value, bool)
    return f"{type_name(value)}, {str(value)[:40]!r}" if shown else type_name(value)


def _audiences(claims: Mapping[str, object]) -> list[str]:
    value = claims.get("aud")
    if value is None or value == []:
        raise IdTokenError(IdTokenCheck.MISSING_AUDIENCE, "a claim aud")
    values = value if isinstance(value, list) else [value]
    texts = [audience for audience in values if isinstance(audience, str)]
    if len(texts) < len(values):
        raise IdTokenError(IdTokenCheck.BAD_CLAIM_TYPE, "a text or texts as aud", type_name(value))
    return texts
