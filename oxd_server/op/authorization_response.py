"""What the OP answers with the user's return, where that is a JWT.

Specification: JWT Secured Authorization Response Mode for OAuth 2.0 (JARM).
"""

from collections.abc import Mapping

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.errors import AuthorizationRefused, AuthorizationResponseError, IdTokenCheck, IdTokenError
from oxd_server.op.id_token import check_audience, check_issuer, check_times
from oxd_server.op.jose import KeySet, allowed_algorithms, needs_key_set, verify_token

__all__ = ["AuthorizationResponse", "check_authorization_response", "process_authorization_response"]


class AuthorizationResponse(Discreet, frozen=True, kw_only=True):
    """The members of a response that are read here; both are secret."""

    code: str
    state: str


async def check_authorization_response(
    op: OpContext,
    metadata: ProviderMetadata,
    token: str,
    *,
    client_id: str,
    client_secret: str | None,
    signed_response_alg: str | None,
    leeway: float,
) -> AuthorizationResponse:
    """The response in the JWT, once it is certain that this OP made it for this client, and not long ago.

    Args:
        op: what requests to OPs need.
        metadata: the OP's.
        token: the signed JWT; one that was encrypted has been decrypted.
        client_id: of the client that it is for.
        client_secret: the HMAC key, for a client that registered an HMAC algorithm.
        signed_response_alg: the `authorization_signed_response_alg` that the client registered, if it did.
        leeway: seconds by which clocks may differ.

    Raises:
        AuthorizationResponseError: a check failed.
        AuthorizationRefused: it is good, and tells of an error.
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse: the keys cannot be had.
    """
    algorithms = allowed_algorithms(signed_response_alg, metadata.authorization_signing_alg_values_supported)
    now = op.clock()

    def check(keys: KeySet) -> Mapping[str, object]:
        claims = verify_token(token, keys, algorithms, client_secret).claims
        # JARM section 2.4: "The client MUST [...] check whether the iss [...] identifies the expected issuer [...]
        # the aud element [...] matches the client id [...] exp": and if not, abort.
        check_issuer(claims, metadata.issuer)
        check_audience(claims, client_id, frozenset())
        check_times({"iat": now, **claims}, now, leeway)
        return claims

    try:
        if needs_key_set(algorithms):
            claims = await op.key_sets.verify(required(metadata, "jwks_uri"), check, metadata.reach)
        else:
            claims = check(KeySet())
    except IdTokenError as error:
        raise AuthorizationResponseError(error) from None
    return process_authorization_response(claims)


def process_authorization_response(claims: Mapping[str, object]) -> AuthorizationResponse:
    """Code and state among the claims.

    Raises:
        AuthorizationRefused: the OP tells of an error (RFC 6749 section 4.1.2.1).
        AuthorizationResponseError: there is none, and no code and state either.
    """
    error = members.text(claims.get("error"))
    if error is not None:
        raise AuthorizationRefused(error, members.text(claims.get("error_description")))
    code, state = members.text(claims.get("code")), members.text(claims.get("state"))
    if code is None or state is None:
        missing = "code" if code is None else "state"
        raise AuthorizationResponseError(IdTokenError(IdTokenCheck.MISSING_CLAIM, f"a claim {missing}"))
    return AuthorizationResponse(code=code, state=state)
