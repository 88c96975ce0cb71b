"""The validation of a logout token. Specification: OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6."""

from collections.abc import Mapping

from oxd_protocol.discreet import Discreet
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.errors import IdTokenCheck, IdTokenError, LogoutTokenError
from oxd_server.op.id_token import Expectations, check_audience, check_issuer, check_times
from oxd_server.op.jose import PLAIN_TYPES, KeySet, needs_key_set, verify_token

__all__ = ["LOGOUT_EVENT", "MAX_AGE", "LogoutToken", "check_logout_token", "validate_logout_token"]

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

MAX_AGE = 3600.0
"""How many seconds a logout token is good for, whatever its `exp` says: so long its `jti` has to be remembered."""

# Section 2.4: "It is RECOMMENDED that Logout Tokens be explicitly typed." Older OPs call it a JWT.
_TYPES = PLAIN_TYPES | {"logout+jwt"}
_MAX_CHARACTERS = 255


class LogoutToken(Discreet, frozen=True, kw_only=True):
    """A valid logout token; times in seconds since the epoch.

    Attributes:
        subject: the user; None if it names the session only.
        session_id: the `sid`; None if all sessions of the user end.
        good_until: until then it could be sent again.
    """

    shows = ("token_id", "issued_at", "good_until")

    token_id: str
    issued_at: float
    good_until: float
    subject: str | None = None
    session_id: str | None = None


async def check_logout_token(
    op: OpContext, metadata: ProviderMetadata, token: str, expected: Expectations
) -> LogoutToken:
    """The logout token if it is valid; whether it came before is for the caller to find out.

    Args:
        op: what requests to OPs need.
        metadata: the OP's.
        token: as it was received.
        expected: what an id_token of this client is checked against; of it, what both have in common counts.

    Raises:
        LogoutTokenError: the check that failed.
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse: the keys cannot be had.
    """
    now = op.clock()
    try:
        if not needs_key_set(expected.algorithms):
            return validate_logout_token(token, KeySet(), expected, now)
        jwks_uri = required(metadata, "jwks_uri")
        return await op.key_sets.verify(
            jwks_uri, lambda keys: validate_logout_token(token, keys, expected, now), metadata.reach
        )
    except IdTokenError as error:
        raise LogoutTokenError(error.check, error.expected, error.actual) from error


def validate_logout_token(token: str, keys: KeySet, expected: Expectations, now: float) -> LogoutToken:
    """The logout token, if every check of section 2.6 passes; `now` in seconds since the epoch.

    Raises:
        IdTokenError: names the first check that failed; nothing else is raised, whatever `token` is.
    """
    # Section 2.6 (2): "Validate the Logout Token signature in the same way that an ID Token signature is validated";
    # (3): "The alg with the value none MUST NOT be used for Logout Tokens."
    claims = verify_token(token, keys, expected.algorithms, expected.client_secret, types=_TYPES).claims
    # (4): "Validate the iss, aud, iat, and exp Claims in the same way they are validated in ID Tokens."
    check_issuer(claims, expected.issuer)
    check_audience(claims, expected.client_id, expected.trusted_audiences)
    check_times(claims, now, expected.leeway)
    _check_event(claims)
    # (7): "Verify that the Logout Token does not contain a nonce Claim."
    if "nonce" in claims:
        raise IdTokenError(IdTokenCheck.FORBIDDEN_NONCE, "no nonce", "one")
    # Section 2.4: jti is REQUIRED; by it a token is known again (section 2.6 (8)).
    token_id = _text(claims, "jti")
    if token_id is None:
        raise IdTokenError(IdTokenCheck.MISSING_TOKEN_ID, "a jti")
    subject, session_id = _text(claims, "sub"), _text(claims, "sid")
    # (5): "Verify that the Logout Token contains a sub Claim, a sid Claim, or both."
    if subject is None and session_id is None:
        raise IdTokenError(IdTokenCheck.MISSING_SESSION, "a sub or a sid", "neither")
    issued_at = _number(claims["iat"])
    if issued_at + MAX_AGE + expected.leeway <= now:
        raise IdTokenError(IdTokenCheck.TOO_OLD, f"one of the last {MAX_AGE:.0f} seconds", f"iat {issued_at:.0f}")
    good_until = min(_number(claims["exp"]), issued_at + MAX_AGE) + expected.leeway
    return LogoutToken(
        token_id=token_id, issued_at=issued_at, good_until=good_until, subject=subject, session_id=session_id
    )


def _check_event(claims: Mapping[str, object]) -> None:
    # (6): "Verify that the Logout Token contains an events Claim whose value is a JSON object containing the member
    # name http://schemas.openid.net/event/backchannel-logout"; section 2.4: "The corresponding member value MUST be a
    # JSON object".
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise IdTokenError(IdTokenCheck.MISSING_EVENT, f"the event {LOGOUT_EVENT}", "none")


def _text(claims: Mapping[str, object], name: str) -> str | None:
    value = claims.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        raise IdTokenError(IdTokenCheck.BAD_CLAIM_TYPE, f"a text of up to {_MAX_CHARACTERS} characters as {name}")
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)  # `check_times` has seen to it
    return float(value)
