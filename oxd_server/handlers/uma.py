"""The UMA 2.0 commands, of the resource server and of the requesting party. No decision and no RPT is ever kept."""

from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from oxd_protocol.dates import read_date
from oxd_protocol.errors import CommandError
from oxd_protocol.uma import (
    IntrospectRptParams,
    IntrospectRptResult,
    Permission,
    UmaRpGetClaimsGatheringUrlParams,
    UmaRpGetClaimsGatheringUrlResult,
    UmaRpGetRptParams,
    UmaRpGetRptResult,
    UmaRsCheckAccessParams,
    UmaRsCheckAccessResult,
)
from oxd_server.handlers.certificates import check_certificate
from oxd_server.handlers.dpop import ProvenRequest, check_proof
from oxd_server.handlers.states import refused_state, used_state
from oxd_server.op.discovery import required
from oxd_server.op.errors import OpError, OpErrorResponse
from oxd_server.op.uma import (
    RptAnswer,
    RptRequest,
    claims_gathering_url,
    request_rpt,
    request_ticket,
    takes_bearer_token,
)
from oxd_server.op.uma import introspect_rpt as introspect_rpt_at_as
from oxd_server.op.uma_discovery import UmaMetadata
from oxd_server.op.urls import is_absolute_url
from oxd_server.rp.login_state import LoginState, Purpose
from oxd_server.rp.named_states import open_state, remember_state
from oxd_server.rp.pat import ProtectionApi
from oxd_server.rp.services import Services
from oxd_server.rp.uma_rules import (
    InvalidScopeExpression,
    find_resource,
    is_sufficient,
    permissions_of,
    ticket_scopes,
    usable_scopes,
)
from oxd_server.store.base import Site, UmaResource

__all__ = [
    "introspect_rpt",
    "uma_rp_get_claims_gathering_url",
    "uma_rp_get_rpt",
    "uma_rs_check_access",
]

_REFUSED = (400, 401, 403)
_TICKET_ERRORS = ("invalid_grant", "invalid_ticket")


async def uma_rs_check_access(services: Services, params: UmaRsCheckAccessParams) -> UmaRsCheckAccessResult:
    """Decide about one request to the application: granted, or denied with a ticket to ask for more with.

    Where the authorization server (AS) cannot be asked about an RPT, there is an error, and nothing is granted.
    """
    site = await services.site(params.oxd_id)
    resource = find_resource(site.uma_protected_resources, params.path, params.http_method)
    if resource is None:
        raise CommandError(
            "invalid_request",
            "Resource is not protected. Please protect your resource first with uma_rs_protect command.",
        )
    if params.scopes and resource.scope_expression is None:
        resource = replace(resource, scopes=params.scopes, ticket_scopes=())
    metadata = await services.uma_metadata_of(site)
    api = ProtectionApi(services, site, metadata)
    try:
        if params.rpt is not None:
            introspection = await _introspect(services, site, metadata, api, params.rpt)
            if introspection["active"] is True:
                request = ProvenRequest(params.dpop, params.http_method, params.url)
                check_proof(services, introspection, params.rpt, request)
                check_certificate(introspection, params.client_certificate)
            if is_sufficient(resource, usable_scopes(introspection, resource.id, services.now())):
                return UmaRsCheckAccessResult(access="granted")
        return await _denied(services, site, metadata, api, resource)
    except InvalidScopeExpression as error:  # one that came with imported data
        raise CommandError("invalid_scope_expression", f"The stored scope_expression is not valid: {error}.") from None


async def _denied(
    services: Services, site: Site, metadata: UmaMetadata, api: ProtectionApi, resource: UmaResource
) -> UmaRsCheckAccessResult:
    """The answer with a ticket, or without one if none can be had."""
    scopes = ticket_scopes(resource)
    try:
        ticket = await api.call(lambda pat: request_ticket(services.op, metadata, pat, resource.id, scopes))
    except OpError as error:
        services.log.error("ticket_unavailable", oxd_id=site.oxd_id, resource_id=resource.id, reason=str(error))
        return UmaRsCheckAccessResult(access="denied")
    # To the letter and in this order: deployed applications split it at the commas and take the ticket from the last
    # part (Grant, section 3.2.1, on the parameters).
    header = f'UMA realm="rs",as_uri="{site.op_host}",error="insufficient_scope",ticket="{ticket}"'
    return UmaRsCheckAccessResult(access="denied", ticket=ticket, www_authenticate_header=header)


async def _introspect(
    services: Services, site: Site, metadata: UmaMetadata, api: ProtectionApi, rpt: str
) -> dict[str, object]:
    """Ask about an RPT with the PAT, or as the client where the AS says that it does not take the PAT.

    Keycloak does not, and says so in its OpenID Connect metadata only: that is looked at where it is at hand, and
    fetched when the PAT was refused.
    """
    known = services.op.discovery.cached(site.op_host, site.op_discovery_path)
    if takes_bearer_token(metadata) and (known is None or takes_bearer_token(known)):
        try:
            return await api.call(lambda pat: introspect_rpt_at_as(services.op, metadata, pat, rpt))
        except OpErrorResponse as error:
            if error.status not in _REFUSED or known is not None or await _takes_bearer_token(services, site):
                raise
    return await introspect_rpt_at_as(services.op, metadata, services.credentials_of(site), rpt)


async def _takes_bearer_token(services: Services, site: Site) -> bool:
    try:
        return takes_bearer_token(await services.metadata_of(site))
    except OpError:  # it has no such metadata; what it said about the PAT stands
        return True


async def introspect_rpt(services: Services, params: IntrospectRptParams) -> IntrospectRptResult:
    """Ask the AS about an RPT."""
    site = await services.site(params.oxd_id)
    metadata = await services.uma_metadata_of(site)
    api = ProtectionApi(services, site, metadata)
    answer = await _introspect(services, site, metadata, api, params.rpt)
    return IntrospectRptResult(
        active=answer["active"] is True,
        exp=_seconds(answer.get("exp")),
        iat=_seconds(answer.get("iat")),
        nbf=read_date(answer.get("nbf")),
        permissions=tuple(
            Permission(
                resource_id=one.resource_id,
                resource_scopes=one.scopes,
                exp=UNSET if one.exp is None else one.exp,
            )
            for one in permissions_of(answer)
        ),
        client_id=_text(answer.get("client_id")),
        sub=_text(answer.get("sub")),
        aud=answer.get("aud"),
        iss=_text(answer.get("iss")),
        jti=_text(answer.get("jti")),
    )


def _seconds(value: Any) -> int | UnsetType:
    seconds = read_date(value)
    return UNSET if seconds is None else seconds


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def uma_rp_get_rpt(services: Services, params: UmaRpGetRptParams) -> UmaRpGetRptResult:
    """Get an RPT for this ticket; a state, if it came, is used up by an RPT."""
    if params.claim_token is not None and params.claim_token_format is None:
        # Grant, section 3.3.1: claim_token_format is REQUIRED if claim_token is there.
        raise CommandError("invalid_request", "claim_token was given without claim_token_format.")
    site = await services.site(params.oxd_id)
    gathering = await _opened(services, site, params.state) if params.state is not None else None
    metadata = await services.uma_metadata_of(site)
    if gathering is not None and not await services.logins.consume(gathering):
        raise used_state("invalid_state", Purpose.CLAIMS_GATHERING)
    try:
        answer = await _request_rpt(services, site, metadata, params)
    except OpError as error:
        if gathering is not None:
            await services.logins.give_back(gathering)
        raise (rpt_refusal(error) or error) from None
    return UmaRpGetRptResult(
        access_token=answer.access_token, token_type=answer.token_type, pct=answer.pct, updated=answer.upgraded
    )


async def _request_rpt(services: Services, site: Site, metadata: UmaMetadata, params: UmaRpGetRptParams) -> RptAnswer:
    request = RptRequest(
        ticket=params.ticket,
        claim_token=params.claim_token,
        claim_token_format=params.claim_token_format if params.claim_token is not None else None,
        pct=params.pct,
        rpt=params.rpt,
        scope=" ".join(params.scope) or None,
        more=params.params,
    )
    return await request_rpt(services.op, metadata, services.credentials_of(site), request)


def rpt_refusal(error: OpError) -> CommandError | None:
    """The AS's refusal in the words of the wire, where it has words for it (Grant, section 3.3.6); else None."""
    if not isinstance(error, OpErrorResponse) or error.body_json is None:
        return None
    details = dict(error.body_json)
    if error.oauth_error == "need_info":
        return CommandError("need_info", details=details)
    return CommandError("invalid_ticket", details=details) if error.oauth_error in _TICKET_ERRORS else None


async def _opened(services: Services, site: Site, state: str) -> LoginState:
    opened = await open_state(services, site, state, Purpose.CLAIMS_GATHERING)
    if opened is None:
        raise refused_state(services, state, site.oxd_id, "invalid_state", Purpose.CLAIMS_GATHERING)
    return opened


async def uma_rp_get_claims_gathering_url(
    services: Services, params: UmaRpGetClaimsGatheringUrlParams
) -> UmaRpGetClaimsGatheringUrlResult:
    """Make the URL at the AS where the user gives claims, and the state that comes back from there."""
    if not is_absolute_url(params.claims_redirect_uri):
        raise CommandError(
            "invalid_claims_redirect_uri_parameter", f"{params.claims_redirect_uri[:200]!r} is not an absolute URL."
        )
    site = await services.site(params.oxd_id)
    metadata = await services.uma_metadata_of(site)
    endpoint = required(metadata, "claims_interaction_endpoint")
    sealed = services.logins.issue(site.oxd_id, pkce=False, purpose=Purpose.CLAIMS_GATHERING).state
    state = params.state or sealed
    if params.state is not None:
        await remember_state(services, site, state, sealed)
    url = claims_gathering_url(
        endpoint,
        client_id=site.client_id or "",
        ticket=params.ticket,
        claims_redirect_uri=params.claims_redirect_uri,
        state=state,
        more={name: value for name, value in params.custom_parameters.items() if name != "oxd_id"},
    )
    return UmaRpGetClaimsGatheringUrlResult(url=url, state=state)
