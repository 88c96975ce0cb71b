"""Params and results that many commands share: which site a command is about, and the token that admits it."""

from typing import Annotated

from msgspec import Meta

from oxd_protocol.params import JsonText, Params, Result, Token

__all__ = ["OxdId", "OxdIdParams", "OxdIdResult", "ProtectedParams", "ProtectionToken", "TargetedParams"]

OxdId = Annotated[str, Meta(description="The site, as register_site answered it.")]
ProtectionToken = Annotated[
    Token,
    Meta(description="An access token of the site's setup client; needed where commands are protected."),
]


class ProtectedParams(Params, frozen=True, kw_only=True):
    """The params of every command that may need a protection token."""

    protection_access_token: ProtectionToken | None = None
    authorization_oxd_id: (
        Annotated[str, Meta(description="The site whose client the token belongs to, if that is another site.")] | None
    ) = None


class OxdIdParams(ProtectedParams, frozen=True, kw_only=True):
    """The params of every command about one site."""

    oxd_id: OxdId


class TargetedParams(OxdIdParams, frozen=True, kw_only=True):
    """The params of a command whose tokens may be for certain servers and certain things."""

    resource: Annotated[
        tuple[str, ...], Meta(description="The servers that the token is for, as absolute URIs (RFC 8707).")
    ] = ()
    authorization_details: Annotated[
        JsonText, Meta(description="What it is to allow there: a list of objects with a type (RFC 9396).")
    ] = None


class OxdIdResult(Result, frozen=True, kw_only=True):
    """The answer of commands that only confirm the site."""

    oxd_id: OxdId
