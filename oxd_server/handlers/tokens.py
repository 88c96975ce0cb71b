"""The commands about tokens beyond a login."""

from oxd_protocol.connect import EmptyResult
from oxd_protocol.errors import CommandError
from oxd_protocol.tokens import (
    ExchangeTokenParams,
    ExchangeTokenResult,
    GetSiteTokenParams,
    RevokeTokenParams,
    SiteTokenResult,
)
from oxd_server.handlers.targets import targets
from oxd_server.op import revocation, token_exchange
from oxd_server.op.token_exchange import ACCESS_TOKEN, token_type_uri
from oxd_server.op.tokens import UNKNOWN_LIFETIME, request_client_token, told_lifetime, type_of_tokens
from oxd_server.rp.services import Services

__all__ = ["exchange_token", "get_site_token", "revoke_token"]


async def get_site_token(services: Services, params: GetSiteTokenParams) -> SiteTokenResult:
    """Get a token for the site itself, with client credentials (RFC 6749, section 4.4)."""
    site = await services.site(params.oxd_id)
    further = {**targets(params), **({"audience": params.audience} if params.audience else {})}
    metadata = await services.metadata_of(site)
    credentials = services.credentials_of(site)
    scope = " ".join(params.scope) or None
    tokens = await request_client_token(services.op, metadata, credentials, scope=scope, further=further)
    if tokens.access_token is None:
        raise CommandError("no_access_token")
    return SiteTokenResult(
        access_token=tokens.access_token,
        token_type=type_of_tokens(credentials),
        expires_in=told_lifetime(tokens),
        scope=tokens.scope,
    )


async def exchange_token(services: Services, params: ExchangeTokenParams) -> ExchangeTokenResult:
    """Exchange a token for another one (RFC 8693)."""
    site = await services.site(params.oxd_id)
    form = {**_exchanged(params), **targets(params)}
    metadata = await services.metadata_of(site)
    token = await token_exchange.exchange_token(services.op, metadata, services.credentials_of(site), form)
    return ExchangeTokenResult(
        access_token=token.access_token,
        issued_token_type=token.issued_token_type,
        token_type=token.token_type,
        expires_in=UNKNOWN_LIFETIME if token.expires_in is None else token.expires_in,
        refresh_token=token.refresh_token,
        scope=token.scope,
    )


def _exchanged(params: ExchangeTokenParams) -> dict[str, str | tuple[str, ...]]:
    if params.actor_token is None and params.actor_token_type is not None:
        # RFC 8693, section 2.1: actor_token_type "MUST NOT be included when the actor_token parameter is not present".
        raise CommandError("invalid_request", "actor_token_type was given without actor_token.")
    form: dict[str, str | tuple[str, ...]] = {
        "subject_token": params.subject_token,
        "subject_token_type": token_type_uri(params.subject_token_type or ACCESS_TOKEN),
    }
    if params.actor_token is not None:
        form["actor_token"] = params.actor_token
        form["actor_token_type"] = token_type_uri(params.actor_token_type or ACCESS_TOKEN)
    if params.requested_token_type is not None:
        form["requested_token_type"] = token_type_uri(params.requested_token_type)
    if params.audience:
        form["audience"] = params.audience
    return form | ({"scope": " ".join(params.scope)} if params.scope else {})


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
