"""Telling the OP that a token is no longer needed. Specification: RFC 7009."""

from oxd_server.op.answer import Answer
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required

STEP = "revocation"


async def revoke_token(
    op: OpContext,
    metadata: ProviderMetadata,
    credentials: ClientCredentials,
    token: str,
    *,
    token_type_hint: str | None = None,
) -> None:
    """Revoke an access or refresh token (RFC 7009 section 2.1).

    Raises:
        OpMetadataMissing: the OP has no revocation endpoint.
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = required(metadata, "revocation_endpoint")
    form = {"token": token}
    if token_type_hint is not None:
        form["token_type_hint"] = token_type_hint
    process_revocation(await op.post_form(url, metadata, credentials, form, step=STEP))


def process_revocation(answer: Answer) -> None:
    """RFC 7009 section 2.2: status 200, for an unknown token too; the body is ignored.

    Raises:
        OpErrorResponse: the OP refused.
        OpInvalidResponse: another status.
    """
    answer.expect(200)
