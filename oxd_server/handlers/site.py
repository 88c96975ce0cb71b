"""The commands about sites. What an OP has to be asked for is asked last, after every check."""

import uuid
from functools import partial
from typing import Any
from urllib.parse import urlsplit

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
from oxd_server.clients import as_answered, known_metadata, metadata_of
from oxd_server.config import DefaultSite
from oxd_server.op.client import OpClient
from oxd_server.op.client_auth import ClientAuthMethod
from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.errors import OpError, OpErrorResponse, OpMetadataMissing
from oxd_server.op.registration import RegistrationAnswer, delete_client, register_client, update_client
from oxd_server.services import Services
from oxd_server.store.base import Site, SiteNotFound, StoreError
from oxd_server.store.exchange import export_site

__all__ = ["get_rp", "register_site", "remove_site", "update_site"]

_MILLISECONDS = 1000
_BAD_REQUEST = 400
_ALREADY_GONE = (401, 404)  # RFC 7592, section 2: what a client that no longer exists is answered


async def register_site(services: Services, params: RegisterSiteParams) -> RegisterSiteResult:
    """Register a client at the OP and keep it as a new site; a client that is brought along is only kept."""
    site = new_site(params, services.default_site.current, str(uuid.UUID(bytes=services.random(16), version=4)))
    if site.client_id is not None:
        await services.store.add(site)
    else:
        await _register(services, site)
    return RegisterSiteResult(oxd_id=site.oxd_id, op_host=site.op_host)


async def update_site(services: Services, params: UpdateSiteParams) -> OxdIdResult:
    """Change the site at the OP and here (RFC 7592, section 2.2: the request replaces everything)."""
    expires_at = params.client_secret_expires_at // _MILLISECONDS or None
    async with services.site_locks.hold(params.oxd_id):
        site = await services.site(params.oxd_id)
        changed = _changed(site, params)
        _check_uris(changed)
        answer = await _update_client(services.op, site, changed, expires_at)
        await services.store.change(params.oxd_id, lambda newest: as_answered(_changed(newest, params), answer))
    return OxdIdResult(oxd_id=params.oxd_id)


async def _update_client(op: OpClient, site: Site, changed: Site, expires_at: int | None) -> RegistrationAnswer:
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    if uri is None or token is None:
        raise CommandError("invalid_registration_client_url")
    update = partial(
        update_client, op, site.client_id or "", uri, token, known=known_metadata(site), changes=metadata_of(changed)
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
    site = await services.site(params.oxd_id)
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    if services.config.deregister_client_on_remove and uri is not None and token is not None:
        try:
            await delete_client(services.op, uri, token)
        except OpErrorResponse as error:
            if error.status not in _ALREADY_GONE:
                raise
    try:
        await services.store.remove(params.oxd_id)
    except SiteNotFound:
        raise CommandError("invalid_oxd_id") from None  # another command was faster
    return OxdIdResult(oxd_id=params.oxd_id)


async def get_rp(services: Services, params: GetRpParams) -> GetRpResult:
    """Show one site as it is stored, or list all of them."""
    if params.list:
        names = await services.store.list()
        return GetRpResult(node=[{"oxd_id": oxd_id, "client_name": name} for oxd_id, name in names])
    if params.oxd_id is None:
        raise CommandError("bad_request", "'oxd_id' is missing or blank. Send it, or list: true for all sites.")
    site = await services.site(params.oxd_id)
    return GetRpResult(node=export_site(site, await services.store.session(site.oxd_id)))


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
    _check_uris(site)
    if not site.scope:
        raise CommandError("invalid_scope")
    return _with_own_client(site, params if params.client_id or params.client_secret else default, params)


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
    }
    return replace(site, **{name: value for name, value in values.items() if value not in (None, ())})


def _check_uris(site: Site) -> None:
    redirect_uri = site.authorization_redirect_uri
    if redirect_uri is None:
        raise CommandError("invalid_authorization_redirect_uri", "'authorization_redirect_uri' is missing or blank.")
    for uri in (redirect_uri, *site.redirect_uris):
        if not _is_absolute_uri(uri) or "#" in uri:
            # RFC 6749, section 3.1.2: "The redirection endpoint URI MUST be an absolute URI [...] The endpoint URI
            # MUST NOT include a fragment component."
            raise CommandError(
                "invalid_authorization_redirect_uri", f"{uri[:200]!r} is not an absolute URL without a fragment."
            )
    for uri in (*filter(None, (site.logout_redirect_uri,)), *site.front_channel_logout_uri, *site.claims_redirect_uri):
        if not _is_absolute_uri(uri):
            raise CommandError("invalid_request", f"{uri[:200]!r} is not an absolute URL.")


def _is_absolute_uri(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if not parts.scheme or not uri.isprintable() or " " in uri:
        return False
    return bool(parts.hostname) if parts.scheme in ("http", "https") else bool(parts.netloc or parts.path)


async def _register(services: Services, site: Site) -> None:
    metadata = await services.op.discovery.get(site.op_host, site.op_discovery_path)
    try:
        answer = await register_client(services.op, metadata, metadata_of(site))
    except OpMetadataMissing:
        raise CommandError(
            "invalid_request",
            "The OP offers no dynamic registration. Register a client there by hand, and send its client_id and "
            "client_secret with register_site.",
        ) from None
    registered = as_answered(site, answer)
    try:
        await services.store.add(registered)
    except StoreError:
        await _unregister(services, registered)
        raise


async def _unregister(services: Services, site: Site) -> None:
    """Take a registration at the OP back as well as can be: the site could not be kept."""
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    if uri is not None and token is not None:
        try:
            await delete_client(services.op, uri, token)
        except OpError as error:
            services.log.warning("a client stays behind at the OP", client_id=site.client_id, reason=str(error))
