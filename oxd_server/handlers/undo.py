"""Registering clients so that a failure leaves nothing behind, neither here nor at the OP.

What has been done is put on a stack of things to undo. The stack runs when the block ends without ``pop_all``: after
an error, and after a cancellation too, for a moment that nothing can cut short.
"""

import uuid
from contextlib import AsyncExitStack
from typing import Final

import trio
from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_server.op.client_auth import ClientAuthMethod
from oxd_server.op.errors import ClientAuthenticationError, OpError, OpMetadataMissing
from oxd_server.op.registration import delete_client, register_client
from oxd_server.op.uma import PAT_SCOPE
from oxd_server.rp.services import Services
from oxd_server.rp.site_as_client import as_answered, metadata_of
from oxd_server.store.base import Site, SiteNotFound

__all__ = ["check_key", "keep", "new_oxd_id", "with_client"]

_UNDO_SECONDS: Final = 15


def new_oxd_id(services: Services) -> str:
    """Return an oxd_id that nobody can guess: a random UUID."""
    return str(uuid.UUID(bytes=services.random(16), version=4))


async def with_client(services: Services, site: Site, undo: AsyncExitStack) -> Site:
    """Return the site with its client: the one that it brings along, or one registered now.

    Raises ``CommandError`` when the OP registers no clients, and ``OpError``, ``OpHostRefused`` before anything else.
    """
    services.op.transport.check_url(site.op_host)  # a client that is brought along would be of no use there either
    check_key(services, site)
    if site.client_id is not None:
        return site
    metadata = await services.op.discovery.get(site.op_host, site.op_discovery_path)
    site = await _with_claims_gathering_endpoint(services, site)
    try:
        answer = await register_client(services.op, metadata, metadata_of(site, services.key_store))
    except OpMetadataMissing:
        raise CommandError(
            "invalid_request",
            "The OP offers no dynamic registration. Register a client there by hand, and send its client_id and "
            "client_secret with the command.",
        ) from None
    registered = as_answered(site, answer)
    undo.push_async_callback(_unregister, services, registered)
    return registered


async def _with_claims_gathering_endpoint(services: Services, site: Site) -> Site:
    """Return the site with the authorization server's own claims gathering endpoint among its redirect URIs.

    Gluu's server logs the user in during claims gathering as this client, and comes back to that endpoint. A server
    without UMA metadata has none, which is no reason not to register.
    """
    wanted = services.config.uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client
    if not wanted or PAT_SCOPE not in site.scope:
        return site
    try:
        endpoint = (await services.uma_metadata_of(site)).claims_interaction_endpoint
    except OpError:
        return site
    known = (site.authorization_redirect_uri, *site.redirect_uris)
    return (
        site if endpoint is None or endpoint in known else replace(site, redirect_uris=(*site.redirect_uris, endpoint))
    )


def check_key(services: Services, site: Site) -> None:
    """Raise ``ClientAuthenticationError`` if the site's client is to sign with a key that this server does not have."""
    if site.token_endpoint_auth_method != ClientAuthMethod.PRIVATE_KEY_JWT:
        return
    if services.key_store is None:
        raise ClientAuthenticationError(
            "private_key_jwt needs a key store, and none is configured (crypt_provider_key_store_path)"
        )
    services.key_store.select(site.token_endpoint_auth_signing_alg)


async def keep(services: Services, site: Site, undo: AsyncExitStack) -> None:
    """Add the site to the store. Raises ``StoreError``."""
    undo.push_async_callback(_forget, services, site.oxd_id)
    await services.store.add(site)


async def _unregister(services: Services, site: Site) -> None:
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    deleted = False
    if uri is not None and token is not None:
        with trio.move_on_after(_UNDO_SECONDS, shield=True):
            try:
                await delete_client(services.op, await services.metadata_of(site), uri, token)
                deleted = True
            except OpError as error:
                services.log.info("a client could not be deleted", client_id=site.client_id, reason=str(error))
    if not deleted:
        services.log.warning("a client stays behind at the OP", op_host=site.op_host, client_id=site.client_id)


async def _forget(services: Services, oxd_id: str) -> None:
    with trio.move_on_after(_UNDO_SECONDS, shield=True):
        try:
            await services.store.remove(oxd_id)
        except SiteNotFound:
            return  # it was not added
