"""The authorization request and its URL, and the check of the issuer that answers it. Pure.

Specifications: RFC 6749 section 4.1.1, OpenID Connect Core 1.0 section 3.1.2.1, RFC 7636 (PKCE), RFC 9207.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from oxd_protocol.discreet import Discreet
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import IssuerMismatch, ParameterRefused

__all__ = [
    "PROTOCOL_PARAMETERS",
    "AuthorizationRequest",
    "add_login",
    "add_query",
    "authorization_parameters",
    "authorization_url",
    "check_authorization_response_iss",
    "pkce_challenge",
]

_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_CODE_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")

PROTOCOL_PARAMETERS = frozenset(
    {
        "client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
        "code_challenge", "code_challenge_method", "dpop_jkt", "request", "request_uri",
    }
)  # fmt: skip
"""What a custom parameter may never set. The others of the protocol may be, where the request leaves them empty."""


class AuthorizationRequest(Discreet, frozen=True, kw_only=True):
    """The parameters of an authorization request; empty ones are left out.

    Attributes:
        state, nonce: of this login; without them, see `add_login`.
        code_challenge: from `pkce_challenge`, or None for a request without PKCE.
        dpop_jkt: the thumbprint of the key that the code is bound to (RFC 9449 section 10).
        resource: the servers that tokens are for (RFC 8707 section 2.1).
        authorization_details: what they are to allow, as JSON (RFC 9396 section 2).
        custom: further parameters.
    """

    shows = ("client_id", "redirect_uri")

    client_id: str
    redirect_uri: str
    response_type: str
    scope: str
    state: str = ""
    nonce: str = ""
    code_challenge: str | None = None
    dpop_jkt: str | None = None
    response_mode: str | None = None
    prompt: str | None = None
    acr_values: str | None = None
    display: str | None = None
    max_age: int | None = None
    ui_locales: str | None = None
    claims_locales: str | None = None
    id_token_hint: str | None = None
    login_hint: str | None = None
    claims: str | None = None
    hd: str | None = None
    resource: tuple[str, ...] = ()
    authorization_details: str | None = None
    custom: dict[str, str] = msgspec.field(default_factory=dict)


def authorization_url(endpoint: str, request: AuthorizationRequest) -> str:
    """The URL to send the browser to. Every value is percent-encoded; a query of the endpoint is kept.

    Raises:
        ParameterRefused: a custom parameter would override one of the protocol.
    """
    return add_query(endpoint, authorization_parameters(request))


def authorization_parameters(request: AuthorizationRequest) -> dict[str, str | tuple[str, ...]]:
    """The parameters by their registered names, the custom ones among them; several values stand side by side.

    Raises:
        ParameterRefused: a custom parameter would override one of the protocol.
    """
    parameters = _parameters(request)
    for name in request.custom:
        if name in PROTOCOL_PARAMETERS or name in parameters:
            raise ParameterRefused(name)
    return {**parameters, **request.custom}


def add_login(url: str, state: str, nonce: str, code_challenge: str | None) -> str:
    """An authorization URL that was made without them, with what every login has of its own.

    All three are base64url or hex, as `States` and `pkce_challenge` make them: nothing needs to be encoded.
    """
    pkce = f"&code_challenge={code_challenge}&code_challenge_method=S256" if code_challenge else ""
    return f"{url}&state={state}&nonce={nonce}{pkce}"  # a query has begun: every request has a client_id


def _parameters(request: AuthorizationRequest) -> dict[str, str | tuple[str, ...]]:
    values: dict[str, str | tuple[str, ...] | None] = {
        "response_type": request.response_type,
        "client_id": request.client_id,
        "redirect_uri": request.redirect_uri,
        "scope": request.scope,
        "state": request.state,
        "nonce": request.nonce,
        "code_challenge": request.code_challenge,
        "code_challenge_method": "S256" if request.code_challenge else None,
        "dpop_jkt": request.dpop_jkt,
        "response_mode": request.response_mode,
        "prompt": request.prompt,
        "acr_values": request.acr_values,
        "display": request.display,
        "max_age": str(request.max_age) if request.max_age is not None else None,
        "ui_locales": request.ui_locales,
        "claims_locales": request.claims_locales,
        "id_token_hint": request.id_token_hint,
        "login_hint": request.login_hint,
        "claims": request.claims,
        "hd": request.hd,
        "resource": request.resource if len(request.resource) > 1 else "".join(request.resource),
        "authorization_details": request.authorization_details,
    }
    return {name: value for name, value in values.items() if value}


def add_query(endpoint: str, parameters: Mapping[str, str | tuple[str, ...]]) -> str:
    """`endpoint` with the parameters added to its query.

    RFC 6749 section 3.1: the endpoint's own query component "MUST be retained when adding additional query
    parameters." A space becomes `%20`, which means the same to every parser.
    """
    query = "&".join(
        [
            f"{_percent_encoded(name)}={_percent_encoded(each)}"
            for name, value in parameters.items()
            for each in ((value,) if isinstance(value, str) else value)
        ]
    )
    if not query:
        return endpoint
    return endpoint + _separator(endpoint) + query


def _separator(url: str) -> str:
    if "?" not in url:
        return "?"
    return "" if url.endswith(("?", "&")) else "&"


def _percent_encoded(text: str) -> str:
    # Most of what is sent needs no encoding, and to see that costs less than to ask `quote`.
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def pkce_challenge(code_verifier: str) -> str:
    """The S256 code challenge (RFC 7636 section 4.2).

    Raises:
        ValueError: the verifier is not 43 to 128 of the allowed characters (section 4.1).
    """
    # Ours are letters and digits: to see that costs less than to ask the pattern.
    is_plain = 43 <= len(code_verifier) <= 128 and code_verifier.isascii() and code_verifier.isalnum()
    if not (is_plain or _CODE_VERIFIER.fullmatch(code_verifier)):
        raise ValueError("a code_verifier has 43 to 128 characters of A-Z a-z 0-9 - . _ ~")
    return str(create_s256_code_challenge(code_verifier))


def check_authorization_response_iss(iss: str | None, metadata: ProviderMetadata, *, is_required: bool = False) -> None:
    """Refuse an authorization response of another issuer; pass if the caller did not say whose it is, and need not.

    RFC 9207 section 2.4: "Clients MUST then compare the extracted and URL-decoded value to the issuer identifier of
    the authorization server where the authorization request was sent to. This comparison MUST use simple string
    comparison".

    Raises:
        IssuerMismatch: it is another one, or missing.
    """
    if iss != metadata.issuer and (iss is not None or is_required):
        raise IssuerMismatch(metadata.issuer, iss)
