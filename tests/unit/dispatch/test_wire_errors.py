"""Every way in which an OP can fail has a code on the wire, and no text of it holds a secret."""

from collections.abc import Iterator

import pytest

from oxd_protocol.errors import ERROR_CODES
from oxd_server.dispatch.wire_errors import command_error
from oxd_server.op import errors
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

HOST = "op.example.org"
EXAMPLES: list[tuple[OpError, str]] = [
    (InvalidOpHost("op_host is no URL"), "invalid_op_host"),
    (OpHostRefused(HOST, "not allowed"), "restricted_op_host"),
    (OpMetadataMissing("end_session_endpoint"), "no_end_session_endpoint_at_op"),
    (OpMetadataMissing("userinfo_endpoint"), "op_invalid_response"),
    (OpUnreachable(HOST, "token request", "no connection"), "op_unreachable"),
    (OpUnreachable(HOST, "discovery", "no connection"), "no_connect_discovery_response"),
    (OpUnreachable(HOST, "UMA discovery", "no connection"), "no_uma_discovery_response"),
    (OpInvalidResponse(HOST, "userinfo", "no JSON"), "op_invalid_response"),
    (OpInvalidResponse(HOST, "discovery", "no JSON"), "no_connect_discovery_response"),
    (OpErrorResponse(HOST, "token request", 400, "why", {"error": "invalid_grant"}), "http_status_400"),
    (OpErrorResponse(HOST, "userinfo", 401), "http_status_401"),
    (OpErrorResponse(HOST, "discovery", 404, "nothing"), "no_connect_discovery_response"),
    (IdTokenError(IdTokenCheck.EXPIRED, "exp after 5", "4"), "invalid_id_token_expired"),
    (DpopProofError(IdTokenCheck.USED, "a new jti"), "invalid_dpop_proof"),
    (LogoutTokenError(IdTokenCheck.MISSING_EVENT, "an event"), "invalid_logout_token"),
    (IssuerMismatch("https://a", "https://b"), "invalid_id_token_bad_issuer"),
    (IssuerMismatch("https://a", None), "invalid_id_token_bad_issuer"),
    (
        AuthorizationResponseError(IdTokenError(IdTokenCheck.EXPIRED, "exp after 5", "4")),
        "invalid_authorization_response",
    ),
    (AuthorizationRefused("access_denied", "the user said no"), "authorization_refused"),
    (ParameterRefused("state"), "invalid_request"),
    (ClientAuthenticationError("it has no secret"), "invalid_request"),
    (ClientSecretExpired("client-1", 5), "invalid_request"),
    (OpBusy("too many requests", "op_max_requests_per_host"), "server_busy"),
    (MalformedToken("the token holds characters"), "invalid_request"),
]


def _kinds(kind: type[OpError]) -> Iterator[type[OpError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _kinds(sub)


def test_every_kind_has_an_example() -> None:
    """No kind of OpError is left out of the examples below."""
    kinds = {kind for kind in _kinds(OpError) if kind.__module__ == errors.__name__}
    assert kinds == {type(error) for error, _ in EXAMPLES}


@pytest.mark.parametrize(("error", "code"), EXAMPLES, ids=lambda value: str(value)[:50])
def test_each_kind_has_its_code(error: OpError, code: str) -> None:
    """The code is the one that clients compare, and the description is a sentence for a person."""
    translated = command_error(error)
    assert translated.code == code
    assert translated.description.strip()


@pytest.mark.parametrize("check", IdTokenCheck)
def test_each_check_of_an_id_token_has_its_code(check: IdTokenCheck) -> None:
    """Each check has a code of the table, and the details name the check, what was expected and what came."""
    translated = command_error(IdTokenError(check, "this", "that"))
    assert translated.code in ERROR_CODES
    hashes = ("invalid_access_token_bad_hash", "invalid_authorization", "invalid_state_bad_hash")
    assert translated.code.startswith(("invalid_id_token", *hashes))
    assert translated.details == {"check": check.value, "expected": "this", "actual": "that"}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("NONCE", "invalid_id_token_bad_nonce"),
        ("AUDIENCE", "invalid_id_token_bad_audience"),
        ("ISSUER", "invalid_id_token_bad_issuer"),
        ("AT_HASH", "invalid_access_token_bad_hash"),
        ("C_HASH", "invalid_authorization_code_bad_hash"),
        ("S_HASH", "invalid_state_bad_hash"),
    ],
)
def test_a_missing_and_a_bad_one_share_their_code(name: str, code: str) -> None:
    """Whether a claim is missing or wrong, the code names the claim."""
    for check in IdTokenCheck:
        if check.name in (f"MISSING_{name}", f"BAD_{name}"):
            assert command_error(IdTokenError(check)).code == code


def test_what_the_op_said_is_passed_on() -> None:
    """An OAuth error keeps its text and its JSON; without a body the status is told."""
    body = {"error": "invalid_grant", "error_description": "used"}
    told = command_error(OpErrorResponse(HOST, "token request", 400, '{"error": ...}', body))
    assert (told.description, told.details) == ('{"error": ...}', body)
    silent = command_error(OpErrorResponse(HOST, "userinfo", 401, challenge_error="invalid_token"))
    assert silent.details == {"error": "invalid_token"}
    assert "401" in silent.description
    assert command_error(OpErrorResponse(HOST, "userinfo", 503)).details is None


def test_a_failure_names_host_and_step() -> None:
    """Who reads the details knows which host failed in which step, and how."""
    details = command_error(OpUnreachable(HOST, "discovery", "no connection")).details
    assert details == {"host": HOST, "step": "discovery", "reason": "op_unreachable"}


def test_a_new_kind_is_a_bug_here() -> None:
    """A kind of OpError that nobody translated is raised as it is, to be logged with its traceback."""

    class NewKind(OpError):
        pass

    with pytest.raises(NewKind):
        command_error(NewKind("?"))
