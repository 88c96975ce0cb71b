"""The commands about tokens beyond a login: how they end, and how others are had for them."""

from typing import Annotated

from msgspec import Meta

from oxd_protocol.connect import EmptyResult
from oxd_protocol.params import Command, Result, Token
from oxd_protocol.site import OxdIdParams

__all__ = ["GET_DPOP_PROOF", "REVOKE_TOKEN", "DpopProofResult", "GetDpopProofParams", "RevokeTokenParams"]


class GetDpopProofParams(OxdIdParams, frozen=True, kw_only=True):
    """The request of the application's own that the proof is for."""

    http_method: Annotated[str, Meta(description="For example GET.")]
    url: Annotated[str, Meta(description="The URL of the request; its query does not count.")]
    access_token: Annotated[Token, Meta(description="The access token that goes with the request.")] | None = None
    nonce: Annotated[str, Meta(description="What the server asked for (DPoP-Nonce).")] | None = None


class DpopProofResult(Result, frozen=True, kw_only=True):
    """What to send as the header DPoP, once."""

    dpop: str


class RevokeTokenParams(OxdIdParams, frozen=True, kw_only=True):
    """The token that is to end."""

    token: Annotated[Token, Meta(description="An access or refresh token of the OP.")]
    token_type_hint: Annotated[str, Meta(description="access_token or refresh_token, to help the OP.")] | None = None


GET_DPOP_PROOF = Command(
    "get_dpop_proof",
    GetDpopProofParams,
    DpopProofResult,
    "Makes the DPoP proof for a request of the application's own.",
)
REVOKE_TOKEN = Command(
    "revoke_token",
    RevokeTokenParams,
    EmptyResult,
    "Ends a token at the OP, such as a refresh token that is not needed any more.",
    changes=True,
)
