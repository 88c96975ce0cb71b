"""The UMA 2.0 commands: for resource servers (``uma_rs_*``) and for requesting parties (``uma_rp_*``)."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from oxd_protocol.oxd_id import OxdIdParams, OxdIdResult
from oxd_protocol.params import Command, JsonText, Result, Token, WordList

__all__ = [
    "INTROSPECT_RPT",
    "UMA_RP_GET_CLAIMS_GATHERING_URL",
    "UMA_RP_GET_RPT",
    "UMA_RS_CHECK_ACCESS",
    "UMA_RS_MODIFY",
    "UMA_RS_PROTECT",
    "Condition",
    "IntrospectRptParams",
    "IntrospectRptResult",
    "Permission",
    "Resource",
    "UmaRpGetClaimsGatheringUrlParams",
    "UmaRpGetClaimsGatheringUrlResult",
    "UmaRpGetRptParams",
    "UmaRpGetRptResult",
    "UmaRsCheckAccessParams",
    "UmaRsCheckAccessResult",
    "UmaRsModifyParams",
    "UmaRsProtectParams",
]


class Condition(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"http_methods": "httpMethods", "ticket_scopes": "ticketScopes"},
):
    """Which methods need which scopes, as a list (any of them) or as an expression."""

    http_methods: tuple[str, ...] = ()
    scopes: WordList = ()
    ticket_scopes: WordList = ()
    scope_expression: JsonText = None


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One path and the conditions on it; when they were made and expire, in seconds since 1970."""

    path: str
    conditions: tuple[Condition, ...] = ()
    iat: int | None = None
    exp: int | None = None


class UmaRsProtectParams(OxdIdParams, frozen=True, kw_only=True):
    """What to protect."""

    resources: Annotated[tuple[Resource, ...], Meta(description="What to protect: paths with their conditions.")]
    overwrite: Annotated[bool, Meta(description="true: replace what is protected already.")] | None = None


class UmaRsModifyParams(OxdIdParams, frozen=True, kw_only=True):
    """A protected resource, by path and method, and what it needs from now on."""

    path: Annotated[str, Meta(description="For example /photo.")]
    http_method: Annotated[str, Meta(description="For example GET.")]
    scopes: Annotated[WordList, Meta(description="The scopes that the path needs from now on.")] = ()
    scope_expression: Annotated[JsonText, Meta(description="An expression, as JSON or as a text that holds it.")] = None


class UmaRsCheckAccessParams(OxdIdParams, frozen=True, kw_only=True):
    """The request that somebody made to the application."""

    path: Annotated[str, Meta(description="For example /photo.")]
    http_method: Annotated[str, Meta(description="For example GET.")]
    rpt: Annotated[Token, Meta(description="The request's RPT; blank if it had none.")] | None = None
    scopes: Annotated[
        WordList, Meta(description="The scopes to ask for, instead of the resource's; an expression still decides.")
    ] = ()
    client_certificate: (
        Annotated[str, Meta(description="The certificate that came with the RPT in TLS, to be checked (RFC 8705).")]
        | None
    ) = None
    dpop: Annotated[Token, Meta(description="The request's DPoP header, to have it checked.")] | None = None
    url: Annotated[str, Meta(description="The URL of the request; needed with dpop.")] | None = None


class UmaRsCheckAccessResult(Result, frozen=True, kw_only=True):
    """``granted`` and nothing else, or ``denied`` with a ticket whenever one could be had."""

    access: str
    ticket: str | UnsetType = UNSET
    www_authenticate_header: str | UnsetType = msgspec.field(default=UNSET, name="www-authenticate_header")


class IntrospectRptParams(OxdIdParams, frozen=True, kw_only=True):
    """The RPT to ask about."""

    rpt: Annotated[Token, Meta(description="A requesting party token.")]


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """What an RPT may do with one resource."""

    resource_id: str
    resource_scopes: tuple[str, ...] = ()
    exp: int | UnsetType = UNSET


class IntrospectRptResult(Result, frozen=True, kw_only=True):
    """The authorization server's answer.

    What it did not send is null, as old scripts look for the keys; but ``exp`` and ``iat`` are left out then, for the
    C# library takes no null there.
    """

    active: bool
    exp: int | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    nbf: int | None = None
    permissions: tuple[Permission, ...] = ()
    client_id: str | None = None
    sub: str | None = None
    aud: Any | None = None
    iss: str | None = None
    jti: str | None = None


class UmaRpGetRptParams(OxdIdParams, frozen=True, kw_only=True):
    """A permission ticket, and what else the requesting party can show."""

    ticket: Annotated[str, Meta(description="The permission ticket, always the newest.")]
    claim_token: (
        Annotated[Token, Meta(description="Claims about the requesting party, pushed to the authorization server.")]
        | None
    ) = None
    claim_token_format: Annotated[str, Meta(description="Required with claim_token.")] | None = None
    pct: Annotated[Token, Meta(description="A persisted claims token from an earlier response.")] | None = None
    rpt: Annotated[Token, Meta(description="An RPT to extend.")] | None = None
    scope: Annotated[WordList, Meta(description="Further scopes to ask for.")] = ()
    state: Annotated[str, Meta(description="The state from uma_rp_get_claims_gathering_url.")] | None = None
    params: Annotated[dict[str, str], Meta(description="Further form fields for the authorization server.")] = (
        msgspec.field(default_factory=dict)
    )


class UmaRpGetRptResult(Result, frozen=True, kw_only=True):
    """The RPT."""

    access_token: str
    token_type: str
    pct: str | None
    updated: bool


class UmaRpGetClaimsGatheringUrlParams(OxdIdParams, frozen=True, kw_only=True):
    """The newest ticket, and where the user shall come back to."""

    ticket: Annotated[str, Meta(description="The permission ticket, always the newest.")]
    claims_redirect_uri: Annotated[str, Meta(description="Where claims gathering sends the user back to.")]
    state: Annotated[str, Meta(description="The caller's own state; it comes back unchanged.")] | None = None
    custom_parameters: Annotated[dict[str, str], Meta(description="Further query parameters.")] = msgspec.field(
        default_factory=dict
    )


class UmaRpGetClaimsGatheringUrlResult(Result, frozen=True, kw_only=True):
    """Where to send the user, and the state that comes back."""

    url: str
    state: str


UMA_RS_PROTECT = Command(
    "uma_rs_protect",
    UmaRsProtectParams,
    OxdIdResult,
    "Registers the application's protected resources at the authorization server.",
    missing={"resources": "invalid_uma_request"},
    changes=True,
)
UMA_RS_MODIFY = Command(
    "uma_rs_modify",
    UmaRsModifyParams,
    OxdIdResult,
    "Changes the scopes or the scope expression of one protected resource.",
    changes=True,
    missing={"path": "invalid_path_parameter", "http_method": "invalid_http_method"},
    generation=4,
)
UMA_RS_CHECK_ACCESS = Command(
    "uma_rs_check_access",
    UmaRsCheckAccessParams,
    UmaRsCheckAccessResult,
    "Decides whether a request may go on, and gets a ticket if it may not.",
    missing={"path": "invalid_path_parameter", "http_method": "invalid_http_method"},
)
INTROSPECT_RPT = Command(
    "introspect_rpt",
    IntrospectRptParams,
    IntrospectRptResult,
    "Asks the authorization server about an RPT.",
    missing={"rpt": "invalid_rpt_parameter"},
)
UMA_RP_GET_RPT = Command(
    "uma_rp_get_rpt",
    UmaRpGetRptParams,
    UmaRpGetRptResult,
    "Gets a requesting party token (RPT) for a ticket.",
    missing={"ticket": "invalid_ticket_parameter"},
    aliases={"access_token": "rpt"},
    changes=True,
)
UMA_RP_GET_CLAIMS_GATHERING_URL = Command(
    "uma_rp_get_claims_gathering_url",
    UmaRpGetClaimsGatheringUrlParams,
    UmaRpGetClaimsGatheringUrlResult,
    "Makes the URL at the authorization server where the user gives the claims it needs.",
    missing={
        "ticket": "invalid_ticket_parameter",
        "claims_redirect_uri": "invalid_claims_redirect_uri_parameter",
    },
)
