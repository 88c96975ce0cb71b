"""What is said to a UMA authorization server (AS).

A resource server registers resources and gets tickets at its protection API; a requesting party gets an RPT at its
token endpoint.

Specifications: UMA 2.0 Grant for OAuth 2.0 (here Grant), Federated Authorization for UMA 2.0 (here FedAuthz).
"""

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from oxd_protocol.discreet import Discreet
from oxd_server.op import members
from oxd_server.op.answer import Answer
from oxd_server.op.authorization import add_query
from oxd_server.op.client_auth import ClientCredentials, bearer_header
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata, required
from oxd_server.op.errors import MalformedToken
from oxd_server.op.introspection import introspect_token
from oxd_server.op.settings import NO_TOKEN_TYPE
from oxd_server.op.tokens import BEARER, process_token_answer, request_tokens, type_of_tokens
from oxd_server.op.uma_discovery import UmaMetadata

__all__ = [
    "PAT_SCOPE",
    "PAT_STEP",
    "REGISTRATION_STEP",
    "RPT_STEP",
    "TICKET_STEP",
    "UMA_GRANT_TYPE",
    "Pat",
    "ResourceDescription",
    "RptAnswer",
    "RptRequest",
    "claims_gathering_url",
    "delete_resource",
    "introspect_rpt",
    "list_resources",
    "process_pat",
    "process_registered_resource",
    "process_rpt",
    "process_ticket",
    "read_resource",
    "register_resource",
    "request_pat",
    "request_rpt",
    "request_ticket",
    "takes_bearer_token",
    "update_resource",
]

PAT_SCOPE = "uma_protection"
UMA_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:uma-ticket"
PAT_STEP = "PAT request"
RPT_STEP = "RPT request"
REGISTRATION_STEP = "resource registration"
TICKET_STEP = "permission request"


class Pat(Discreet, frozen=True):
    """A protection API access token; `expires_in` in seconds, 0: not said."""

    shows = ("expires_in",)

    access_token: str
    expires_in: int


async def request_pat(op: OpContext, metadata: UmaMetadata, credentials: ClientCredentials) -> Pat:
    """A PAT (FedAuthz section 1.5) for the client itself.

    Raises:
        OpMetadataMissing: the AS has no token endpoint.
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    form = {"grant_type": "client_credentials", "scope": f"{PAT_SCOPE} openid"}
    credentials = replace(credentials, dpop_key=None)  # FedAuthz section 1.5 knows it as a bearer token
    answer = await request_tokens(op, metadata.as_provider, credentials, form, step=PAT_STEP)
    return process_pat(answer, type_may_be_missing=metadata.settings.allows(NO_TOKEN_TYPE))


def process_pat(answer: Answer, *, type_may_be_missing: bool = False) -> Pat:
    """The PAT in a token answer.

    Raises:
        OpErrorResponse: the AS refused.
        OpInvalidResponse: no token that can be used, or one without the scope `uma_protection`.
    """
    token = process_token_answer(answer, type_may_be_missing=type_may_be_missing)
    if token.access_token is None:
        raise answer.invalid("there is no access_token")
    # FedAuthz section 1.5: "a PAT [...] with at least the scope uma_protection". RFC 6749 section 5.1: `scope` may be
    # left out if it is what was asked for.
    if token.scope is not None and PAT_SCOPE not in token.scope.split():
        raise answer.invalid(f"the token has not the scope {PAT_SCOPE}")
    try:
        bearer_header(token.access_token)
    except MalformedToken as error:
        raise answer.invalid("the access_token holds characters that no token has") from error
    return Pat(token.access_token, token.expires_in or 0)


class ResourceDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A resource as the AS is told of it (FedAuthz section 3.1).

    `scope_expression` (JSON text), `iat` and `exp` (seconds since 1970) are what Gluu's server understands; others
    ignore them.
    """

    name: str
    resource_scopes: tuple[str, ...]
    description: str | None = None
    scope_expression: str | None = None
    iat: int | None = None
    exp: int | None = None


async def register_resource(op: OpContext, metadata: UmaMetadata, pat: str, resource: ResourceDescription) -> str:
    """Register a resource and return its id (FedAuthz section 3.2.1).

    Raises:
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url, headers = _registration_endpoint(metadata), bearer_header(pat)
    return process_registered_resource(
        await op.transport.send(
            "POST", url, step=REGISTRATION_STEP, within=metadata.reach, headers=headers, json=resource
        )
    )


def process_registered_resource(answer: Answer) -> str:
    """The id of the new resource: `_id`; some servers say `id`, or only name it in the `Location`.

    Raises:
        OpErrorResponse: the AS refused.
        OpInvalidResponse: there is no id.
    """
    answer.expect(201, 200)
    # FedAuthz section 3.2.1 asks for a body and a Location; either names the resource.
    body = answer.json_object() if answer.body.strip() else {}
    resource_id = _resource_id(body.get("_id")) or _resource_id(body.get("id"))
    if resource_id is None:
        answer.refuse_error(body)
    resource_id = resource_id or unquote(answer.headers.get("location", "").rstrip("/").rpartition("/")[2])
    if not resource_id:
        raise answer.invalid("the registered resource has no _id")
    return resource_id


def _resource_id(value: object) -> str | None:
    """The id of a resource; a number is one as well, for what counts is how it stands in the resource's URL."""
    return members.text_or_number(value)


async def update_resource(
    op: OpContext, metadata: UmaMetadata, pat: str, resource_id: str, resource: ResourceDescription
) -> None:
    """Replace the description of a resource (FedAuthz section 3.2.3).

    Raises:
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url, headers = _resource_url(metadata, resource_id), bearer_header(pat)
    answer = await op.transport.send(
        "PUT", url, step="resource update", within=metadata.reach, headers=headers, json=resource
    )
    answer.expect(200, 201, 204)


async def delete_resource(op: OpContext, metadata: UmaMetadata, pat: str, resource_id: str) -> None:
    """Delete a resource; one that is gone already is no error (FedAuthz section 3.2.4).

    Raises:
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url, headers = _resource_url(metadata, resource_id), bearer_header(pat)
    answer = await op.transport.send("DELETE", url, step="resource deletion", within=metadata.reach, headers=headers)
    answer.expect(204, 200, 404)


async def list_resources(op: OpContext, metadata: UmaMetadata, pat: str) -> list[str]:
    """The ids of all resources of the PAT's owner (FedAuthz section 3.2.5).

    Raises:
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url, headers = _registration_endpoint(metadata), bearer_header(pat)
    answer = await op.transport.send("GET", url, step="resource list", within=metadata.reach, headers=headers)
    answer.expect(200)
    try:
        found = msgspec.json.decode(answer.body, type=list[object])
    except msgspec.MsgspecError as error:
        raise answer.invalid("the answer is not a list of resource ids") from error
    return [name for name in map(_listed_id, found) if name is not None]


def _listed_id(entry: object) -> str | None:
    """The id in an entry of a resource list; some servers list whole descriptions."""
    return _resource_id(entry.get("_id", entry.get("id")) if isinstance(entry, dict) else entry)


async def read_resource(op: OpContext, metadata: UmaMetadata, pat: str, resource_id: str) -> dict[str, object]:
    """The description of a resource, with every member the AS has (FedAuthz section 3.2.2).

    Raises:
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url, headers = _resource_url(metadata, resource_id), bearer_header(pat)
    answer = await op.transport.send("GET", url, step="resource read", within=metadata.reach, headers=headers)
    answer.expect(200)
    return answer.json_object()


async def request_ticket(
    op: OpContext, metadata: UmaMetadata, pat: str, resource_id: str, scopes: Sequence[str]
) -> str:
    """A permission ticket for these scopes of the resource (FedAuthz section 4.1).

    Raises:
        OpMetadataMissing, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    url = required(metadata, "permission_endpoint")
    body = [{"resource_id": resource_id, "resource_scopes": list(scopes)}]
    answer = await op.transport.send(
        "POST", url, step=TICKET_STEP, within=metadata.reach, headers=bearer_header(pat), json=body
    )
    return process_ticket(answer)


def process_ticket(answer: Answer) -> str:
    """The ticket in the answer (FedAuthz section 4.2).

    Raises:
        OpErrorResponse: the AS refused.
        OpInvalidResponse: there is no ticket, or one that would break out of the header that carries it.
    """
    answer.expect(201, 200)
    body = answer.json_object()
    ticket = members.text(body.get("ticket"))
    if ticket is None:
        answer.refuse_error(body)
    if ticket is None or not ticket.isascii() or not ticket.isprintable() or set(ticket) & set(' ",\\'):
        raise answer.invalid("there is no ticket that fits into a header")
    return ticket


async def introspect_rpt(
    op: OpContext, metadata: UmaMetadata, authorization: ClientCredentials | str, rpt: str
) -> dict[str, object]:
    """What the AS says about an RPT (FedAuthz section 5.1), asked with the PAT or as the client.

    Raises:
        OpMetadataMissing: the AS has no introspection endpoint.
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpErrorResponse, OpInvalidResponse
    """
    # The hint makes Keycloak show the permissions; servers that do not know it ignore it (RFC 7662 section 2.1).
    return await introspect_token(
        op, metadata.as_provider, authorization, rpt, token_type_hint="requesting_party_token"
    )


def takes_bearer_token(metadata: UmaMetadata | ProviderMetadata) -> bool:
    """Whether the introspection endpoint takes the PAT, as FedAuthz section 5.1 has it.

    It does, unless the server lists what it takes and does not name bearer tokens (RFC 8414 section 2 on
    `introspection_endpoint_auth_methods_supported`): then the client authenticates as at the token endpoint.
    """
    methods = metadata.introspection_endpoint_auth_methods_supported
    return methods is None or "bearer" in (method.lower() for method in methods)


class RptRequest(Discreet, frozen=True, kw_only=True):
    """What a requesting party shows for an RPT (Grant section 3.3.1); None is left out."""

    shows = ("claim_token_format", "scope")

    ticket: str
    claim_token: str | None = None
    claim_token_format: str | None = None
    pct: str | None = None
    rpt: str | None = None
    scope: str | None = None
    more: Mapping[str, str] = {}


class RptAnswer(Discreet, frozen=True, kw_only=True):
    """An RPT (Grant section 3.3.5); `upgraded` tells whether it is the one that was sent, with more permissions."""

    shows = ("token_type", "upgraded")

    access_token: str
    token_type: str
    pct: str | None = None
    upgraded: bool = False


_RESERVED = ("grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type")


async def request_rpt(
    op: OpContext, metadata: UmaMetadata, credentials: ClientCredentials, request: RptRequest
) -> RptAnswer:
    """An RPT for a ticket (Grant section 3.3.1).

    Raises:
        OpMetadataMissing: the AS has no token endpoint.
        OpErrorResponse: the AS refuses, or needs more (Grant section 3.3.6).
        ClientAuthenticationError, OpHostRefused, OpUnreachable, OpInvalidResponse
    """
    shown = {
        "ticket": request.ticket,
        "claim_token": request.claim_token,
        "claim_token_format": request.claim_token_format,
        "pct": request.pct,
        "rpt": request.rpt,
        "scope": request.scope,
    }
    # What a caller adds overrides nothing of the protocol, client authentication included.
    more = {name: value for name, value in request.more.items() if name not in (*shown, *_RESERVED)}
    form = more | {"grant_type": UMA_GRANT_TYPE} | {name: value for name, value in shown.items() if value}
    answer = await request_tokens(op, metadata.as_provider, credentials, form, step=RPT_STEP)
    may_be_missing = metadata.settings.allows(NO_TOKEN_TYPE)
    return process_rpt(answer, type_may_be_missing=may_be_missing, token_type=type_of_tokens(credentials))


def process_rpt(answer: Answer, *, type_may_be_missing: bool = False, token_type: str = BEARER) -> RptAnswer:
    """The RPT in a token answer.

    Raises:
        OpErrorResponse: the AS refused.
        OpInvalidResponse: there is no RPT.
    """
    token = process_token_answer(answer, type_may_be_missing=type_may_be_missing, token_type=token_type)
    if token.access_token is None:
        raise answer.invalid("there is no access_token")
    body = answer.form_or_json()
    return RptAnswer(
        access_token=token.access_token,
        token_type=token.token_type or "Bearer",
        pct=members.text(body.get("pct")),
        upgraded=members.flag(body.get("upgraded")) or False,
    )


def claims_gathering_url(
    endpoint: str,
    *,
    client_id: str,
    ticket: str,
    claims_redirect_uri: str,
    state: str,
    more: Mapping[str, str] | None = None,
) -> str:
    """The URL where the requesting party's user gives claims (Grant section 3.3.2); every value is percent-encoded."""
    parameters: Mapping[str, str] = {
        "client_id": client_id,
        "ticket": ticket,
        "claims_redirect_uri": claims_redirect_uri,
        "state": state,
    }
    return add_query(endpoint, {**(more or {}), **parameters})


def _registration_endpoint(metadata: UmaMetadata) -> str:
    return required(metadata, "resource_registration_endpoint")


def _resource_url(metadata: UmaMetadata, resource_id: str) -> str:
    return f"{_registration_endpoint(metadata).rstrip('/')}/{quote(resource_id, safe='')}"
