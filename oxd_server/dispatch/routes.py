"""The one table from commands to handlers. ``check_routes`` compares it with the catalogue at every start."""

from collections.abc import Mapping

from oxd_protocol.catalog import COMMANDS
from oxd_server.dispatch.dispatcher import Handler
from oxd_server.handlers import connect, setup, site, status, uma

__all__ = ["NOT_YET", "ROUTES", "check_routes"]

ROUTES: Mapping[str, Handler] = {
    "setup_client": setup.setup_client,
    "get_client_token": setup.get_client_token,
    "introspect_access_token": setup.introspect_access_token,
    "register_site": site.register_site,
    "update_site": site.update_site,
    "remove_site": site.remove_site,
    "get_rp": site.get_rp,
    "get_authorization_url": connect.get_authorization_url,
    "get_tokens_by_code": connect.get_tokens_by_code,
    "get_access_token_by_refresh_token": connect.get_access_token_by_refresh_token,
    "get_user_info": connect.get_user_info,
    "get_logout_uri": connect.get_logout_uri,
    "uma_rs_protect": uma.uma_rs_protect,
    "uma_rs_check_access": uma.uma_rs_check_access,
    "introspect_rpt": uma.introspect_rpt,
    "uma_rp_get_rpt": uma.uma_rp_get_rpt,
    "uma_rp_get_claims_gathering_url": uma.uma_rp_get_claims_gathering_url,
    "validate": status.validate,
    "id_token_status": status.id_token_status,
    "access_token_status": status.access_token_status,
}

NOT_YET: frozenset[str] = frozenset()
"""Commands that the catalogue knows and that answer ``unsupported_operation`` until their handler is there."""


def check_routes() -> None:
    """Raise ``RuntimeError`` unless every command has a handler, is listed as not yet there, or is no more."""
    supported = {command.name for command in COMMANDS if command.unsupported is None}
    routed = set(ROUTES)
    if routed | NOT_YET != supported or routed & NOT_YET:
        difference = (routed | NOT_YET) ^ supported | (routed & NOT_YET)
        raise RuntimeError(f"routes and catalogue differ in {sorted(difference)}")
