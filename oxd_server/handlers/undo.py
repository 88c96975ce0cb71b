"""Registering clients so that a failure leaves nothing behind, neither here nor at the OP.

What has been done is put on a stack of things to undo. The stack runs when the block ends without ``pop_all``: after
an error, and after a cancellation too, for a moment that nothing can cut short.
"""

import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import trio
from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_server.handlers.site_params import for_op_of
from oxd_server.op.client_auth import ClientAuthMethod
from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.errors import ClientAuthenticationError, OpError, OpMetadataMissing
from oxd_server.op.registration import RegistrationAnswer, delete_client, register_client
from oxd_server.op.uma import PAT_SCOPE
from oxd_server.rp.services import Services
from oxd_server.rp.site_as_client import (
    ENCRYPTED,
    as_answered,
    encryption_of,
    given_less,
    named_subjects,
    uses_certificate,
)
from oxd_server.store.base import Site, SiteNotFound

__all__ = ["check_key", "keep", "new_oxd_id", "say_if_less", "say_what_we_cannot", "with_client"]

_UNDO_SECONDS: Final = 15


def new_oxd_id(services: Services) -> str:
    """Return an oxd_id that nobody can guess: a random UUID."""
    return str(uuid.UUID(bytes=services.random(16), version=4))


async def with_client(
    services: Services, site: Site, undo: AsyncExitStack, initial_access_token: str | None = None
) -> Site:
    """Return the site with its client: the one that it brings along, or one registered now.

    ``initial_access_token`` is for OPs that register nobody without one (RFC 7591, section 3); the operator can set
    one for an OP as well.

    Raises ``CommandError`` when the OP registers no clients, and ``OpError``, ``OpHostRefused`` before anything else.
    """
    services.op.transport.check_url(site.op_host)  # a client that is brought along would be of no use there either
    check_key(services, site)
    say_what_we_cannot(services, site)
    if site.client_id is not None:
        return site
    metadata = await services.op.discovery.get(site.op_host, site.op_discovery_path)
    site = await _with_claims_gathering_endpoint(services, site)
    asked = services.asked_of(site, metadata)
    token = initial_access_token or _initial_access_token(services, site)
    try:
        answer = await register_client(services.op, metadata, asked, initial_access_token=token)
    except OpMetadataMissing:
        raise CommandError(
            "invalid_request",
            "The OP offers no dynamic registration. Register a client there by hand, and send its client_id and "
            "client_secret with the command.",
        ) from None
    registered = as_answered(site, answer)
    undo.push_async_callback(_unregister, services, registered)
    say_if_less(services, registered, asked, answer)
    return registered


def _initial_access_token(services: Services, site: Site) -> str | None:
    configured = services.config.op_initial_access_tokens
    fitting = (token for host, token in configured.items() if normalize_op_host(host) == site.op_host)
    return next(fitting, for_op_of(site, services.default_site).initial_access_token)


def say_if_less(services: Services, site: Site, asked: Mapping[str, Any], answer: RegistrationAnswer) -> None:
    """Log what the OP registered otherwise than it was asked to: later requests may fail for it."""
    less = given_less(asked, answer.metadata)
    if others := site.client.frontchannel_logout_uri[1:]:  # a client has one
        less["frontchannel_logout_uri"] = list(others)
    if less:
        services.log.warning(
            "registered_differently",
            message="The OP did not register all that was asked for. Listed: what is missing, or registered instead.",
            oxd_id=site.oxd_id,
            op_host=site.op_host,
            **{f"registered_{name}": value for name, value in less.items()},
        )


def say_what_we_cannot(services: Services, site: Site) -> None:
    """Log what the OP is asked to register, but this server can do nothing with."""
    named = named_subjects(site.client) if services.certificates.of(site) is None else []
    if named := [*named, *_what_cannot_be_decrypted(services, site)]:
        services.log.warning(
            "encryption_unsupported",
            message="This server has no key for it, or no client certificate: this is for the OP.",
            oxd_id=site.oxd_id,
            names=named,
        )


def _what_cannot_be_decrypted(services: Services, site: Site) -> list[str]:
    wanted = {what: how for what in ENCRYPTED if (how := encryption_of(site.client, what)) is not None}
    if not wanted:
        return []
    keys = () if services.key_store is None else services.key_store.decryption_keys
    openable = {"oct", *(key.key_type for key in keys)}
    return [f"{what}_encrypted_response_alg" for what, how in wanted.items() if how.key_type not in openable]


async def _with_claims_gathering_endpoint(services: Services, site: Site) -> Site:
    """Return the site with the authorization server's own claims gathering endpoint among its redirect URIs.

    Gluu's server logs the user in during claims gathering as this client, and comes back to that endpoint. A server
    without UMA metadata has none, which is no reason not to register.
    """
    wanted = services.config.uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client
    if not wanted or PAT_SCOPE not in site.client.scopes:
        return site
    try:
        endpoint = (await services.uma_metadata_of(site)).claims_interaction_endpoint
    except OpError:
        return site
    known = site.client.redirect_uris
    if endpoint is None or endpoint in known:
        return site
    return replace(site, client=replace(site.client, redirect_uris=(*known, endpoint)))


def check_key(services: Services, site: Site) -> None:
    """Raise ``ClientAuthenticationError`` if the site's client needs a key or certificate that is not here."""
    if uses_certificate(site.client) and services.certificates.of(site) is None:
        raise ClientAuthenticationError(
            "it has to show a client certificate, and none is configured for it (mtls_client_key_store_path)"
        )
    if site.client.token_endpoint_auth_method != ClientAuthMethod.PRIVATE_KEY_JWT:
        return
    if services.key_store is None:
        raise ClientAuthenticationError(
            "private_key_jwt needs a key store, and none is configured (crypt_provider_key_store_path)"
        )
    services.key_store.select(site.client.token_endpoint_auth_signing_alg)


async def keep(services: Services, site: Site, undo: AsyncExitStack) -> None:
    """Add the site to the store, with where it came from if it takes room there. Raises ``StoreError``."""
    undo.push_async_callback(_forget, services, site.oxd_id)
    await services.store.add(replace(site, registered_from=services.access.registered_from))


async def _unregister(services: Services, site: Site) -> None:
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    deleted = False
    if uri is not None and token is not None:
        with trio.move_on_after(_UNDO_SECONDS, shield=True):
            try:
                await delete_client(services.op, await services.metadata_of(site), uri, token)
                deleted = True
            except OpError as error:
                services.log.info("client_not_deleted", client_id=site.client_id, reason=str(error))
    if not deleted:
        services.log.warning("client_left_behind", op_host=site.op_host, client_id=site.client_id)


async def _forget(services: Services, oxd_id: str) -> None:
    with trio.move_on_after(_UNDO_SECONDS, shield=True):
        try:
            await services.store.remove(oxd_id)
        except SiteNotFound:
            return  # it was not added
