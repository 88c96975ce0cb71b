"""The userinfo endpoint. Specification: OpenID Connect Core 1.0 section 5.3."""

import re
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from oxd_protocol.discreet import Discreet
from oxd_server.op.answer import Answer, type_name
from oxd_server.op.client_auth import bearer_header, dpop_header
from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required, url_for
from oxd_server.op.dpop import DpopKey
from oxd_server.op.errors import IdTokenCheck, IdTokenError, OpInvalidResponse
from oxd_server.op.id_token import check_audience, check_issuer, check_times
from oxd_server.op.jose import KeySet, allowed_algorithms, needs_key_set, verify_token

__all__ = [
    "UserInfoExpectations",
    "get_userinfo",
    "is_signed",
    "process_userinfo",
    "request_userinfo",
    "userinfo_expectations",
]

STEP = "userinfo"

_OK = 200
_JWT = re.compile(rb'"?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*){2,4}"?')


class UserInfoExpectations(Discreet, frozen=True, kw_only=True):
    """What the answer of the userinfo endpoint is checked against.

    Attributes:
        issuer, client_id: for a signed answer.
        algorithms: those that may sign it.
        client_secret: the HMAC key, for a client that registered an HMAC algorithm.
        must_be_signed: the client registered `userinfo_signed_response_alg`.
        trusted_audiences: other audiences that may stand beside the client.
        subject: the `sub` of the id_token of the same login; None if it is not known.
        leeway: seconds by which clocks may differ, for a signed answer.
        decrypt: opens an encrypted answer, for a client that registered `userinfo_encrypted_response_alg`.
    """

    shows = ("issuer", "client_id", "algorithms")

    issuer: str
    client_id: str
    algorithms: frozenset[str]
    client_secret: str | None = None
    must_be_signed: bool = False
    trusted_audiences: frozenset[str] = frozenset()
    subject: str | None = None
    leeway: float
    decrypt: Callable[[str], str] | None = None


def userinfo_expectations(
    metadata: ProviderMetadata,
    *,
    client_id: str,
    client_secret: str | None = None,
    signed_response_alg: str | None = None,
    subject: str | None = None,
    leeway: float,
    decrypt: Callable[[str], str] | None = None,
) -> UserInfoExpectations:
    """What to expect of the userinfo of a client that registered this `userinfo_signed_response_alg`, or none."""
    published = metadata.userinfo_signing_alg_values_supported or metadata.id_token_signing_alg_values_supported
    return UserInfoExpectations(
        issuer=metadata.issuer,
        client_id=client_id,
        algorithms=allowed_algorithms(signed_response_alg, published),
        client_secret=client_secret,
        must_be_signed=signed_response_alg is not None,
        trusted_audiences=frozenset(metadata.settings.trusted_audiences),
        subject=subject,
        leeway=leeway,
        decrypt=decrypt,
    )


async def get_userinfo(
    op: OpContext,
    metadata: ProviderMetadata,
    access_token: str,
    expected: UserInfoExpectations,
    dpop_key: DpopKey | None = None,
    identity: ClientIdentity | None = None,
) -> dict[str, object]:
    """The claims about the user whom the access token stands for.

    The token may be bound to a key, or to a certificate that the client shows.

    Raises:
        OpMetadataMissing: the OP has no userinfo endpoint.
        OpErrorResponse: the OP refused.
        OpInvalidResponse: the answer failed a check.
        OpHostRefused, OpUnreachable
    """
    answer = _opened(await request_userinfo(op, metadata, access_token, dpop_key, identity), expected)
    if not is_signed(answer) or not needs_key_set(expected.algorithms):
        return process_userinfo(answer, expected, KeySet(), op.clock())
    jwks_uri = required(metadata, "jwks_uri")
    now = op.clock()
    try:
        return await op.key_sets.verify(
            jwks_uri, lambda keys: _signed_claims(answer, expected, keys, now), metadata.reach
        )
    except IdTokenError as error:
        raise _refused(answer, error) from error


async def request_userinfo(
    op: OpContext,
    metadata: ProviderMetadata,
    access_token: str,
    dpop_key: DpopKey | None = None,
    identity: ClientIdentity | None = None,
) -> Answer:
    """The endpoint's answer, not yet validated (Core section 5.3.1; RFC 9449 section 7; RFC 8705 section 3)."""
    url = url_for(metadata, required(metadata, "userinfo_endpoint"), identity)
    scheme = bearer_header if dpop_key is None else dpop_header
    shown = {**scheme(access_token), "accept": "application/json, application/jwt"}

    async def send(headers: dict[str, str]) -> Answer:
        sent = {**shown, **headers}
        return await op.transport.send("GET", url, step=STEP, within=metadata.reach, headers=sent, identity=identity)

    if dpop_key is None:
        return await send({})
    return await op.with_proof(dpop_key, "GET", url, send, access_token=access_token)


def _opened(answer: Answer, expected: UserInfoExpectations) -> Answer:
    """The answer with what was encrypted in it: a signed JWT, or the claims (Core section 5.3.2)."""
    if expected.decrypt is None or answer.status != _OK:
        return answer
    token = answer.body.strip().decode("ascii", "replace")
    try:
        opened = expected.decrypt(token).encode()
    except IdTokenError as error:
        raise _refused(answer, error) from error
    return replace(answer, body=opened, headers={**answer.headers, "content-type": "application/jwt"})


def is_signed(answer: Answer) -> bool:
    """Whether the answer is a JWT (Core section 5.3.2); some servers send it as application/json."""
    body = answer.body.strip()
    says_so = answer.content_type == "application/jwt" and not body.startswith(b"{")
    return answer.status == 200 and (says_so or _JWT.fullmatch(body) is not None)


def process_userinfo(answer: Answer, expected: UserInfoExpectations, keys: KeySet, now: float) -> dict[str, object]:
    """The claims in the answer.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: a check failed.
    """
    answer.expect(200)
    if is_signed(answer):
        try:
            return _signed_claims(answer, expected, keys, now)
        except IdTokenError as error:
            raise _refused(answer, error) from error
    if expected.must_be_signed:
        raise answer.invalid("the client is registered for signed userinfo, and this is not signed", "not_signed")
    claims = answer.json_object()
    if "sub" not in claims:
        answer.refuse_error(claims)
    return _check_subject(answer, claims, expected.subject)


def _signed_claims(answer: Answer, expected: UserInfoExpectations, keys: KeySet, now: float) -> dict[str, object]:
    token = answer.body.strip().strip(b'"').decode("ascii", "replace")
    claims = verify_token(token, keys, expected.algorithms, expected.client_secret).claims
    # Core section 5.3.2: signed userinfo "SHOULD contain the Claims iss (issuer) and aud (audience) as members".
    if claims.get("iss") is not None:
        check_issuer(claims, expected.issuer)
    if claims.get("aud") is not None:
        check_audience(claims, expected.client_id, expected.trusted_audiences)
    if claims.get("exp") is not None:
        check_times({"iat": now, **claims}, now, expected.leeway)
    return _check_subject(answer, claims, expected.subject)


def _check_subject(answer: Answer, claims: Mapping[str, object], expected: str | None) -> dict[str, object]:
    subject = claims.get("sub")
    if subject is None or subject == "":
        raise answer.invalid("the sub is missing", IdTokenCheck.MISSING_SUBJECT)
    # Core section 5.1: sub is a string; a number is another value than the text of its digits in an id_token.
    if not isinstance(subject, str):
        raise answer.invalid(f"the sub is not a text but {type_name(subject)}", IdTokenCheck.BAD_CLAIM_TYPE)
    # Core section 5.3.2: "The sub Claim in the UserInfo Response MUST be verified to exactly match the sub Claim in
    # the ID Token; if they do not match, the UserInfo Response values MUST NOT be used."
    if expected is not None and subject != expected:
        raise answer.invalid("the sub is not that of the id_token", IdTokenCheck.BAD_SUBJECT)
    return dict(claims)


def _refused(answer: Answer, error: IdTokenError) -> OpInvalidResponse:
    return answer.invalid(f"the userinfo is refused: {error}", error.check)
