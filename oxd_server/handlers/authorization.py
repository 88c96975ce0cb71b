"""The URL where a user logs in: what stands in it, and what goes to the OP before the user does."""

from typing import Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from oxd_protocol.connect import GetAuthorizationUrlParams, GetAuthorizationUrlResult
from oxd_protocol.errors import CommandError
from oxd_server.handlers.site_params import check_response_mode
from oxd_server.handlers.targets import authorization_details, resources
from oxd_server.op.authorization import (
    AuthorizationRequest,
    add_login,
    add_query,
    authorization_parameters,
    authorization_url,
)
from oxd_server.op.client_auth import ClientAuthMethod
from oxd_server.op.discovery import ProviderMetadata, required, supports_s256
from oxd_server.op.pushed_authorization import push_authorization_request
from oxd_server.rp.login_state import IssuedState
from oxd_server.rp.logins import LoginRequests
from oxd_server.rp.named_states import remember_state
from oxd_server.rp.request_objects import keep_request_object, request_uri_of, signed_request
from oxd_server.rp.services import Services
from oxd_server.rp.site_as_client import as_registered, dpop_key_of
from oxd_server.store.base import Site

__all__ = ["get_authorization_url"]

_JWT: Final = "jwt"
"""What the names of the response modes of JARM end with."""
_BESIDE_A_REQUEST_OBJECT: Final = ("client_id", "response_type", "scope")
"""Core 1.0 section 6.1: these "MUST be passed using the OAuth 2.0 request syntax" too, though the object counts."""


async def get_authorization_url(services: Services, params: GetAuthorizationUrlParams) -> GetAuthorizationUrlResult:
    """Make the URL where the user logs in. Nothing is remembered: the state carries what is needed later."""
    # Every login comes here: what is at hand is taken without a coroutine.
    site = services.site_at_hand(params.oxd_id) or await services.site(params.oxd_id)
    metadata = services.metadata_at_hand(site) or await services.metadata_of(site)
    requests = services.logins.requests.get(
        site.oxd_id,
        (metadata, site, _without_login(params), services.config),
        lambda: _login_requests(services, site, metadata, params),
    )
    login = services.logins.issue(site.oxd_id, pkce=requests.pkce, signed_response=requests.signed_response)
    if requests.url is None:
        url = await _url_of_prepared_request(services, site, metadata, params, login)
    else:
        state, nonce = _quoted(params.state, login.state), _quoted(params.nonce, login.nonce)
        url = add_login(requests.url, state, nonce, login.code_challenge)
    if params.state or params.nonce or params.redirect_uri:
        state, redirect_uri = params.state or login.state, _redirect_uri(site, params)
        await remember_state(services, site, state, login.state, nonce=params.nonce, redirect_uri=redirect_uri)
    return GetAuthorizationUrlResult(authorization_url=url)


def _without_login(params: GetAuthorizationUrlParams) -> GetAuthorizationUrlParams:
    """Return what is asked for, without what may be another one in every login."""
    if params.state is None and params.nonce is None and params.protection_access_token is None:
        return params
    return replace(params, protection_access_token=None, state=None, nonce=None)


def _login_requests(
    services: Services, site: Site, metadata: ProviderMetadata, params: GetAuthorizationUrlParams
) -> LoginRequests:
    # RFC 9700, section 2.1.1: "public clients MUST use PKCE"; an OP that does not know it ignores the parameters.
    pkce = supports_s256(metadata) or as_registered(site).token_endpoint_auth_method == ClientAuthMethod.NONE
    signed_response = (_response_mode(site, params) or "").endswith(_JWT)
    endpoint, request = required(metadata, "authorization_endpoint"), _authorization_request(services, site, params)
    is_prepared = _is_pushed(site, metadata) or _is_signed(site, metadata)
    return LoginRequests(None if is_prepared else authorization_url(endpoint, request), pkce, signed_response)


def _is_pushed(site: Site, metadata: ProviderMetadata) -> bool:
    # RFC 9126, section 5: require_pushed_authorization_requests says that the OP "accepts authorization request data
    # only via PAR"; section 6: for a client, that PAR is "the only means" to initiate a request.
    return bool(metadata.require_pushed_authorization_requests or site.client.require_pushed_authorization_requests)


def _is_signed(site: Site, metadata: ProviderMetadata) -> bool:
    # RFC 9101, section 10.5, says the same of request objects, of an OP and of a client.
    return bool(metadata.require_signed_request_object or site.client.require_signed_request_object)


def _quoted(named: str | None, ours: str) -> str:
    return quote(named, safe="") if named else ours  # ours are made of characters that stand in a URL as they are


# --- the request as an object, or pushed to the OP -------------------------------------------


async def _url_of_prepared_request(
    services: Services, site: Site, metadata: ProviderMetadata, params: GetAuthorizationUrlParams, login: IssuedState
) -> str:
    endpoint = required(metadata, "authorization_endpoint")
    request = replace(
        _authorization_request(services, site, params),
        state=params.state or login.state,
        nonce=params.nonce or login.nonce,
        code_challenge=login.code_challenge,
    )
    parameters, client_id = authorization_parameters(request), request.client_id
    signed = await signed_request(services, site, metadata, parameters) if _is_signed(site, metadata) else None
    if not _is_pushed(site, metadata):
        beside = {name: str(parameters[name]) for name in _BESIDE_A_REQUEST_OBJECT}
        return add_query(endpoint, {**beside, **await _by_value_or_reference(services, site, metadata, signed or "")})
    # RFC 9126, section 3: with a request object, "all authorization request parameters" are in it.
    pushed = parameters if signed is None else {"client_id": client_id, "request": signed}
    request_uri = await push_authorization_request(services.op, metadata, services.credentials_of(site), pushed)
    # RFC 9126, section 4: the URL carries client_id and request_uri; whatever else it said would be ignored.
    return add_query(endpoint, {"client_id": client_id, "request_uri": request_uri})


async def _by_value_or_reference(
    services: Services, site: Site, metadata: ProviderMetadata, signed: str
) -> dict[str, str]:
    """Return the parameter that hands the request object over: by reference where the OP takes no other way."""
    host_url = services.config.https.url
    if metadata.request_parameter_supported or not metadata.request_uri_parameter_supported or host_url is None:
        return {"request": signed}
    return {"request_uri": request_uri_of(host_url, await keep_request_object(services, site, signed))}


# --- what the request asks for ---------------------------------------------------------------


def _redirect_uri(site: Site, params: GetAuthorizationUrlParams) -> str:
    """Return where this login comes back to: one of the registered URIs, the first one if none is named."""
    uri = params.redirect_uri
    if uri is None:
        return site.client.redirect_uri or ""
    if uri not in (site.client.redirect_uris or ()):
        raise CommandError("redirect_uri_is_not_registered")
    return uri


def _response_type(site: Site, params: GetAuthorizationUrlParams) -> str:
    """Return the caller's response type where the site registered all of it, else the site's."""
    registered = site.client.response_type.split()
    wanted = {word for response_type in params.response_types for word in response_type.split()}
    if not wanted or not wanted <= set(registered):
        return site.client.response_type
    return " ".join(word for word in registered if word in wanted)


def _response_mode(site: Site, params: GetAuthorizationUrlParams) -> str | None:
    return params.response_mode or params.custom_parameters.get("response_mode") or site.response_mode


def _authorization_request(services: Services, site: Site, params: GetAuthorizationUrlParams) -> AuthorizationRequest:
    """Return what is the same in every login at the site with these params."""
    client = site.client
    custom = dict(params.custom_parameters)
    if params.response_mode is None:
        custom.pop("response_mode", None)
    response_mode = _response_mode(site, params)
    check_response_mode(response_mode, _response_type(site, params))
    # The old server never sent a site's locales: with them, login pages would change their language.
    sends = services.config.send_locales
    ui_locales = params.ui_locales or (client.ui_locales if sends else ())
    claims_locales = params.claims_locales or (client.claims_locales if sends else ())
    return AuthorizationRequest(
        client_id=site.client_id or "",
        redirect_uri=_redirect_uri(site, params),
        response_type=_response_type(site, params),
        dpop_jkt=None if (key := dpop_key_of(site)) is None else key.thumbprint,
        response_mode=response_mode,
        scope=" ".join(params.scope or client.scopes),
        prompt=params.prompt,
        acr_values=" ".join(params.acr_values or client.default_acr_values) or None,
        ui_locales=" ".join(ui_locales) or None,
        claims_locales=" ".join(claims_locales) or None,
        hd=params.hd,
        resource=resources(params),
        authorization_details=authorization_details(params),
        custom=_custom_parameters(params.params, custom),
    )


def _custom_parameters(plain: dict[str, str], custom: dict[str, str]) -> dict[str, str]:
    if not custom:
        return plain
    # Gluu's AS takes custom parameters from this one, a JSON list of objects with one key each.
    as_headers = msgspec.json.encode([{name: value} for name, value in custom.items()]).decode()
    return {**plain, **custom, "custom_response_headers": as_headers}
