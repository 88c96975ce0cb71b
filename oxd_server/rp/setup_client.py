"""Setup clients: the clients whose tokens protect the commands, and how a token is found to be one's.

A token is good if it belongs to the site's setup client. Its OP is asked every time and the response is not kept: a
token that is revoked stops working at once.
"""

from typing import Final

import msgspec

from oxd_protocol.errors import CommandError
from oxd_server.op.discovery import normalize_op_host
from oxd_server.op.introspection import introspect_token, scopes_of
from oxd_server.rp.services import Services
from oxd_server.store.base import Site

__all__ = ["SCOPE", "SetupClient", "check_token_with", "op_named"]

SCOPE: Final = "oxd"
"""The scope that a protection token must have."""


class SetupClient(msgspec.Struct, frozen=True):
    """A client whose tokens protect commands, and the site (``oxd_id``) whose client can ask its OP about them."""

    oxd_id: str
    client_id: str
    op_host: str
    op_discovery_path: str | None = None

    def protects(self, site: Site) -> bool:
        """Return whether the site is this client's: a client_id means something at its own OP only."""
        op = (site.op_host, site.op_discovery_path)
        return site.setup_client_id == self.client_id and op == (self.op_host, self.op_discovery_path)


def op_named(services: Services, op_host: str | None, op_discovery_path: str | None) -> tuple[str, str | None]:
    """Return op_host and path of the OP that ``register_site`` would use for these params.

    Raises ``CommandError`` invalid_op_host where no op_host is known, and ``OpError`` for one that is none.
    """
    default = services.default_site
    host, path = op_host or default.op_host, op_discovery_path or default.op_discovery_path
    if host is None:
        raise CommandError(
            "invalid_op_host", "'op_host' is missing, in the command and in the default site configuration."
        )
    return normalize_op_host(host), path


async def check_token_with(services: Services, asking: Site, token: str) -> SetupClient:
    """Return the client that the token belongs to, by what its OP tells the client of the site ``asking``.

    Raises ``CommandError`` when the token is not active, has no client_id or lacks the scope, and ``OpError``.
    """
    metadata = await services.metadata_of(asking)
    answer = await introspect_token(services.op, metadata, services.credentials_of(asking), token)
    if answer["active"] is not True:
        raise CommandError("inactive_protection_access_token")
    client_id = answer.get("client_id")
    if not isinstance(client_id, str) or not client_id:
        raise CommandError("invalid_introspection_response")
    if SCOPE not in scopes_of(answer):
        raise CommandError("protection_access_token_insufficient_scope")
    return SetupClient(asking.oxd_id, client_id, asking.op_host, asking.op_discovery_path)
