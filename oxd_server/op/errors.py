"""What can go wrong between us and an OpenID provider (OP).

    OpError
      InvalidOpHost              what was given as op_host is no address of an OP
      OpHostRefused              the configuration forbids talking to that host
      OpMetadataMissing          the OP does not publish what the step needs
      OpUnreachable              no connection, or no answer in time
      OpBusy                     not asked: too many requests to it are under way already
      OpInvalidResponse          an answer that the specifications do not allow
      OpErrorResponse            the OP's own error answer
      IdTokenError               a JWT of the OP failed exactly one named check
        LogoutTokenError         it is a logout token
        DpopProofError           it is a DPoP proof, and not the OP's
      AuthorizationResponseError the authorization response is a JWT that failed exactly one named check
      AuthorizationRefused       the authorization response tells of an error
      IssuerMismatch             the authorization response came from another issuer, or does not say from whom
      ParameterRefused           a caller's parameter would override one of the protocol
      ClientAuthenticationError  the client cannot authenticate in the way it is registered
        ClientSecretExpired      its secret has expired
      MalformedToken             a token from the caller that cannot be one; it was not sent
    KeyFileError                 a trust store or key store cannot be used

No message and no attribute holds a secret: neither tokens, nor client secrets, nor nonces or what is derived
from them. `OpErrorResponse` holds the OP's text, which is shown to the application that caused it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

__all__ = [
    "AuthorizationRefused",
    "AuthorizationResponseError",
    "ClientAuthenticationError",
    "ClientSecretExpired",
    "DpopProofError",
    "Failure",
    "IdTokenCheck",
    "IdTokenError",
    "InvalidOpHost",
    "IssuerMismatch",
    "KeyFileError",
    "LogoutTokenError",
    "MalformedToken",
    "OpBusy",
    "OpError",
    "OpErrorResponse",
    "OpHostRefused",
    "OpInvalidResponse",
    "OpMetadataMissing",
    "OpUnreachable",
    "ParameterRefused",
    "shown",
]

MAX_SHOWN_CHARACTERS = 200
MAX_ERROR_BODY_CHARACTERS = 8192


class OpError(Exception):
    """The OP, or what we were told about it, is at fault."""


class InvalidOpHost(OpError):
    """`op_host` or `op_discovery_path` cannot be turned into a discovery URL."""


class OpHostRefused(OpError):
    """`host` may not be contacted; raised before the first byte is sent."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.reason = reason


class OpMetadataMissing(OpError):
    """The OP publishes no `field`, which the step needs, or one with this `problem`, in words that follow its name."""

    def __init__(self, field: str, problem: str | None = None) -> None:
        super().__init__(f"the OP publishes no {field}" if problem is None else f"the OP's {field} {problem}")
        self.field = field
        self.problem = problem


Failure = Literal["timeout", "dns", "refused", "tls", "proxy", "other"]
"""Why there is no answer: too late, a name without an address, nobody listens, no trust in TLS, a proxy that refuses,
or anything else."""


class OpUnreachable(OpError):
    """The OP at `host` gave no answer in `step`, though the request may have reached it; `cause` sorts the reasons."""

    def __init__(self, host: str, step: str, reason: str, cause: Failure = "other") -> None:
        super().__init__(f"{step} at {host}: {reason}")
        self.host = host
        self.step = step
        self.reason = reason
        self.cause = cause


class OpBusy(OpError):
    """The OP was not asked: too many requests to it are under way or waiting already. `limit`: see `TooBusy`."""

    def __init__(self, reason: str, limit: str) -> None:
        super().__init__(reason)
        self.limit = limit


class OpInvalidResponse(OpError):
    """The OP at `host` answered in `step` with something that the specifications do not allow.

    `check` names the check that failed, where it has a name.
    """

    def __init__(self, host: str, step: str, reason: str, *, check: str | None = None) -> None:
        super().__init__(f"{step} at {host}: {reason}")
        self.host = host
        self.step = step
        self.reason = reason
        self.check = check


class OpErrorResponse(OpError):
    """The OP at `host` answered `step` with an error status.

    `body_text` is bounded; `body_json` is the parsed body where that is a JSON object. `oauth_error` is the
    OP's error code (RFC 6749 section 5.2), or that of its `WWW-Authenticate` header (RFC 6750 section 3).
    """

    def __init__(
        self,
        host: str,
        step: str,
        status: int,
        body_text: str = "",
        body_json: Mapping[str, object] | None = None,
        *,
        challenge_error: str | None = None,
    ) -> None:
        super().__init__(f"{step} at {host}: HTTP status {status}")
        self.host = host
        self.step = step
        self.status = status
        self.body_text = body_text[:MAX_ERROR_BODY_CHARACTERS]
        self.body_json = body_json
        self._challenge_error = challenge_error

    @property
    def oauth_error(self) -> str | None:
        """The OAuth error code, if the OP gave one."""
        code = self.body_json.get("error") if self.body_json is not None else None
        return code if isinstance(code, str) else self._challenge_error


class IdTokenCheck(StrEnum):
    """The checks of a JWT from the OP, each one reason to refuse it."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    ENCRYPTED = "encrypted"
    MISSING_CLAIM = "missing_claim"
    NOT_ENCRYPTED = "not_encrypted"
    DECRYPTION_FAILED = "decryption_failed"
    CRITICAL_HEADER = "critical_header"
    BAD_TYPE = "bad_type"
    ALGORITHM_NOT_ALLOWED = "algorithm_not_allowed"
    KEY_NOT_FOUND = "key_not_found"
    KEY_AMBIGUOUS = "key_ambiguous"
    KEY_UNUSABLE = "key_unusable"
    BAD_SIGNATURE = "bad_signature"
    BAD_CLAIM_TYPE = "bad_claim_type"
    MISSING_ISSUER = "missing_issuer"
    BAD_ISSUER = "bad_issuer"
    MISSING_AUDIENCE = "missing_audience"
    BAD_AUDIENCE = "bad_audience"
    UNTRUSTED_AUDIENCE = "untrusted_audience"
    MISSING_AUTHORIZED_PARTY = "missing_authorized_party"
    BAD_AUTHORIZED_PARTY = "bad_authorized_party"
    MISSING_EXPIRY = "missing_expiry"
    EXPIRED = "expired"
    MISSING_ISSUED_AT = "missing_issued_at"
    ISSUED_IN_THE_FUTURE = "issued_in_the_future"
    NOT_YET_VALID = "not_yet_valid"
    MISSING_SUBJECT = "missing_subject"
    BAD_SUBJECT = "bad_subject"
    MISSING_NONCE = "missing_nonce"
    BAD_NONCE = "bad_nonce"
    MISSING_AT_HASH = "missing_at_hash"
    BAD_AT_HASH = "bad_at_hash"
    MISSING_C_HASH = "missing_c_hash"
    BAD_C_HASH = "bad_c_hash"
    BAD_S_HASH = "bad_s_hash"
    MISSING_EVENT = "missing_event"
    FORBIDDEN_NONCE = "forbidden_nonce"
    MISSING_TOKEN_ID = "missing_jti"
    MISSING_SESSION = "missing_sub_and_sid"
    TOO_OLD = "too_old"
    USED = "used"
    MISSING_PROOF = "missing_proof"
    NOT_BOUND = "not_bound"
    WRONG_KEY = "wrong_key"
    WRONG_METHOD = "wrong_htm"
    WRONG_URL = "wrong_htu"
    WRONG_TOKEN = "wrong_ath"
    NOT_RECENT = "not_recent"


class IdTokenError(OpError):
    """A JWT of the OP failed `check`; `expected` and `actual` are texts to show, or None where they are secret."""

    def __init__(self, check: IdTokenCheck, expected: object = None, actual: object = None) -> None:
        self.check = check
        self.expected = shown(expected)
        self.actual = shown(actual)
        detail = f": expected {self.expected}, got {self.actual}" if self.expected or self.actual else ""
        super().__init__(check.value + detail)


class DpopProofError(IdTokenError):
    """A DPoP proof that came with a token failed a check."""


class LogoutTokenError(IdTokenError):
    """A logout token failed a check."""


class AuthorizationResponseError(OpError):
    """An authorization response that is a JWT failed a check, which is told as for any JWT of the OP."""

    def __init__(self, error: IdTokenError) -> None:
        self.check = error.check
        self.expected = error.expected
        self.actual = error.actual
        super().__init__(str(error))


class AuthorizationRefused(OpError):
    """The OP answered the authorization request with an error (RFC 6749 section 4.1.2.1), in its own words."""

    def __init__(self, error: str, description: str | None) -> None:
        self.error = shown(error) or ""
        self.description = shown(description)
        super().__init__(f"{self.error}: {self.description}" if description else self.error)


class IssuerMismatch(OpError):
    """The `iss` of an authorization response is not the issuer that the request went to, or is missing (RFC 9207)."""

    def __init__(self, expected: str, actual: str | None) -> None:
        self.expected = expected
        self.actual = shown(actual)
        super().__init__(f"expected iss {self.expected}, got {self.actual or 'none'}")


class ParameterRefused(OpError):
    """A custom parameter `name` would override a parameter of the protocol."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is a parameter of the protocol and cannot be set as a custom one")
        self.name = name


class ClientAuthenticationError(OpError):
    """The client lacks what its token endpoint authentication method needs."""


class ClientSecretExpired(ClientAuthenticationError):
    """The client secret expired at `expired_at` (seconds since the epoch); it was not sent."""

    def __init__(self, client_id: str, expired_at: int) -> None:
        super().__init__(f"the secret of client {client_id} expired at {expired_at}")
        self.client_id = client_id
        self.expired_at = expired_at


class MalformedToken(OpError):
    """A token that the caller gave holds characters that no token has; nothing was sent."""


class KeyFileError(Exception):
    """A trust store or key store file cannot be used; the text says why and what to do."""


def shown(value: object) -> str | None:
    """A value from outside as short text for a person, None for None."""
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "..."
