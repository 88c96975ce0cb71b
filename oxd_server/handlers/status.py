"""Commands that only check what an application already holds; nothing is stored, no state is used up."""

import hmac

from oxd_protocol.connect import (
    AccessTokenStatusParams,
    AccessTokenStatusResult,
    EmptyResult,
    IdTokenStatusParams,
    IdTokenStatusResult,
    ValidateParams,
)
from oxd_protocol.errors import CommandError
from oxd_protocol.messages import claims_as_lists
from oxd_server.handlers.connect import expectations, login_of
from oxd_server.handlers.states import refused_state
from oxd_server.op.errors import IdTokenCheck, IdTokenError
from oxd_server.op.id_token import Expectations, IdToken, Unchecked
from oxd_server.op.id_token_check import check_id_token
from oxd_server.rp.decryption import decrypted
from oxd_server.rp.issued import login_with
from oxd_server.rp.named_states import open_state
from oxd_server.rp.services import Services

__all__ = ["access_token_status", "id_token_status", "validate"]

_MILLISECONDS = 1000


async def validate(services: Services, params: ValidateParams) -> EmptyResult:
    """Check that code, state, id_token and access token of one authorization response belong together."""
    site = await services.site(params.oxd_id)
    login = await open_state(services, site, params.state)
    if login is None:
        raise refused_state(services, params.state, site.oxd_id, "invalid_state")
    if params.nonce is not None and not hmac.compare_digest(params.nonce.encode(), login.nonce.encode()):
        raise CommandError("invalid_nonce", "'nonce' is not the one that was issued with the state.")
    metadata = await services.metadata_of(site)
    # Core 1.0, section 3.3.2.11: what the authorization endpoint issues beside an id_token, the id_token has a hash of.
    issued = site.client.response_type.split()
    expected = expectations(
        services,
        site,
        metadata,
        login.nonce,
        access_token=params.access_token,
        code=params.code,
        require_c_hash="id_token" in issued,
        require_at_hash="id_token" in issued and "token" in issued,
    )
    token = decrypted(services, site, "id_token", params.id_token)
    await check_id_token(services.op, metadata, token, expected)
    return EmptyResult()


async def id_token_status(services: Services, params: IdTokenStatusParams) -> IdTokenStatusResult:
    """Tell what an id_token says and whether it still holds; one that is not valid at all is an error."""
    site = await services.site(params.oxd_id)
    metadata = await services.metadata_of(site)
    expected = expectations(
        services,
        site,
        metadata,
        params.nonce or Unchecked.NONCE,
        access_token=params.access_token,
        code=params.code,
        state=params.state,
        accept_expired=True,
    )
    token = decrypted(services, site, "id_token", params.id_token, from_op=False)
    id_token = await check_id_token(services.op, metadata, token, expected)
    expires_at, issued_at = _times(id_token)
    return IdTokenStatusResult(
        active=services.now() < expires_at,
        expires_at=expires_at,
        issued_at=issued_at,
        claims=claims_as_lists(id_token.claims),
    )


async def access_token_status(services: Services, params: AccessTokenStatusParams) -> AccessTokenStatusResult:
    """Tell whether the access token is the one that came with the id_token, and whether that still holds.

    An id_token without at_hash, which the code flow allows, does not say it; then the site's last login does, if it
    was that one.
    """
    belongs = True
    try:
        id_token = await _check(services, params.oxd_id, params.id_token, params.access_token)
    except IdTokenError as error:
        session = await services.store.session(params.oxd_id)
        if error.check is IdTokenCheck.BAD_AT_HASH:
            belongs = False
        elif error.check is not IdTokenCheck.MISSING_AT_HASH or session.id_token != params.id_token:
            raise
        id_token = await _check(services, params.oxd_id, params.id_token)
        belongs = belongs and await _is_of_login(services, params, id_token)
    expires_at, issued_at = _times(id_token)
    return AccessTokenStatusResult(
        active=belongs and services.now() < expires_at,
        expires_at=expires_at * _MILLISECONDS,
        issued_at=issued_at * _MILLISECONDS,
    )


async def _is_of_login(services: Services, params: AccessTokenStatusParams, id_token: IdToken) -> bool:
    """Return whether the access token was issued in the id_token's login."""
    site = await services.site(params.oxd_id)
    return await login_of(services, site, params.access_token) == login_with(site.oxd_id, id_token)


async def _check(services: Services, oxd_id: str, token: str, access_token: str | None = None) -> IdToken:
    site = await services.site(oxd_id)
    metadata = await services.metadata_of(site)
    expected: Expectations = expectations(
        services,
        site,
        metadata,
        Unchecked.NONCE,
        access_token=access_token,
        require_at_hash=access_token is not None,
        accept_expired=True,
    )
    token = decrypted(services, site, "id_token", token, from_op=False)
    return await check_id_token(services.op, metadata, token, expected)


def _times(id_token: IdToken) -> tuple[int, int]:
    """Return exp and iat, which the validation has found to be numbers."""
    exp, iat = id_token.claims["exp"], id_token.claims["iat"]
    assert isinstance(exp, int | float)
    assert isinstance(iat, int | float)
    return int(exp), int(iat)
