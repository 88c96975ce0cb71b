"""What went wrong at the OP or with the store, in the words of the wire. Pure; only ``dispatch`` uses it."""

from collections.abc import Mapping

from oxd_protocol.errors import HTTP_STATUS_PREFIX, CommandError
from oxd_server.op.errors import (
    AuthorizationRefused,
    AuthorizationResponseError,
    ClientAuthenticationError,
    ClientSecretExpired,
    DpopProofError,
    IdTokenCheck,
    IdTokenError,
    InvalidOpHost,
    IssuerMismatch,
    LogoutTokenError,
    MalformedToken,
    OpBusy,
    OpError,
    OpErrorResponse,
    OpHostRefused,
    OpInvalidResponse,
    OpMetadataMissing,
    OpUnreachable,
    ParameterRefused,
)
from oxd_server.rp.busy import ServerBusy
from oxd_server.store.base import StoreUnavailable

__all__ = ["command_error", "for_a_stranger", "store_error"]

_DISCOVERY_CODES: Mapping[str, str] = {
    "discovery": "no_connect_discovery_response",
    "UMA discovery": "no_uma_discovery_response",
}

_METADATA_CODES: Mapping[str, str] = {
    "end_session_endpoint": "no_end_session_endpoint_at_op",
    "revocation_endpoint": "no_revocation_endpoint_at_op",
}

_OAUTH_CODES = frozenset(
    {
        # RFC 6749, section 5.2; RFC 6750, section 3.1; RFC 7591, section 3.2.2
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "invalid_token", "insufficient_scope", "invalid_redirect_uri", "invalid_client_metadata",
        "invalid_software_statement", "unapproved_software_statement",
    }
)  # fmt: skip

_ID_TOKEN_CODES: Mapping[IdTokenCheck, str] = {
    IdTokenCheck.MISSING_ISSUER: "invalid_id_token_bad_issuer",
    IdTokenCheck.BAD_ISSUER: "invalid_id_token_bad_issuer",
    IdTokenCheck.MISSING_AUDIENCE: "invalid_id_token_bad_audience",
    IdTokenCheck.BAD_AUDIENCE: "invalid_id_token_bad_audience",
    IdTokenCheck.UNTRUSTED_AUDIENCE: "invalid_id_token_bad_audience",
    IdTokenCheck.MISSING_AUTHORIZED_PARTY: "invalid_id_token_bad_audience",
    IdTokenCheck.BAD_AUTHORIZED_PARTY: "invalid_id_token_bad_audience",
    IdTokenCheck.EXPIRED: "invalid_id_token_expired",
    IdTokenCheck.ISSUED_IN_THE_FUTURE: "invalid_id_token_expired",
    IdTokenCheck.NOT_YET_VALID: "invalid_id_token_expired",
    IdTokenCheck.MISSING_NONCE: "invalid_id_token_bad_nonce",
    IdTokenCheck.BAD_NONCE: "invalid_id_token_bad_nonce",
    IdTokenCheck.ALGORITHM_NOT_ALLOWED: "invalid_id_token_bad_signature",
    IdTokenCheck.KEY_NOT_FOUND: "invalid_id_token_bad_signature",
    IdTokenCheck.KEY_AMBIGUOUS: "invalid_id_token_bad_signature",
    IdTokenCheck.KEY_UNUSABLE: "invalid_id_token_bad_signature",
    IdTokenCheck.BAD_SIGNATURE: "invalid_id_token_bad_signature",
    IdTokenCheck.MISSING_AT_HASH: "invalid_access_token_bad_hash",
    IdTokenCheck.BAD_AT_HASH: "invalid_access_token_bad_hash",
    IdTokenCheck.MISSING_C_HASH: "invalid_authorization_code_bad_hash",
    IdTokenCheck.BAD_C_HASH: "invalid_authorization_code_bad_hash",
    IdTokenCheck.BAD_S_HASH: "invalid_state_bad_hash",
}
"""Every other check is told as ``invalid_id_token``; the details name the check in any case."""


def command_error(error: OpError) -> CommandError:
    """Return the wire's error for what the OP did, or for what was wrong about asking it."""
    match error:
        case OpErrorResponse() if error.step not in _DISCOVERY_CODES:
            description = error.body_text or f"The OP answered {error.step} with HTTP status {error.status}."
            return CommandError(f"{HTTP_STATUS_PREFIX}{error.status}", description, _op_details(error))
        case OpBusy():
            return ServerBusy(error.limit, f"The OP was not asked: {error}. Try again shortly.")
        case OpErrorResponse() | OpUnreachable() | OpInvalidResponse():
            return _op_failure(error)
        case DpopProofError():
            return CommandError("invalid_dpop_proof", f"The DPoP proof was refused: {error}.", _checked(error))
        case LogoutTokenError():
            return CommandError("invalid_logout_token", f"The logout token was refused: {error}.", _checked(error))
        case IdTokenError():
            return _id_token_error(error)
        case InvalidOpHost():
            return CommandError("invalid_op_host", f"op_host cannot be used: {error}.")
        case OpHostRefused():
            return CommandError("restricted_op_host", f"The OP was not asked. {error}.", {"host": error.host})
        case OpMetadataMissing():
            return _metadata_error(error)
        case AuthorizationResponseError():
            return CommandError(
                "invalid_authorization_response",
                f"The authorization response was refused: {error}.",
                {"check": error.check.value, "expected": error.expected, "actual": error.actual},
            )
        case AuthorizationRefused():
            return CommandError(
                "authorization_refused",
                f"The OP refused the login: {error}.",
                {"error": error.error, "error_description": error.description},
            )
        case IssuerMismatch():
            return _issuer_error(error)
        case ClientSecretExpired():
            return CommandError(
                "invalid_request",
                f"The OP was not asked: {error}. Extend it with update_site (client_secret_expires_at), or register "
                "the site again.",
                {"client_id": error.client_id, "expired_at": error.expired_at},
            )
        case ClientAuthenticationError():
            return CommandError("invalid_request", f"The site's client cannot authenticate: {error}.")
        case MalformedToken():
            return CommandError("invalid_request", f"The OP was not asked: {error}.")
        case ParameterRefused():
            return CommandError("invalid_request", f"{error}.", {"parameter": error.name})
        case _:
            raise error  # a new kind of OpError: a bug here, to be logged as one


def store_error(_: StoreUnavailable) -> CommandError:
    """Return the wire's error for a store that does not answer; where it is, and why, is for the log."""
    return CommandError("storage_unavailable")


def for_a_stranger(error: OpError) -> CommandError:
    """Return the wire's error for a caller who has shown nothing yet: what came back from where is not told.

    Such a caller names the host that is asked, and must not read other servers' answers through this one. The code of
    OAuth stays, if it is one of the specifications'.
    """
    if not isinstance(error, OpErrorResponse) or error.step in _DISCOVERY_CODES:
        return command_error(error)
    code = error.oauth_error if error.oauth_error in _OAUTH_CODES else None
    return CommandError(
        f"{HTTP_STATUS_PREFIX}{error.status}",
        f"The OP answered {error.step} with HTTP status {error.status}."
        + ("" if code is None else f" It said: {code}."),
        None if code is None else {"error": code},
    )


def _op_failure(error: OpErrorResponse | OpUnreachable | OpInvalidResponse) -> CommandError:
    kind = "op_unreachable" if isinstance(error, OpUnreachable) else "op_invalid_response"
    details = {"host": error.host, "step": error.step, "reason": kind}
    if isinstance(error, OpInvalidResponse) and error.check is not None:
        details["check"] = error.check
    return CommandError(_DISCOVERY_CODES.get(error.step, kind), f"The OP failed: {error}.", details)


def _metadata_error(error: OpMetadataMissing) -> CommandError:
    code = _METADATA_CODES.get(error.field, "op_invalid_response")
    if error.problem is not None:
        description = f"The OP's metadata cannot be used here: {error.field} {error.problem}."
        return CommandError(code, description, {"unusable": error.field})
    return CommandError(code, f"The OP's metadata names no {error.field}.", {"missing": error.field})


def _issuer_error(error: IssuerMismatch) -> CommandError:
    description, check = "The iss parameter of the OP's redirect is not the issuer that the user was sent to.", "iss"
    if error.actual is None:
        description = (
            "The iss parameter of the OP's redirect is missing, and the site requires it. Pass it on as 'iss'."
        )
        check = "missing_iss"
    details = {"check": check, "expected": error.expected, "actual": error.actual}
    return CommandError("invalid_id_token_bad_issuer", description, details)


def _op_details(error: OpErrorResponse) -> dict[str, object] | None:
    if error.body_json is not None:
        return dict(error.body_json)
    return None if error.oauth_error is None else {"error": error.oauth_error}


def _id_token_error(error: IdTokenError) -> CommandError:
    code = _ID_TOKEN_CODES.get(error.check, "invalid_id_token")
    return CommandError(code, f"The id_token was refused: {error}.", _checked(error))


def _checked(error: IdTokenError) -> dict[str, object]:
    return {"check": error.check.value, "expected": error.expected, "actual": error.actual}
