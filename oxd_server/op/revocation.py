"""Telling the OP that a token is no longer needed. Specification: RFC 7009."""

from .answer import Answer
from .client import OpClient
from .client_auth import ClientCredentials
from .discovery import ProviderMetadata, required

STEP = "revocation"


async def revoke_token(
    op: OpClient,
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
    url = required(metadata.revocation_endpoint, "revocation_endpoint")
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
