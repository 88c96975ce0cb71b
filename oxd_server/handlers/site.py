"""The commands about sites. What an OP has to be asked for is asked last, after every check."""

from contextlib import AsyncExitStack
from functools import partial

from msgspec import Raw
from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_protocol.json_text import encode_json
from oxd_protocol.oxd_id import OxdIdParams, OxdIdResult
from oxd_protocol.site import GetRpParams, GetRpResult, RegisteredSite, RegisterSiteParams, UpdateSiteParams
from oxd_server.handlers.brought import check_known_client, check_management
from oxd_server.handlers.dpop import with_dpop_key
from oxd_server.handlers.listing import list_of, node_of
from oxd_server.handlers.own_url import with_logout
from oxd_server.handlers.site_params import changed_site, check_site, new_site, with_credentials
from oxd_server.handlers.undo import check_key, keep, new_oxd_id, say_if_less, say_what_we_cannot, with_client
from oxd_server.op.errors import OpErrorResponse
from oxd_server.op.registration import RegistrationAnswer, delete_client, update_client
from oxd_server.rp.client_sync import as_read, warn_if_unreadable
from oxd_server.rp.services import Services
from oxd_server.rp.setup_client import SetupClient, check_token_with
from oxd_server.rp.site_as_client import as_answered, known_metadata
from oxd_server.store.base import Site
from oxd_server.store.exchange import export_site

__all__ = ["get_rp", "register_site", "remove_site", "update_site"]

_MILLISECONDS = 1000
_CLIENT_CREDENTIALS = "client_credentials"
_BAD_REQUEST = 400
_ALREADY_GONE = (401, 404)  # RFC 7592, section 2: what a client that no longer exists is answered


async def register_site(services: Services, params: RegisterSiteParams, caller: SetupClient | None) -> RegisteredSite:
    """Register a client at the OP and keep it as a new site; a client that is brought along is only kept."""
    default = services.default_site
    if params.protects_itself:  # the answer tells the client's secret, to a caller who need not have shown a token
        default = replace(default, client_id=None, client_secret=None)
    site = with_logout(services, new_site(params, default, new_oxd_id(services), services.templates), params, default)
    if params.protects_itself and site.client.dpop_bound_access_tokens:
        raise CommandError("invalid_request", "A site whose own client protects it cannot have its tokens bound.")
    if params.client_id is not None:
        await check_management(services, site)
        await check_known_client(services, site, caller)
    added = services.config.add_client_credentials_grant_type_automatically_during_client_registration
    grant_types = site.client.grant_types or ()
    if params.protects_itself and added and _CLIENT_CREDENTIALS not in grant_types:  # for the tokens that protect it
        site = replace(site, client=replace(site.client, grant_types=(*grant_types, _CLIENT_CREDENTIALS)))
    async with AsyncExitStack() as undo:
        site = await with_client(services, site, undo, params.initial_access_token)
        site = await with_dpop_key(services, site)
        site = await _protected(services, site, caller, params)
        warn_if_unreadable(services, site)
        await keep(services, as_read(site, services.now()), undo)
        undo.pop_all()
    return RegisteredSite(
        oxd_id=site.oxd_id,
        op_host=site.op_host,
        client_id=site.client_id or "",
        client_name=site.client.client_name,
        client_secret=site.client_secret,
        client_registration_access_token=site.client_registration_access_token,
        client_registration_client_uri=site.client_registration_client_uri,
        client_id_issued_at=site.client_id_issued_at // _MILLISECONDS,
        client_secret_expires_at=site.client_secret_expires_at // _MILLISECONDS,
        initiate_login_uri=site.client.initiate_login_uri,
    )


async def _protected(services: Services, site: Site, owner: SetupClient | None, params: RegisterSiteParams) -> Site:
    """Return the site as the setup client's that the token belongs to; there is no token where commands are open.

    Or as its own: then its client's tokens protect it. The mark of its application is kept as it came.
    """
    if params.protects_itself:
        return replace(site, dialect=params.dialect, setup_oxd_id=site.oxd_id, setup_client_id=site.client_id)
    token = params.protection_access_token
    if owner is None and token is not None:
        owner = await check_token_with(services, site, token)  # no setup client known here could: the new client asks
    return site if owner is None else replace(site, setup_oxd_id=owner.oxd_id, setup_client_id=owner.client_id)


async def update_site(services: Services, params: UpdateSiteParams) -> OxdIdResult:
    """Change the site at the OP and here (RFC 7592, section 2.2: the request replaces everything).

    A client that was brought along and that the OP does not manage can have its credentials changed here; the rest of
    the change then counts here only.
    """
    async with services.under_way.site_locks.hold(params.oxd_id):
        site = await services.site(params.oxd_id)
        changed = _changed(services, site, params)
        check_site(changed)
        check_key(services, changed)
        say_what_we_cannot(services, changed)
        if changed.client_registration_client_uri != site.client_registration_client_uri:
            await check_management(services, changed)
        key = (await with_dpop_key(services, changed)).dpop_key
        answer = await _update_client(services, site, changed, params)

        def change(newest: Site) -> Site:
            changed = replace(_changed(services, newest, params), dpop_key=key)
            return changed if answer is None else as_read(as_answered(changed, answer), services.now())

        await services.store.change(params.oxd_id, change)
    return OxdIdResult(oxd_id=params.oxd_id)


def _changed(services: Services, site: Site, params: UpdateSiteParams) -> Site:
    return with_logout(services, with_credentials(changed_site(site, params), params), params)


async def _update_client(
    services: Services, site: Site, changed: Site, params: UpdateSiteParams
) -> RegistrationAnswer | None:
    uri, token = changed.client_registration_client_uri, changed.client_registration_access_token
    if uri is None or token is None:
        if params.client_secret:
            return None
        raise CommandError("invalid_registration_client_url")
    metadata = await services.metadata_of(site)
    asked = services.asked_of(changed, metadata)
    # RFC 7592, section 2.2: what is omitted is deleted. So is what the site asked for and does not ask for any more.
    gone = services.asked_of(site, metadata).keys() - asked.keys()
    update = partial(
        update_client,
        services.op,
        metadata,
        changed.client_id or "",
        uri,
        token,
        known={name: value for name, value in known_metadata(site).items() if name not in gone},
        changes=asked,
    )
    expires_at = params.client_secret_expires_at // _MILLISECONDS or None
    try:
        answer = await update(client_secret_expires_at=expires_at)
    except OpErrorResponse as error:
        # RFC 7592, section 2.2, keeps client_secret_expires_at out of an update, but Gluu's server honours it, and
        # some libraries send it with every update. An OP that minds gets the update without it.
        if expires_at is None or error.status != _BAD_REQUEST:
            raise
        answer = await update()
    say_if_less(services, changed, asked, answer)
    return answer


async def remove_site(services: Services, params: OxdIdParams) -> OxdIdResult:
    """Forget the site; where configured, delete its client at the OP first."""
    if not services.config.deregister_client_on_remove:
        await services.store.remove(params.oxd_id)
        return OxdIdResult(oxd_id=params.oxd_id)
    async with services.under_way.site_locks.hold(params.oxd_id):  # an update of the client would follow its deletion
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
    session = await services.store.session(site.oxd_id)
    if not services.access.framed:
        return node_of(export_site(site, session), framed=False)
    shown: GetRpResult = services.shown_sites.get(
        site.oxd_id, (site, session), lambda: _as_json(node_of(export_site(site, session), framed=True))
    )
    return shown


def _as_json(shown: GetRpResult) -> GetRpResult:
    """Return the same with the JSON text in the place of what it is made from."""
    return GetRpResult(node=Raw(encode_json(shown.node)))


async def _names(services: Services, owner: SetupClient | None) -> list[tuple[str, str]]:
    names = await services.store.list()
    if owner is None:
        return names
    sites = [(oxd_id, name, await services.store.get(oxd_id)) for oxd_id, name in names]
    return [(oxd_id, name) for oxd_id, name, site in sites if site is not None and owner.protects(site)]
