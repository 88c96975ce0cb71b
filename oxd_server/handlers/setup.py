"""The commands that come before all others: clients whose tokens protect the commands, and those tokens."""

import hmac
from contextlib import AsyncExitStack, suppress
from typing import Any

from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_protocol.site import (
    ClientTokenResult,
    GetClientTokenParams,
    IntrospectAccessTokenParams,
    SetupClientParams,
    SetupClientResult,
)
from oxd_server.handlers.brought import check_management, prove_client, sites_of
from oxd_server.handlers.certificates import check_certificate
from oxd_server.handlers.client_authentication import method_that_counts
from oxd_server.handlers.dpop import ProvenRequest, check_proof, with_dpop_key
from oxd_server.handlers.own_url import with_logout
from oxd_server.handlers.site_params import new_site
from oxd_server.handlers.undo import keep, new_oxd_id, with_client
from oxd_server.op.client_auth import BY_OUR_KEY, ClientAuthMethod, ClientCredentials
from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.introspection import introspect_token, scopes_of
from oxd_server.op.tokens import TokenAnswer, request_client_token, told_lifetime
from oxd_server.rp.issued import issued_in, op_of
from oxd_server.rp.services import Services
from oxd_server.rp.setup_client import SCOPE
from oxd_server.rp.site_as_client import as_registered
from oxd_server.store.base import Login, Site, Sites, StoreError

__all__ = ["get_client_token", "introspect_access_token", "setup_client"]

_MILLISECONDS = 1000
_PAT_SCOPE = "uma_protection"
_CLIENT_CREDENTIALS = "client_credentials"
_SIGNS_FOR_NOBODY = (
    "With private_key_jwt nothing shows that this client is yours: its client_id is no secret, and the key is the "
    "server's. Use a client with a client_secret, or ask over the loopback socket where commands are open."
)
_ALWAYS_TOLD = ("username", "sub", "jti", "acr_values")


async def setup_client(services: Services, params: SetupClientParams) -> SetupClientResult:
    """Register the client whose tokens protect the commands, and one for everything else: both or none."""
    setup, site = _setup_site(services, params), _plain_site(services, params)
    services.op.transport.check_url(setup.op_host)
    if setup.client_id is not None:
        await check_management(services, setup)
        await prove_client(services, setup)
    async with AsyncExitStack() as undo:
        setup = await with_client(services, setup, undo, params.initial_access_token)
        site = await with_client(services, site, undo, params.initial_access_token)
        site = await with_dpop_key(services, site)
        setup, site = (
            replace(each, setup_oxd_id=setup.oxd_id, setup_client_id=setup.client_id) for each in (setup, site)
        )
        await keep(services, setup, undo)
        await keep(services, site, undo)
        undo.pop_all()
    return _result(setup, site)


def _setup_site(services: Services, params: SetupClientParams) -> Site:
    site = _new_site(services, params)
    method = site.client.token_endpoint_auth_method
    client = replace(
        site.client,
        client_name=params.setup_client_name or f"oxd-setup-{site.oxd_id}",
        grant_types=_with(site.client.grant_types, _CLIENT_CREDENTIALS),
        scope=" ".join(_with(site.client.scopes, _PAT_SCOPE, SCOPE)),
        # RFC 6749, section 4.4: "The client credentials grant type MUST only be used by confidential clients."
        token_endpoint_auth_method=None if method == ClientAuthMethod.NONE else method,
        dpop_bound_access_tokens=None,  # they protect commands, and are shown without a proof
    )
    return replace(site, is_setup_client=True, client=client)


def _plain_site(services: Services, params: SetupClientParams) -> Site:
    site = with_logout(services, _new_site(services, params), params, services.default_site)
    if _PAT_SCOPE not in site.client.scopes:
        return site
    grant_types = _with(site.client.grant_types, _CLIENT_CREDENTIALS)  # the PAT is had with this grant
    return replace(site, client=replace(site.client, grant_types=grant_types))


def _new_site(services: Services, params: SetupClientParams) -> Site:
    # The client of the default site configuration is not used: the answer would tell its secret to a caller who need
    # not have shown a token.
    default = replace(services.default_site, client_id=None, client_secret=None)
    return new_site(params, default, new_oxd_id(services), services.templates)


def _with(names: tuple[str, ...], *more: str) -> tuple[str, ...]:
    return (*names, *(name for name in more if name not in names))


def _result(setup: Site, site: Site) -> SetupClientResult:
    return SetupClientResult(
        oxd_id=site.oxd_id,
        client_id_of_oxd_id=site.client_id or "",
        op_host=setup.op_host,
        setup_client_oxd_id=setup.oxd_id,
        client_id=setup.client_id or "",
        client_secret=setup.client_secret,
        client_registration_access_token=setup.client_registration_access_token,
        client_registration_client_uri=setup.client_registration_client_uri,
        client_id_issued_at=setup.client_id_issued_at // _MILLISECONDS,
        client_secret_expires_at=setup.client_secret_expires_at // _MILLISECONDS,
    )


async def get_client_token(services: Services, params: GetClientTokenParams) -> ClientTokenResult:
    """Get a token with client credentials (RFC 6749, section 4.4) from the OP that the params name.

    For a setup client of this server the scope that protection needs is always asked for as well.
    """
    path = params.op_discovery_path or services.default_site.op_discovery_path
    known = await sites_of(services, normalize_op_host(params.op_host), path, params.client_id)
    setup = _setup_client(known, params)
    scope = params.scope or ("openid",)
    if setup is not None:
        scope = _with(scope, SCOPE)
    credentials = _credentials(services, params, setup)
    metadata = await services.op.discovery.get(params.op_host, path)
    tokens = await request_client_token(services.op, metadata, credentials, scope=" ".join(scope) or None)
    if tokens.access_token is None:
        raise CommandError("no_access_token")
    if setup is not None:
        await _remember(services, setup, tokens)
    return ClientTokenResult(
        access_token=tokens.access_token,
        expires_in=told_lifetime(tokens),
        refresh_token=tokens.refresh_token,
        scope=tokens.scope,
    )


def _setup_client(known: Sites, params: GetClientTokenParams) -> Site | None:
    """Return the setup client that asks, rather one with this secret: another may have been made with a wrong one."""
    setups = [site for site in known if site.is_setup_client]
    secret = (params.client_secret or "").encode()
    shown = (site for site in setups if hmac.compare_digest((site.client_secret or "").encode(), secret))
    return next(shown, setups[0] if setups else None)


async def _remember(services: Services, setup: Site, tokens: TokenAnswer) -> None:
    """Remember whose the token is: its own client is the first to be asked about it when it comes back."""
    now = services.now()
    issued = issued_in(Login(oxd_id=setup.oxd_id), tokens, now, to=op_of(setup.op_host, setup.op_discovery_path))
    with suppress(StoreError):  # the token is as good without
        await services.store.change_session(setup.oxd_id, lambda session: session, keep=issued, now=now)


def _credentials(services: Services, params: GetClientTokenParams, setup: Site | None) -> ClientCredentials:
    registered = as_registered(setup).token_endpoint_auth_method if setup is not None else None
    method = method_that_counts(params.authentication_method, registered, params.algorithm)
    if method in BY_OUR_KEY and services.access.closed:
        # The key is this server's. Where callers are strangers to each other it must not speak for whoever asks.
        raise CommandError("invalid_request", _SIGNS_FOR_NOBODY)
    return ClientCredentials(
        client_id=params.client_id,
        client_secret=params.client_secret,
        method=method,
        signing_alg=params.algorithm,
        key_store=services.key_store,
        key_id=params.key_id,
    )


async def introspect_access_token(services: Services, params: IntrospectAccessTokenParams) -> dict[str, Any]:
    """Ask the site's OP about any token (RFC 7662); what it says is passed on, ``scopes`` as a list beside it.

    Old scripts look for some keys whatever it says; they are null then.
    """
    site = await services.site(params.oxd_id)
    metadata = await services.metadata_of(site)
    credentials = services.credentials_of(site)
    answer = await introspect_token(services.op, metadata, credentials, params.access_token)
    if params.dpop is not None and answer["active"] is True:
        request = ProvenRequest(params.dpop, params.http_method, params.url)
        check_proof(services, answer, params.access_token, request)
    if params.client_certificate is not None and answer["active"] is True:
        check_certificate(answer, params.client_certificate)
    told = dict.fromkeys(_ALWAYS_TOLD) | {name: value for name, value in answer.items() if value is not None}
    return {**told, "scopes": scopes_of(answer)} if "scope" in told else told
