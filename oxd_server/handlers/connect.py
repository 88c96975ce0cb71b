"""The OpenID Connect commands. The checks live in ``op``; here they are put together."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from oxd_protocol.connect import (
    GET_TOKENS_BY_CODE,
    ClaimsOfUser,
    GetAccessTokenByRefreshTokenParams,
    GetLogoutUriParams,
    GetLogoutUriResult,
    GetTokensByCodeParams,
    GetUserInfoParams,
    IssuedTokens,
    RefreshedTokenResult,
)
from oxd_protocol.errors import CommandError
from oxd_protocol.messages import Response, check_fits
from oxd_server.handlers.client_authentication import method_that_counts
from oxd_server.handlers.states import refused_state, used_state
from oxd_server.handlers.targets import targets
from oxd_server.op.authorization import check_authorization_response_iss
from oxd_server.op.authorization_response import AuthorizationResponse, check_authorization_response
from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.context import Form
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.errors import AuthorizationResponseError, IdTokenCheck, IdTokenError, OpError, ParameterRefused
from oxd_server.op.id_token import EarlierIdToken, Expectations, IdToken, Unchecked
from oxd_server.op.id_token_check import check_id_token
from oxd_server.op.jose import allowed_algorithms
from oxd_server.op.logout import end_session_url
from oxd_server.op.settings import NO_NONCE, NO_TOKEN_TYPE
from oxd_server.op.tokens import TokenAnswer, exchange_code, refresh_tokens, told_lifetime
from oxd_server.op.userinfo import get_userinfo, userinfo_expectations
from oxd_server.rp.decryption import decrypted
from oxd_server.rp.issued import (
    MAX_HINT_CHARACTERS,
    after_login,
    earlier_id_token,
    hint_of,
    issued_in,
    login_with,
    token_hash,
)
from oxd_server.rp.login_state import LoginState
from oxd_server.rp.named_states import open_state
from oxd_server.rp.services import Services
from oxd_server.rp.site_as_client import as_registered, dpop_key_of, encryption_of
from oxd_server.store.base import Login, Site, StoreError

__all__ = [
    "expectations",
    "get_access_token_by_refresh_token",
    "get_logout_uri",
    "get_tokens_by_code",
    "get_user_info",
    "keep_unrequested_login",
    "login_of",
]

_NOT_SIGNED = (
    "This login asked for a signed response (response_mode jwt). Pass its 'response' on, in place of code and state."
)
_GOOGLE = "https://accounts.google.com"
_GOOGLE_LOGOUT = "https://www.google.com/accounts/Logout?continue=https://appengine.google.com/_ah/logout"


async def get_tokens_by_code(services: Services, params: GetTokensByCodeParams) -> IssuedTokens:
    """Turn code and state into tokens. The state is used up unless the OP never gave tokens for it."""
    site = await services.site(params.oxd_id)
    metadata = None
    if params.response is None:
        response = AuthorizationResponse(code=params.code, state=params.state)
    else:
        metadata = await services.metadata_of(site)
        response = await _signed_response(services, site, metadata, params.response)
    login = await open_state(services, site, response.state)
    if login is None:
        raise refused_state(services, response.state, site.oxd_id, "bad_request")
    if login.signed_response and params.response is None:
        raise CommandError("invalid_authorization_response", _NOT_SIGNED, {"check": "not_signed"})
    credentials, further = _credentials(services, site, params), targets(params)
    metadata = metadata or await services.metadata_of(site)
    # JARM, section 2.4: a signed response has an iss of its own, which has been checked.
    iss_is_required = site.authorization_response_iss_required and params.response is None
    check_authorization_response_iss(params.iss, metadata, is_required=iss_is_required)
    if not await services.logins.consume(login):
        raise used_state("bad_request")
    try:
        tokens = await exchange_code(
            services.op,
            metadata,
            credentials,
            code=response.code,
            redirect_uri=login.redirect_uri or site.client.redirect_uri or "",
            code_verifier=login.code_verifier,
            further=further,
        )
    except OpError:
        await services.logins.give_back(login)
        raise
    return await _accept_tokens(services, site, metadata, login, response.code, tokens)


async def _signed_response(
    services: Services, site: Site, metadata: ProviderMetadata, token: str
) -> AuthorizationResponse:
    """Return what is in a signed authorization response. Raises ``AuthorizationResponseError`` and its like."""
    try:
        signed = decrypted(services, site, "authorization", token)
    except IdTokenError as error:
        raise AuthorizationResponseError(error) from None
    return await check_authorization_response(
        services.op,
        metadata,
        signed,
        client_id=site.client_id or "",
        client_secret=site.client_secret,
        signed_response_alg=as_registered(site).authorization_signed_response_alg,
        leeway=services.config.op_clock_leeway_in_seconds,
    )


def _credentials(services: Services, site: Site, params: GetTokensByCodeParams) -> ClientCredentials:
    """Return what the site's client authenticates with, in the way that the caller names, if it does."""
    known = services.credentials_of(site)
    if params.authentication_method is None and params.algorithm is None:
        return known
    algorithm = params.algorithm or known.signing_alg
    method = method_that_counts(params.authentication_method, known.method, algorithm)
    return msgspec.structs.replace(known, method=method, signing_alg=algorithm)


async def _accept_tokens(
    services: Services, site: Site, metadata: ProviderMetadata, login: LoginState, code: str, tokens: TokenAnswer
) -> IssuedTokens:
    if tokens.access_token is None:
        raise CommandError("no_access_token")
    if tokens.id_token is None:
        raise CommandError("no_id_token")
    text = decrypted(services, site, "id_token", tokens.id_token)
    expected = expectations(services, site, metadata, login.nonce, access_token=tokens.access_token, code=code)
    id_token = await check_id_token(services.op, metadata, text, expected)
    _warn_of_exceptions(services, site, tokens, id_token)
    result = IssuedTokens(
        access_token=tokens.access_token,
        expires_in=told_lifetime(tokens),
        id_token=text,
        refresh_token=tokens.refresh_token,
        id_token_claims=dict(id_token.claims),
        authorization_details=_told_details(tokens),
    )
    if services.access.framed:  # a login whose answer cannot be delivered has not happened: nothing of it is kept
        check_fits(Response("ok", result, GET_TOKENS_BY_CODE.recomputable))
    await _keep_login(services, site, text, id_token, tokens)
    return result


async def keep_unrequested_login(
    services: Services, site: Site, metadata: ProviderMetadata, tokens: TokenAnswer
) -> str | None:
    """Check the id_token of a login that no request of ours carried a nonce for, remember the login, and return it.

    None if there is no id_token. Raises ``IdTokenError``, and ``OpError`` where the OP's keys cannot be had.
    """
    if tokens.id_token is None:
        return None
    text = decrypted(services, site, "id_token", tokens.id_token)
    expected = expectations(services, site, metadata, Unchecked.NONCE, access_token=tokens.access_token)
    await _keep_login(services, site, text, await check_id_token(services.op, metadata, text, expected), tokens)
    return text


async def _keep_login(services: Services, site: Site, text: str, id_token: IdToken, tokens: TokenAnswer) -> None:
    now = services.now()
    await services.store.change_session(
        site.oxd_id,
        lambda session: after_login(session, text, id_token),
        keep=issued_in(login_with(site.oxd_id, id_token), tokens, now),
        now=now,
    )


def _warn_of_exceptions(services: Services, site: Site, tokens: TokenAnswer, id_token: IdToken) -> None:
    used = {NO_NONCE: id_token.claims.get("nonce") is None, NO_TOKEN_TYPE: tokens.token_type is None}
    for name in (name for name, is_used in used.items() if is_used):
        services.log.warning(
            "login_by_exception",
            exception=name,
            oxd_id=site.oxd_id,
            op=site.op_host,
        )


def expectations(
    services: Services,
    site: Site,
    metadata: ProviderMetadata,
    nonce: str | Unchecked,
    *,
    access_token: str | None = None,
    code: str | None = None,
    state: str | None = None,
    require_at_hash: bool = False,
    require_c_hash: bool = False,
    accept_expired: bool = False,
    earlier: EarlierIdToken | None = None,
) -> Expectations:
    """Return what an id_token for this site is checked against."""
    return Expectations(
        issuer=metadata.issuer,
        client_id=site.client_id or "",
        algorithms=allowed_algorithms(
            as_registered(site).id_token_signed_response_alg, metadata.id_token_signing_alg_values_supported
        ),
        nonce=nonce,
        client_secret=site.client_secret,
        access_token=access_token,
        code=code,
        state=state,
        require_at_hash=require_at_hash,
        require_c_hash=require_c_hash,
        trusted_audiences=frozenset(metadata.settings.trusted_audiences),
        nonce_may_be_missing=metadata.settings.allows(NO_NONCE),
        accept_expired=accept_expired,
        earlier=earlier,
        leeway=services.config.op_clock_leeway_in_seconds,
    )


async def get_access_token_by_refresh_token(
    services: Services, params: GetAccessTokenByRefreshTokenParams
) -> RefreshedTokenResult:
    """Get a new access token. Two callers with the same refresh token share one request: it is not spent twice."""
    site = await services.site(params.oxd_id)
    token, scope, further = params.refresh_token, " ".join(params.scope) or None, targets(params)
    wanted = msgspec.json.encode((scope, further)).decode() if further else scope
    tokens = await services.under_way.refreshes.run(
        site.oxd_id, token, wanted, lambda: _refresh(services, site, token, scope, further)
    )
    if tokens.access_token is None:
        raise CommandError("no_access_token")
    return RefreshedTokenResult(
        access_token=tokens.access_token,
        expires_in=told_lifetime(tokens),
        refresh_token=tokens.refresh_token,
        scope=tokens.scope,
        authorization_details=_told_details(tokens),
    )


def _told_details(tokens: TokenAnswer) -> list[Any] | UnsetType:
    # RFC 9396, section 7: what was allowed in the end. Where nobody asked for any, no OP tells of them.
    return UNSET if tokens.authorization_details is None else tokens.authorization_details


async def _refresh(services: Services, site: Site, refresh_token: str, scope: str | None, further: Form) -> TokenAnswer:
    metadata = await services.metadata_of(site)
    credentials = services.credentials_of(site)
    login = await login_of(services, site, refresh_token)
    tokens = await refresh_tokens(
        services.op, metadata, credentials, refresh_token=refresh_token, scope=scope, further=further
    )
    login = await _check_refreshed(services, site, metadata, login, tokens)
    if login is not None:
        await _remember(services, login, tokens)
    return tokens


async def login_of(services: Services, site: Site, token: str) -> Login | None:
    """Return the login in which the site was issued this token, if it is known here."""
    return await services.store.kept(token_hash(site.oxd_id, token), services.now(), Login)


async def _check_refreshed(
    services: Services, site: Site, metadata: ProviderMetadata, login: Login | None, tokens: TokenAnswer
) -> Login | None:
    """Check the id_token of a refresh answer, which need not have one; return the login that the new tokens are of."""
    if tokens.id_token is None:
        return login
    earlier = None if login is None else earlier_id_token(login)
    expected = expectations(
        services, site, metadata, Unchecked.NONCE, access_token=tokens.access_token, earlier=earlier
    )
    text = decrypted(services, site, "id_token", tokens.id_token)
    id_token = await check_id_token(services.op, metadata, text, expected)
    return login or login_with(site.oxd_id, id_token)


async def _remember(services: Services, login: Login, tokens: TokenAnswer) -> None:
    now = services.now()
    try:
        await services.store.change_session(
            login.oxd_id, lambda session: session, keep=issued_in(login, tokens, now), now=now
        )
    except StoreError as error:
        # The OP may have replaced the refresh token: the application would lose both if it were not told.
        services.log.warning("refreshed_tokens_not_remembered", oxd_id=login.oxd_id, reason=str(error))


async def get_user_info(services: Services, params: GetUserInfoParams) -> ClaimsOfUser:
    """Get the user's claims; their ``sub`` must be that of the login in which this access token was issued."""
    site = await services.site(params.oxd_id)
    login = await login_of(services, site, params.access_token)
    metadata = await services.metadata_of(site)
    subject = await _subject_of(services, site, metadata, login, params.id_token)
    expected = userinfo_expectations(
        metadata,
        client_id=site.client_id or "",
        client_secret=site.client_secret,
        signed_response_alg=as_registered(site).userinfo_signed_response_alg,
        subject=subject,
        leeway=services.config.op_clock_leeway_in_seconds,
        decrypt=_opener_of_userinfo(services, site),
    )
    claims = await get_userinfo(
        services.op, metadata, params.access_token, expected, dpop_key_of(site), services.identity_of(site)
    )
    return ClaimsOfUser(claims=claims)


def _opener_of_userinfo(services: Services, site: Site) -> Callable[[str], str] | None:
    """Return what opens the site's userinfo; None if that is not encrypted."""
    if encryption_of(as_registered(site), "userinfo") is None:
        return None
    return partial(decrypted, services, site, "userinfo")


async def _subject_of(
    services: Services, site: Site, metadata: ProviderMetadata, login: Login | None, token: str | None
) -> str | None:
    """Return the ``sub`` that user info must have, as the login and the caller's id_token say, None if neither does.

    Raises ``IdTokenError`` for an id_token that is not valid, though it may have expired, or is of another user.
    """
    known = None if login is None else login.subject
    if token is None:
        return known
    expected = expectations(services, site, metadata, Unchecked.NONCE, accept_expired=True)
    token = decrypted(services, site, "id_token", token, from_op=False)
    subject = (await check_id_token(services.op, metadata, token, expected)).subject
    if known not in (None, subject):
        raise IdTokenError(IdTokenCheck.BAD_SUBJECT, "the sub of the access token's login", "another one")
    return subject


async def get_logout_uri(services: Services, params: GetLogoutUriParams) -> GetLogoutUriResult:
    """Make the URL where the user logs out at the OP (RP-Initiated Logout 1.0, section 2)."""
    site = await services.site(params.oxd_id)
    metadata = await services.metadata_of(site)
    redirect_uri = params.post_logout_redirect_uri or site.client.post_logout_redirect_uri
    if services.config.support_google_logout and metadata.issuer == _GOOGLE:
        return GetLogoutUriResult(uri=f"{_GOOGLE_LOGOUT}?continue={redirect_uri}" if redirect_uri else _GOOGLE_LOGOUT)
    hint = params.id_token_hint or hint_of(await services.store.session(site.oxd_id), services.now())
    if hint is not None and len(hint) > MAX_HINT_CHARACTERS:
        hint = None
    uri = end_session_url(
        required(metadata, "end_session_endpoint"),
        id_token_hint=hint,
        # RP-Initiated Logout, section 2: client_id "is needed to specify the Client Identifier when
        # post_logout_redirect_uri is specified but id_token_hint is not."
        client_id=site.client_id if hint is None else None,
        post_logout_redirect_uri=redirect_uri,
        state=params.state,
        session_state=params.session_state,
        further=_further_logout_parameters(site, metadata, params, redirect_uri),
    )
    return GetLogoutUriResult(uri=uri)


def _further_logout_parameters(
    site: Site, metadata: ProviderMetadata, params: GetLogoutUriParams, redirect_uri: str | None
) -> dict[str, str]:
    """Return what the operator says that the OP wants, and what the caller adds. Raises ``ParameterRefused``."""
    known = {"{client_id}": site.client_id or "", "{post_logout_redirect_uri}": redirect_uri or ""}
    filled = dict(metadata.settings.logout_parameters)
    for name, value in known.items():
        filled = {parameter: text.replace(name, value) for parameter, text in filled.items()}
    further = {**{parameter: text for parameter, text in filled.items() if text}, **params.custom_parameters}
    if further.get("client_id", site.client_id) != site.client_id:
        raise ParameterRefused("client_id")
    return further
