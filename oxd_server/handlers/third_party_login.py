"""Logins that somebody else starts (OpenID Connect Core 1.0 section 4)."""

from oxd_protocol.connect import GetAuthorizationUrlParams, GetAuthorizationUrlResult, InitiateThirdPartyLoginParams
from oxd_protocol.errors import CommandError
from oxd_server.handlers.authorization import get_authorization_url
from oxd_server.rp.services import Services

__all__ = ["initiate_third_party_login"]


async def initiate_third_party_login(
    services: Services, params: InitiateThirdPartyLoginParams
) -> GetAuthorizationUrlResult:
    """Make the URL where the user logs in, as ``get_authorization_url`` does, with what the browser brought along."""
    site = await services.site(params.oxd_id)
    # Core section 4: "RPs MUST verify the value of the target_link_uri to prevent being used as an open redirector to
    # external sites." The user comes back to a registered redirect URI, and to nowhere else.
    target = params.target_link_uri
    if target is not None and target not in site.client.redirect_uris:
        raise CommandError("bad_request_invalid_target_uri")
    metadata = await services.metadata_of(site)
    if params.iss != metadata.issuer:
        raise CommandError("invalid_request", "iss is not the issuer of the OP that the site is registered at.")
    # "If the Client receives a value for this string-valued parameter, it MUST include it in the Authentication
    # Request as the login_hint parameter value."
    further = {} if params.login_hint is None else {"login_hint": params.login_hint}
    return await get_authorization_url(
        services, GetAuthorizationUrlParams(oxd_id=params.oxd_id, params=further, redirect_uri=target)
    )
