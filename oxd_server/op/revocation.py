"""The end of a token at the OP. Specification: RFC 7009."""

from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required

__all__ = ["revoke_token"]

STEP = "revocation"


async def revoke_token(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    token: str,
    *,
    token_type_hint: str | None = None,
) -> None:
    """Have the OP end `token`; one that it does not know has ended already.

    Args:
        op: what requests to OPs need.
        metadata: the OP's; it names the endpoint.
        credentials: the client that the token was issued to.
        token: an access or refresh token.
        token_type_hint: which of them (RFC 7009 section 2.1).

    Raises:
        OpMetadataMissing: the OP has no revocation endpoint.
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = required(metadata, "revocation_endpoint")
    form = {"token": token}
    if token_type_hint is not None:
        form["token_type_hint"] = token_type_hint
    answer = await op.post_form(url, metadata, credentials, form, step=STEP)
    # RFC 7009 section 2.2: "The authorization server responds with HTTP status code 200 if the token has been revoked
    # successfully or if the client submitted an invalid token." Its body is ignored.
    answer.expect(200, 204)
