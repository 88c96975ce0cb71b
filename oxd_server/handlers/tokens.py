"""The commands about tokens beyond a login."""

from oxd_protocol.connect import EmptyResult
from oxd_protocol.tokens import RevokeTokenParams
from oxd_server.op import revocation
from oxd_server.rp.services import Services

__all__ = ["revoke_token"]


async def revoke_token(services: Services, params: RevokeTokenParams) -> EmptyResult:
    """End a token at the OP (RFC 7009)."""
    site = await services.site(params.oxd_id)
    metadata = await services.metadata_of(site)
    await revocation.revoke_token(
        services.op,
        metadata,
        services.credentials_of(site),
        params.token,
        token_type_hint=params.token_type_hint,
    )
    return EmptyResult()
