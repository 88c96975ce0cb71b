"""The commands about sites. What an OP has to be asked for is asked last, after every check."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_protocol.site import (
    GetRpParams,
    GetRpResult,
    OxdIdParams,
    OxdIdResult,
    RegisterSiteParams,
    RegisterSiteResult,
    SiteMetadata,
    UpdateSiteParams,
)
from oxd_server.config import DefaultSite
from oxd_server.handlers.brought import check_known_client
from oxd_server.handlers.listing import list_of, node_of
from oxd_server.handlers.undo import check_key, keep, new_oxd_id, with_client
from oxd_server.op.client_auth import ClientAuthMethod
from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.errors import OpErrorResponse
from oxd_server.op.jose import ALGORITHMS
from oxd_server.op.registration import RegistrationAnswer, delete_client, update_client
from oxd_server.op.urls import is_absolute_url
from oxd_server.rp.services import Services
from oxd_server.rp.setup_client import SetupClient, check_token_with
from oxd_server.rp.site_as_client import as_answered, known_metadata, metadata_of
from oxd_server.store.base import Site
from oxd_server.store.exchange import export_site

__all__ = ["get_rp", "new_site", "register_site", "remove_site", "update_site"]

_MILLISECONDS = 1000
_BAD_REQUEST = 400
_ALREADY_GONE = (401, 404)  # RFC 7592, section 2: what a client that no longer exists is answered


async def register_site(
    services: Services, params: RegisterSiteParams, caller: SetupClient | None
) -> RegisterSiteResult:
    """Register a client at the OP and keep it as a new site; a client that is brought along is only kept."""
    site = new_site(params, services.default_site.current, new_oxd_id(services))
    if params.client_id is not None:
        await check_known_client(services, site, caller)
    async with AsyncExitStack() as undo:
        site = await with_client(services, site, undo)
        site = await _protected(services, site, caller, params.protection_access_token)
        await keep(services, site, undo)
        undo.pop_all()
    return RegisterSiteResult(oxd_id=site.oxd_id, op_host=site.op_host)


async def _protected(services: Services, site: Site, owner: SetupClient | None, token: str | None) -> Site:
    """Return the site as the setup client's that the token belongs to; there is no token where commands are open."""
    if owner is None and token is not None:
        owner = await check_token_with(services, site, token)  # no setup client known here could: the new client asks
    return site if owner is None else replace(site, setup_oxd_id=owner.oxd_id, setup_client_id=owner.client_id)


async def update_site(services: Services, params: UpdateSiteParams) -> OxdIdResult:
    """Change the site at the OP and here (RFC 7592, section 2.2: the request replaces everything)."""
    expires_at = params.client_secret_expires_at // _MILLISECONDS or None
    async with services.site_locks.hold(params.oxd_id):
        site = await services.site(params.oxd_id)
        changed = _changed(site, params)
        _check(changed)
        check_key(services, changed)
        answer = await _update_client(services, site, changed, expires_at)
        await services.store.change(params.oxd_id, lambda newest: as_answered(_changed(newest, params), answer))
    return OxdIdResult(oxd_id=params.oxd_id)


async def _update_client(services: Services, site: Site, changed: Site, expires_at: int | None) -> RegistrationAnswer:
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    if uri is None or token is None:
        raise CommandError("invalid_registration_client_url")
    changes = metadata_of(changed, services.key_store)
    metadata = await services.metadata_of(site)
    update = partial(
        update_client,
        services.op,
        metadata,
        site.client_id or "",
        uri,
        token,
        known=known_metadata(site),
        changes=changes,
    )
    try:
        return await update(client_secret_expires_at=expires_at)
    except OpErrorResponse as error:
        # RFC 7592, section 2.2, keeps client_secret_expires_at out of an update, but Gluu's server honours it, and
        # some libraries send it with every update. An OP that minds gets the update without it.
        if expires_at is None or error.status != _BAD_REQUEST:
            raise
    return await update()


async def remove_site(services: Services, params: OxdIdParams) -> OxdIdResult:
    """Forget the site; where configured, delete its client at the OP first."""
    if not services.config.deregister_client_on_remove:
        await services.store.remove(params.oxd_id)
        return OxdIdResult(oxd_id=params.oxd_id)
    async with services.site_locks.hold(params.oxd_id):  # an update of the client would follow its deletion
        await _delete_client(services, await services.site(params.oxd_id))
        await services.store.remove(params.oxd_id)
    return OxdIdResult(oxd_id=params.oxd_id)


async def _delete_client(services: Services, site: Site) -> None:
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    if uri is None or token is None:
        return
    try:
        await delete_client(services.op, await services.metadata_of(site), uri, token)
    except OpErrorResponse as error:
        if error.status not in _ALREADY_GONE:
            raise


async def get_rp(services: Services, params: GetRpParams, caller: SetupClient | None) -> GetRpResult:
    """Show one site as it is stored, or list them: all, or under protection those of the token's setup client."""
    if params.list:
        return list_of(await _names(services, caller), framed=services.access.framed)
    if params.oxd_id is None:
        raise CommandError("bad_request", "'oxd_id' is missing or blank. Send it, or list: true for all sites.")
    site = await services.site(params.oxd_id)
    return node_of(export_site(site, await services.store.session(site.oxd_id)), framed=services.access.framed)


async def _names(services: Services, owner: SetupClient | None) -> list[tuple[str, str]]:
    names = await services.store.list()
    if owner is None:
        return names
    sites = [(oxd_id, name, await services.store.get(oxd_id)) for oxd_id, name in names]
    return [(oxd_id, name) for oxd_id, name, site in sites if site is not None and owner.protects(site)]


def new_site(params: RegisterSiteParams, default: DefaultSite, oxd_id: str) -> Site:
    """Return the site that ``params`` and the defaults describe, as far as it is known before the OP is asked.

    Raises ``CommandError`` for everything that can be seen to be wrong already.
    """
    op_host = params.op_host or default.op_host
    if op_host is None:
        raise CommandError(
            "invalid_op_host", "'op_host' is missing, in the command and in the default site configuration."
        )
    site = Site(
        oxd_id=oxd_id,
        op_host=normalize_op_host(op_host),
        op_discovery_path=params.op_discovery_path or default.op_discovery_path,
        client_name=f"oxd-{oxd_id}",
        application_type="web",
        response_types=("code",),
        grant_types=("authorization_code",),
    )
    site = _changed(_changed(site, default), params)
    site = replace(
        site,
        trusted_client=params.trusted_client or False,
        oxd_rp_programming_language=params.oxd_rp_programming_language,
    )
    _check(site)
    if not site.scope:
        raise CommandError("invalid_scope")
    brings_client = params.client_id is not None or params.client_secret is not None
    return _with_own_client(site, params if brings_client else _for_op_of(site, default), params)


def _for_op_of(site: Site, default: DefaultSite) -> DefaultSite:
    """Return the defaults without their client where the site is at another OP: its secrets are for its own OP only."""
    if default.op_host is not None:
        own = (normalize_op_host(default.op_host), default.op_discovery_path)
        if own == (site.op_host, site.op_discovery_path):
            return default
    return replace(default, client_id=None, client_secret=None)


def _with_own_client(site: Site, brought: RegisterSiteParams | DefaultSite, params: RegisterSiteParams) -> Site:
    if brought.client_id is None:
        if brought.client_secret is not None:
            raise CommandError("invalid_request", "client_secret was given without client_id; bring both or neither.")
        return site
    without_secret = (ClientAuthMethod.NONE, ClientAuthMethod.PRIVATE_KEY_JWT)
    if brought.client_secret is None and site.token_endpoint_auth_method not in without_secret:
        raise CommandError("invalid_request", "client_id was given without client_secret; bring both or neither.")
    return replace(
        site,
        client_id=brought.client_id,
        client_secret=brought.client_secret,
        client_registration_access_token=params.client_registration_access_token,
        client_registration_client_uri=params.client_registration_client_uri,
    )


def _changed(site: Site, named: SiteMetadata | DefaultSite) -> Site:
    """Return ``site`` with everything that ``named`` names; what is absent stays."""
    values: dict[str, Any] = {
        "authorization_redirect_uri": named.authorization_redirect_uri,
        "redirect_uris": named.redirect_uris,
        "logout_redirect_uri": named.post_logout_redirect_uri,
        "front_channel_logout_uri": named.client_frontchannel_logout_uris,
        "claims_redirect_uri": named.claims_redirect_uri,
        "request_uris": named.client_request_uris,
        "sector_identifier_uri": named.client_sector_identifier_uri,
        "application_type": named.application_type,
        "response_types": named.response_types,
        "grant_types": named.grant_types,
        "scope": named.scope,
        "acr_values": named.acr_values,
        "ui_locales": named.ui_locales,
        "claims_locales": named.claims_locales,
        "contacts": named.contacts,
        "client_name": named.client_name,
        "client_jwks_uri": named.client_jwks_uri,
        "token_endpoint_auth_method": named.client_token_endpoint_auth_method,
        "token_endpoint_auth_signing_alg": named.client_token_endpoint_auth_signing_alg,
        "id_token_signed_response_alg": named.id_token_signed_response_alg,
        "userinfo_signed_response_alg": named.userinfo_signed_response_alg,
    }
    return replace(site, **{name: value for name, value in values.items() if value not in (None, ())})


def _check(site: Site) -> None:
    """Raise ``CommandError`` for what no OP could accept."""
    _check_algorithms(site)
    redirect_uri = site.authorization_redirect_uri
    if redirect_uri is None:
        raise CommandError("invalid_authorization_redirect_uri", "'authorization_redirect_uri' is missing or blank.")
    for uri in (redirect_uri, *site.redirect_uris):
        if not is_absolute_url(uri) or "#" in uri:
            # RFC 6749, section 3.1.2: "The redirection endpoint URI MUST be an absolute URI [...] The endpoint URI
            # MUST NOT include a fragment component."
            raise CommandError(
                "invalid_authorization_redirect_uri", f"{uri[:200]!r} is not an absolute URL without a fragment."
            )
    for uri in (*filter(None, (site.logout_redirect_uri,)), *site.front_channel_logout_uri, *site.claims_redirect_uri):
        if not is_absolute_url(uri):
            raise CommandError("invalid_request", f"{uri[:200]!r} is not an absolute URL.")


def _check_algorithms(site: Site) -> None:
    method, signing_alg = site.token_endpoint_auth_method, site.token_endpoint_auth_signing_alg
    if method is not None and method not in tuple(ClientAuthMethod):
        raise CommandError(
            "invalid_request", f"client_token_endpoint_auth_method must be one of {', '.join(ClientAuthMethod)}."
        )
    fitting: Iterable[str] = ALGORITHMS
    if method in (ClientAuthMethod.CLIENT_SECRET_JWT, ClientAuthMethod.PRIVATE_KEY_JWT):
        symmetric = method == ClientAuthMethod.CLIENT_SECRET_JWT
        fitting = [name for name, algorithm in ALGORITHMS.items() if algorithm.symmetric == symmetric]
    elif signing_alg == "none":  # some libraries name it for clients that sign nothing
        signing_alg = None
    # An id_token without a signature is never accepted, so none is not asked for either.
    for name, choices in (
        (signing_alg, fitting),
        (site.id_token_signed_response_alg, ALGORITHMS),
        (site.userinfo_signed_response_alg, ALGORITHMS),
    ):
        if name is not None and name not in choices:
            raise CommandError("invalid_algorithm", f"{name[:50]!r} is none of {', '.join(choices)}.")
