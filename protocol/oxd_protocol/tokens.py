"""The commands about tokens beyond a login: how they end, and how others are had for them."""

from typing import Annotated

from msgspec import Meta

from oxd_protocol.connect import EmptyResult
from oxd_protocol.oxd_id import OxdIdParams, TargetedParams
from oxd_protocol.params import Command, Result, Token, WordList

__all__ = [
    "EXCHANGE_TOKEN",
    "GET_DPOP_PROOF",
    "GET_SITE_TOKEN",
    "REVOKE_TOKEN",
    "DpopProofResult",
    "ExchangeTokenParams",
    "ExchangeTokenResult",
    "GetDpopProofParams",
    "GetSiteTokenParams",
    "RevokeTokenParams",
    "SiteTokenResult",
]


class GetDpopProofParams(OxdIdParams, frozen=True, kw_only=True):
    """The request of the application's own that the proof is for."""

    http_method: Annotated[str, Meta(description="For example GET.")]
    url: Annotated[str, Meta(description="The URL of the request; its query does not count.")]
    access_token: Annotated[Token, Meta(description="The access token that goes with the request.")] | None = None
    nonce: Annotated[str, Meta(description="What the server asked for (DPoP-Nonce).")] | None = None


class DpopProofResult(Result, frozen=True, kw_only=True):
    """What to send as the header DPoP, once."""

    dpop: str


class ExchangeTokenParams(TargetedParams, frozen=True, kw_only=True):
    """The token to give, and what is wanted for it; types are URNs, or their last words: access_token, id_token."""

    subject_token: Annotated[Token, Meta(description="Whose token it is, that is who the new one is about.")]
    subject_token_type: Annotated[str, Meta(description="access_token if absent.")] | None = None
    actor_token: Annotated[Token, Meta(description="Who acts for them, if somebody does.")] | None = None
    actor_token_type: Annotated[str, Meta(description="access_token if absent.")] | None = None
    requested_token_type: Annotated[str, Meta(description="The OP's choice if absent.")] | None = None
    audience: Annotated[tuple[str, ...], Meta(description="The names of the services that the token is for.")] = ()
    scope: Annotated[WordList, Meta(description="The scopes to ask for.")] = ()


class ExchangeTokenResult(Result, frozen=True, kw_only=True):
    """The new token; ``token_type`` is N_A for one that is no access token."""

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int
    refresh_token: str | None
    scope: str | None


class GetSiteTokenParams(TargetedParams, frozen=True, kw_only=True):
    """What the token is to be good for."""

    scope: Annotated[WordList, Meta(description="The scopes to ask for; the OP's choice if absent.")] = ()
    audience: Annotated[tuple[str, ...], Meta(description="The services that it is for, for OPs that ask.")] = ()


class SiteTokenResult(Result, frozen=True, kw_only=True):
    """An access token of the site's client."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str | None


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
EXCHANGE_TOKEN = Command(
    "exchange_token",
    ExchangeTokenParams,
    ExchangeTokenResult,
    "Exchanges a token for one that is good elsewhere, or for somebody else (RFC 8693).",
    changes=True,
)
GET_SITE_TOKEN = Command(
    "get_site_token",
    GetSiteTokenParams,
    SiteTokenResult,
    "Gets an access token for the site itself, with client credentials.",
)
REVOKE_TOKEN = Command(
    "revoke_token",
    RevokeTokenParams,
    EmptyResult,
    "Ends a token at the OP, such as a refresh token that is not needed any more.",
    changes=True,
)
