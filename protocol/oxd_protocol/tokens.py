"""The commands about tokens beyond a login: how they end, and how others are had for them."""

from typing import Annotated

from msgspec import Meta

from oxd_protocol.connect import EmptyResult
from oxd_protocol.params import Command, Token
from oxd_protocol.site import OxdIdParams

__all__ = ["REVOKE_TOKEN", "RevokeTokenParams"]


class RevokeTokenParams(OxdIdParams, frozen=True, kw_only=True):
    """The token that is to end."""

    token: Annotated[Token, Meta(description="An access or refresh token of the OP.")]
    token_type_hint: Annotated[str, Meta(description="access_token or refresh_token, to help the OP.")] | None = None


REVOKE_TOKEN = Command(
    "revoke_token",
    RevokeTokenParams,
    EmptyResult,
    "Ends a token at the OP, such as a refresh token that is not needed any more.",
    changes=True,
)
