"""Clients that are brought along: one belongs to whoever shows its secret or its registration access token.

A client_id is no secret: it stands in every login URL. Without this check the key that this server signs with, and
commands that go by the client_id, would serve whoever names somebody else's.
"""

import hmac
from typing import Final

from oxd_protocol.errors import CommandError
from oxd_server.op.client_auth import BY_OUR_KEY
from oxd_server.op.errors import OpErrorResponse
from oxd_server.op.reach import origin_of
from oxd_server.op.registration import check_registration_uri, read_client
from oxd_server.op.tokens import request_client_token
from oxd_server.rp.services import Services
from oxd_server.rp.setup_client import SetupClient
from oxd_server.store.base import Site, Sites

__all__ = ["check_known_client", "check_management", "prove_client", "sites_of"]

_MAX_KNOWN: Final = 50
_KNOWS_THE_CLIENT: Final = ("unauthorized_client", "invalid_scope")
"""RFC 6749, section 5.2: what an OP answers about the grant or the scope, once the client has authenticated."""
_NOT_SHOWN: Final = (
    "This client_id has to be shown to be yours. Send the client_secret that it has, or its "
    "client_registration_access_token together with client_registration_client_uri."
)


async def sites_of(services: Services, op_host: str, op_discovery_path: str | None, client_id: str) -> Sites:
    """Return sites with this client at this OP, setup clients first."""
    found = await services.store.sites_of_client(op_host, client_id, _MAX_KNOWN)
    return [site for site in found if site.op_discovery_path == op_discovery_path]


async def check_known_client(services: Services, site: Site, caller: SetupClient | None) -> None:
    """Let only the owner of a client bring it along to a new site, where callers are strangers to each other.

    Raises ``CommandError`` invalid_request, and what the OP answers where it is asked.
    """
    if not services.access.closed or site.client_id is None:
        return
    signs = site.client.token_endpoint_auth_method in BY_OUR_KEY
    known = await sites_of(services, site.op_host, site.op_discovery_path, site.client_id)
    if (known or signs) and not any(_is_shown(site, other) or _is_owner(caller, other) for other in known):
        await prove_client(services, site)


async def check_management(services: Services, site: Site) -> None:
    """Refuse a registration URI that is not its OP's before it is kept: a bearer token would go there.

    The OP is asked for its metadata only where the URI does not lie at ``op_host``. Raises ``OpHostRefused``, and
    ``OpError`` where the OP cannot be asked.
    """
    uri = site.client_registration_client_uri
    if uri is not None and origin_of(uri) != origin_of(site.op_host):
        check_registration_uri(await services.metadata_of(site), uri)


def _is_owner(caller: SetupClient | None, site: Site) -> bool:
    return caller is not None and caller.protects(site)


def _is_shown(site: Site, known: Site) -> bool:
    """Return whether what was brought along is what this server knows to be the client's."""
    pairs = (
        (site.client_secret, known.client_secret),
        (site.client_registration_access_token, known.client_registration_access_token),
    )
    return any(one and other and hmac.compare_digest(one.encode(), other.encode()) for one, other in pairs)


async def prove_client(services: Services, site: Site) -> None:
    """Ask the OP whether the client is the caller's.

    Raises ``CommandError`` invalid_request if nothing was brought along that the OP could be shown, and ``OpError``.
    """
    metadata = await services.metadata_of(site)
    uri, token = site.client_registration_client_uri, site.client_registration_access_token
    if uri is not None and token is not None:
        await read_client(services.op, metadata, site.client_id or "", uri, token)
        return
    # This server's key would prove nothing about the caller.
    signs = site.client.token_endpoint_auth_method in BY_OUR_KEY
    if site.client_secret is None or signs:
        if signs and not services.access.closed:
            return
        raise CommandError("invalid_request", _NOT_SHOWN)
    try:
        await request_client_token(services.op, metadata, services.credentials_of(site))
    except OpErrorResponse as error:
        if error.oauth_error not in _KNOWS_THE_CLIENT:
            raise
