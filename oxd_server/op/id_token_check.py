"""The validation of an id_token with the keys that the OP publishes now."""

from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.id_token import Expectations, IdToken, validate_id_token
from oxd_server.op.jose import KeySet, needs_key_set

__all__ = ["check_id_token"]


async def check_id_token(op: OpContext, metadata: ProviderMetadata, token: str, expected: Expectations) -> IdToken:
    """The id_token if it is valid. An unknown key or a bad signature makes us fetch the OP's keys once more.

    Raises:
        IdTokenError: the check that failed.
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse: the keys cannot be had.
    """
    now = op.clock()
    if not needs_key_set(expected.algorithms):
        return validate_id_token(token, KeySet(), expected, now)
    jwks_uri = required(metadata, "jwks_uri")
    return await op.key_sets.verify(
        jwks_uri, lambda keys: validate_id_token(token, keys, expected, now), metadata.reach
    )
