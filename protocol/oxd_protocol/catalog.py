"""The whole wire surface as one list. A command that is not here does not exist."""

from collections.abc import Mapping

from oxd_protocol import connect, device, logout, provider, site, tokens, uma
from oxd_protocol.params import AnyCommand

__all__ = ["ALIASES", "COMMANDS", "find_command"]

COMMANDS: tuple[AnyCommand, ...] = (
    site.SETUP_CLIENT,
    site.GET_CLIENT_TOKEN,
    site.INTROSPECT_ACCESS_TOKEN,
    site.REGISTER_SITE,
    site.UPDATE_SITE,
    site.REMOVE_SITE,
    connect.GET_AUTHORIZATION_URL,
    connect.GET_TOKENS_BY_CODE,
    connect.GET_ACCESS_TOKEN_BY_REFRESH_TOKEN,
    connect.GET_USER_INFO,
    connect.GET_LOGOUT_URI,
    uma.UMA_RS_PROTECT,
    uma.UMA_RS_MODIFY,
    uma.UMA_RS_CHECK_ACCESS,
    uma.INTROSPECT_RPT,
    uma.UMA_RP_GET_RPT,
    uma.UMA_RP_GET_CLAIMS_GATHERING_URL,
    site.GET_RP,
    connect.VALIDATE,
    connect.ID_TOKEN_STATUS,
    connect.ACCESS_TOKEN_STATUS,
    connect.GET_REQUEST_OBJECT_URI,
    connect.GET_REQUEST_OBJECT,
    connect.INITIATE_THIRD_PARTY_LOGIN,
    device.START_DEVICE_LOGIN,
    device.POLL_DEVICE_LOGIN,
    logout.BACKCHANNEL_LOGOUT,
    logout.SESSION_STATUS,
    logout.WAIT_FOR_LOGOUT,
    logout.GET_FRONTCHANNEL_LOGOUT_PAGE,
    tokens.GET_SITE_TOKEN,
    tokens.EXCHANGE_TOKEN,
    tokens.GET_DPOP_PROOF,
    tokens.REVOKE_TOKEN,
    provider.GET_JWKS,
    provider.GET_DISCOVERY,
    provider.GET_ISSUER,
    provider.GET_RP_JWKS,
    *connect.UNSUPPORTED,
)

ALIASES: Mapping[str, str] = {
    "update_site_registration": "update_site",
    "check_id_token": "id_token_status",
    "check_access_token": "access_token_status",
}
"""Names of older libraries, and of oxd 4.x, for commands that exist."""

_BY_NAME: Mapping[str, AnyCommand] = {command.name: command for command in COMMANDS}


def find_command(name: str) -> AnyCommand | None:
    """Return the command with this name in any letter case, or None."""
    found = _BY_NAME.get(name)
    if found is None:
        folded = name.strip().lower()
        found = _BY_NAME.get(ALIASES.get(folded, folded))
    return found
