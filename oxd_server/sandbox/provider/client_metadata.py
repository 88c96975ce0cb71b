"""What a client may register: the types are checked here, what the values mean by authlib.

OpenID Connect Dynamic Client Registration 1.0 section 2, RFC 7591 section 2.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from authlib.oauth2.claims import BaseClaims
from authlib.oauth2.rfc7591 import ClientMetadataClaims
from authlib.oidc.registration import ClientMetadataClaims as OpenIdClientMetadataClaims
from joserfc.errors import JoseError
from msgspec import UNSET, UnsetType

from oxd_server.sandbox.provider.client_authentication import AUTH_METHODS, HMAC_ALGS, KEY_ALGS
from oxd_server.sandbox.provider.device import DEVICE_GRANT
from oxd_server.sandbox.provider.keys import SIGNING_ALGS
from oxd_server.sandbox.provider.model import SCOPES
from oxd_server.sandbox.provider.token_exchange import EXCHANGE_GRANT
from oxd_server.sandbox.uma.model import UMA_TICKET
from oxd_server.sandbox.web import OAuthError

__all__ = ["SUPPORTED", "checked_metadata", "is_redirect_uri"]

GRANT_TYPES = (
    "authorization_code",
    "implicit",
    "refresh_token",
    "client_credentials",
    UMA_TICKET,
    DEVICE_GRANT,
    EXCHANGE_GRANT,
)
RESPONSE_TYPES = ("code", "code id_token", "code id_token token")
SUPPORTED: dict[str, list[str]] = {
    "response_types_supported": list(RESPONSE_TYPES),
    "grant_types_supported": list(GRANT_TYPES),
    "subject_types_supported": ["public"],
    "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
    "token_endpoint_auth_signing_alg_values_supported": [*HMAC_ALGS, *KEY_ALGS],
    "id_token_signing_alg_values_supported": list(SIGNING_ALGS),
    "userinfo_signing_alg_values_supported": list(SIGNING_ALGS),
    "authorization_signing_alg_values_supported": list(SIGNING_ALGS),
}
"""What the provider can do, in the words of its discovery document; authlib compares a client's wishes with it."""

_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Texts = Annotated[list[_Text], msgspec.Meta(max_length=50)]
_OptionalText = _Text | UnsetType
_OptionalTexts = _Texts | UnsetType


class _KeySet(msgspec.Struct):
    keys: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=50)]


class _Metadata(msgspec.Struct):
    """The members that the provider knows. It drops the others, as RFC 7591 section 2 asks."""

    redirect_uris: _Texts = []
    grant_types: _Texts = msgspec.field(default_factory=lambda: ["authorization_code"])
    response_types: _Texts = msgspec.field(default_factory=lambda: ["code"])
    scope: _Text | _Texts = " ".join(SCOPES)
    token_endpoint_auth_method: _Text = "client_secret_basic"
    application_type: Literal["web", "native"] = "web"
    subject_type: _Text = "public"
    id_token_signed_response_alg: _Text = "RS256"
    token_endpoint_auth_signing_alg: _OptionalText = UNSET
    userinfo_signed_response_alg: _OptionalText = UNSET
    authorization_signed_response_alg: _OptionalText = UNSET
    request_object_signing_alg: _OptionalText = UNSET
    require_signed_request_object: bool | UnsetType = UNSET
    require_pushed_authorization_requests: bool | UnsetType = UNSET
    client_name: _OptionalText = UNSET
    client_uri: _OptionalText = UNSET
    logo_uri: _OptionalText = UNSET
    policy_uri: _OptionalText = UNSET
    tos_uri: _OptionalText = UNSET
    jwks: _KeySet | UnsetType = UNSET
    jwks_uri: _OptionalText = UNSET
    sector_identifier_uri: _OptionalText = UNSET
    initiate_login_uri: _OptionalText = UNSET
    software_id: _OptionalText = UNSET
    software_version: _OptionalText = UNSET
    frontchannel_logout_uri: _OptionalText = UNSET
    backchannel_logout_uri: _OptionalText = UNSET
    backchannel_logout_session_required: bool | UnsetType = UNSET
    dpop_bound_access_tokens: bool | UnsetType = UNSET
    contacts: _OptionalTexts = UNSET
    post_logout_redirect_uris: _OptionalTexts = UNSET
    claims_redirect_uris: _OptionalTexts = UNSET
    default_acr_values: _OptionalTexts = UNSET
    request_uris: _OptionalTexts = UNSET
    ui_locales: _OptionalTexts = UNSET
    claims_locales: _OptionalTexts = UNSET
    require_auth_time: bool | UnsetType = UNSET
    default_max_age: int | UnsetType = UNSET


def checked_metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that the provider will keep, defaults filled in; OAuthError if it is not acceptable."""
    given = {name: value for name, value in body.items() if value is not None}
    given.setdefault("scope", given.get("scopes", " ".join(SCOPES)))
    try:
        known = msgspec.convert(given, _Metadata)
    except msgspec.ValidationError as error:
        raise OAuthError("invalid_client_metadata", str(error)) from None
    words = known.scope.split() if isinstance(known.scope, str) else known.scope
    known.scope = " ".join(word for word in dict.fromkeys(words) if word in SCOPES)
    known.response_types = [" ".join(sorted(item.split())) for item in known.response_types]
    metadata: dict[str, Any] = msgspec.to_builtins(known)
    if "jwks" in metadata:
        metadata["jwks"] = given["jwks"]
    _check(metadata)
    return metadata


def _check(metadata: dict[str, Any]) -> None:
    needs_redirect = {"authorization_code", "implicit"} & set(metadata["grant_types"])
    if not all(map(is_redirect_uri, metadata["redirect_uris"])) or (needs_redirect and not metadata["redirect_uris"]):
        message = "a redirect URI is required, and it must be absolute and without a fragment"
        raise OAuthError("invalid_redirect_uri", message)
    for claims_class in (_OAuthClaims, OpenIdClientMetadataClaims, _SandboxClaims):
        claims: BaseClaims = claims_class(metadata, {}, _options(claims_class), SUPPORTED)
        try:
            claims.validate()
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise OAuthError("invalid_client_metadata", f"not acceptable: {error}"[:200]) from error


def _options(claims_class: Any) -> dict[str, Any]:
    return dict(claims_class.get_claims_options(SUPPORTED)) if hasattr(claims_class, "get_claims_options") else {}


class _OAuthClaims(ClientMetadataClaims):
    """RFC 7591's members; redirect URIs are looked at before, because native applications have schemes of their own."""

    def validate_redirect_uris(self) -> None:
        """Nothing is left to check."""


class _SandboxClaims(BaseClaims):
    """What authlib does not look at: further redirect URIs, and members that need each other."""

    def validate(self, now: Any = None, leeway: int = 0) -> None:
        del now, leeway
        for name in ("post_logout_redirect_uris", "claims_redirect_uris"):
            if not all(map(is_redirect_uri, self.get(name, []))):
                raise ValueError(f"{name} must be absolute and without a fragment")
        method = self["token_endpoint_auth_method"]
        if method == "private_key_jwt" and not ("jwks" in self or "jwks_uri" in self):
            raise ValueError("private_key_jwt needs jwks or jwks_uri")
        if method == "none" and "client_credentials" in self["grant_types"]:
            raise ValueError("a public client cannot use client_credentials")
        algs = (self["id_token_signed_response_alg"], self.get("userinfo_signed_response_alg"))
        if method == "none" and "HS256" in algs:
            raise ValueError("HS256 needs a client secret")


def is_redirect_uri(uri: str) -> bool:
    """Whether `uri` is absolute, printable ASCII and without a fragment (RFC 6749 3.1.2)."""
    if not re.fullmatch(r"[!-~]+", uri) or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(host)
    return bool(parts.scheme) and parts.scheme not in ("javascript", "data", "vbscript", "about", "blob", "file")
