"""An id_token, claim by claim: what each check of the server looks at, and what came of it."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["CHECKS", "Verdict", "verdicts"]


@dataclass(frozen=True)
class _Check:
    """One step of the validation, in the order in which the server goes: OpenID Connect Core 1.0, section 3.1.3.7.

    `refusals` are the values of `details.check` in the server's error when this step fails. `optional`: a claim that
    may be missing.
    """

    claim: str
    wanted: str
    refusals: frozenset[str]
    optional: bool = False


def _check(claim: str, wanted: str, *refusals: str, optional: bool = False) -> _Check:
    return _Check(claim, wanted, frozenset(refusals), optional)


CHECKS: Final = (
    _check("(form)", "a signed JWT of a bearable size", "malformed", "too_large", "encrypted", "not_encrypted",
           "decryption_failed", "critical_header", "bad_type", "missing_claim", "bad_claim_type"),
    _check("alg", "the algorithm that the client registered", "algorithm_not_allowed"),
    _check("kid", "a key that the provider publishes, and one only", "key_not_found", "key_ambiguous", "key_unusable",
           optional=True),
    _check("(signature)", "made with that key", "bad_signature"),
    _check("iss", "the issuer of the provider's metadata, to the letter", "missing_issuer", "bad_issuer"),
    _check("aud", "this client, and no others that are not trusted", "missing_audience", "bad_audience",
           "untrusted_audience"),
    _check("azp", "this client, where it is there", "missing_authorized_party", "bad_authorized_party", optional=True),
    _check("exp", "a time to come", "missing_expiry", "expired"),
    _check("iat", "a time that has passed", "missing_issued_at", "issued_in_the_future"),
    _check("nbf", "a time that has passed, where it is there", "not_yet_valid", optional=True),
    _check("sub", "the user", "missing_subject", "bad_subject"),
    _check("nonce", "the one that this login was begun with", "missing_nonce", "bad_nonce"),
    _check("at_hash", "half a digest of the access token, where it is there", "missing_at_hash", "bad_at_hash",
           optional=True),
    _check("c_hash", "half a digest of the code, where it is there", "missing_c_hash", "bad_c_hash", optional=True),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """One row: `outcome` is passed, refused, not reached, or absent (for a claim that need not be there)."""

    claim: str
    value: str
    wanted: str
    outcome: str


def verdicts(token: str, error: Mapping[str, Any] | None) -> list[Verdict]:
    """What the server made of an id_token; `error` is the data of its error answer, None if it took the token.

    A row for each check, then one for each claim that no check looks at. Nothing for an error that is not about the
    id_token.
    """
    header, claims = _parts(token)
    details = (error or {}).get("details") or {}
    failed = details.get("check")
    place = next((number for number, check in enumerate(CHECKS) if failed in check.refusals), None)
    if error is not None and place is None:
        return []
    values = {**claims, "alg": header.get("alg"), "kid": header.get("kid")}
    rows = [_row(check, values, number, place, details) for number, check in enumerate(CHECKS)]
    looked_at = {check.claim for check in CHECKS}
    others = [(name, value) for name, value in claims.items() if name not in looked_at]
    return [*rows, *(Verdict(name, _text(value), "", "not checked") for name, value in others)]


def _row(
    check: _Check, values: Mapping[str, Any], number: int, place: int | None, details: Mapping[str, Any]
) -> Verdict:
    value, wanted = values.get(check.claim), check.wanted
    if number == place:
        told = [f"expected {details['expected']}" if details.get("expected") else "", str(details["check"])]
        return Verdict(check.claim, _text(value), f"{wanted}: {', '.join(filter(None, told))}", "refused")
    if place is not None and number > place:
        return Verdict(check.claim, _text(value), wanted, "not reached")
    if value is None and check.optional:
        return Verdict(check.claim, "", wanted, "absent")
    return Verdict(check.claim, _text(value), wanted, "passed")


def _parts(token: str) -> Iterable[dict[str, Any]]:
    """Header and claims, as far as they can be read."""
    return [_decoded(part) for part in [*token.split("."), "", ""][:2]]


def _decoded(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
