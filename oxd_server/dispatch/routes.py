"""The one table from commands to handlers. ``check_routes`` compares it with the catalogue at every start."""

from oxd_protocol import connect as oidc
from oxd_protocol import device as device_logins
from oxd_protocol import logout as logouts
from oxd_protocol import provider as published
from oxd_protocol import site as sites
from oxd_protocol import tokens as more_tokens
from oxd_protocol import uma as uma2
from oxd_protocol.catalog import COMMANDS
from oxd_server.dispatch.dispatcher import Route, on, on_behalf, pass_through
from oxd_server.handlers import (
    authorization,
    connect,
    device,
    dpop,
    logout,
    provider,
    request_object,
    setup,
    site,
    status,
    third_party_login,
    tokens,
    uma,
    uma_modify,
    uma_protect,
)

__all__ = ["ROUTES", "check_routes"]

ROUTES: tuple[Route, ...] = (
    on(sites.SETUP_CLIENT, setup.setup_client),
    on(sites.GET_CLIENT_TOKEN, setup.get_client_token),
    pass_through(sites.INTROSPECT_ACCESS_TOKEN, setup.introspect_access_token),
    on_behalf(sites.REGISTER_SITE, site.register_site),
    on(sites.UPDATE_SITE, site.update_site),
    on(sites.REMOVE_SITE, site.remove_site),
    on_behalf(sites.GET_RP, site.get_rp),
    on(oidc.GET_AUTHORIZATION_URL, authorization.get_authorization_url),
    on(oidc.GET_TOKENS_BY_CODE, connect.get_tokens_by_code),
    on(oidc.GET_ACCESS_TOKEN_BY_REFRESH_TOKEN, connect.get_access_token_by_refresh_token),
    on(oidc.GET_USER_INFO, connect.get_user_info),
    on(oidc.GET_LOGOUT_URI, connect.get_logout_uri),
    on(oidc.VALIDATE, status.validate),
    on(oidc.ID_TOKEN_STATUS, status.id_token_status),
    on(oidc.ACCESS_TOKEN_STATUS, status.access_token_status),
    on(uma2.UMA_RS_PROTECT, uma_protect.uma_rs_protect),
    on(uma2.UMA_RS_MODIFY, uma_modify.uma_rs_modify),
    on(uma2.UMA_RS_CHECK_ACCESS, uma.uma_rs_check_access),
    on(uma2.INTROSPECT_RPT, uma.introspect_rpt),
    on(uma2.UMA_RP_GET_RPT, uma.uma_rp_get_rpt),
    on(uma2.UMA_RP_GET_CLAIMS_GATHERING_URL, uma.uma_rp_get_claims_gathering_url),
    on(oidc.GET_REQUEST_OBJECT_URI, request_object.get_request_object_uri),
    on(oidc.GET_REQUEST_OBJECT, request_object.get_request_object),
    on(oidc.INITIATE_THIRD_PARTY_LOGIN, third_party_login.initiate_third_party_login),
    on(device_logins.START_DEVICE_LOGIN, device.start_device_login),
    on(device_logins.POLL_DEVICE_LOGIN, device.poll_device_login),
    on(logouts.BACKCHANNEL_LOGOUT, logout.backchannel_logout),
    on(logouts.SESSION_STATUS, logout.session_status),
    on(logouts.WAIT_FOR_LOGOUT, logout.wait_for_logout),
    on(logouts.GET_FRONTCHANNEL_LOGOUT_PAGE, logout.get_frontchannel_logout_page),
    on(more_tokens.GET_SITE_TOKEN, tokens.get_site_token),
    on(more_tokens.EXCHANGE_TOKEN, tokens.exchange_token),
    on(more_tokens.GET_DPOP_PROOF, dpop.get_dpop_proof),
    on(more_tokens.REVOKE_TOKEN, tokens.revoke_token),
    on(published.GET_JWKS, provider.get_jwks),
    pass_through(published.GET_DISCOVERY, provider.get_discovery),
    on(published.GET_ISSUER, provider.get_issuer),
    on(published.GET_RP_JWKS, provider.get_rp_jwks),
)


def check_routes() -> None:
    """Raise ``RuntimeError`` unless every command that is still supported has exactly one handler."""
    routed = sorted(route.command.name for route in ROUTES)
    supported = sorted(command.name for command in COMMANDS if command.unsupported is None)
    if routed != supported:
        differing = {name for name in {*routed, *supported} if routed.count(name) != supported.count(name)}
        raise RuntimeError(f"routes and catalogue differ in {sorted(differing)}")
