"""The OpenID Connect commands: send a user to log in, turn the code into tokens, get claims, log out."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from oxd_protocol.messages import claims_as_lists
from oxd_protocol.oxd_id import OxdIdParams, TargetedParams
from oxd_protocol.params import Command, JsonObject, Params, Result, Token, WordList

__all__ = [
    "ACCESS_TOKEN_STATUS",
    "GET_ACCESS_TOKEN_BY_REFRESH_TOKEN",
    "GET_AUTHORIZATION_URL",
    "GET_LOGOUT_URI",
    "GET_REQUEST_OBJECT",
    "GET_REQUEST_OBJECT_URI",
    "GET_TOKENS_BY_CODE",
    "GET_USER_INFO",
    "ID_TOKEN_STATUS",
    "INITIATE_THIRD_PARTY_LOGIN",
    "UNSUPPORTED",
    "VALIDATE",
    "AccessTokenStatusParams",
    "AccessTokenStatusResult",
    "ClaimsOfUser",
    "EmptyResult",
    "GetAccessTokenByRefreshTokenParams",
    "GetAuthorizationUrlParams",
    "GetAuthorizationUrlResult",
    "GetLogoutUriParams",
    "GetLogoutUriResult",
    "GetRequestObjectParams",
    "GetRequestObjectUriParams",
    "GetRequestObjectUriResult",
    "GetTokensByCodeParams",
    "GetTokensByCodeResult",
    "GetUserInfoParams",
    "GetUserInfoResult",
    "IdTokenStatusParams",
    "IdTokenStatusResult",
    "InitiateThirdPartyLoginParams",
    "IssuedTokens",
    "RefreshedTokenResult",
    "RequestObjectResult",
    "ValidateParams",
]

Claims = Annotated[dict[str, list[str]], Meta(description="Every value is a list of texts, numbers included.")]


class GetAuthorizationUrlParams(TargetedParams, frozen=True, kw_only=True):
    """How this login is to be asked for; what is absent is as registered."""

    scope: Annotated[WordList, Meta(description="Default: the site's registered scopes.")] = ()
    acr_values: Annotated[WordList, Meta(description="Default: the site's acr_values.")] = ()
    prompt: Annotated[str, Meta(description="For example login, to have the user log in again.")] | None = None
    response_mode: Annotated[str, Meta(description="How the login comes back; default: the site's.")] | None = None
    ui_locales: Annotated[
        WordList, Meta(description="Languages of the OP's pages; not sent if absent, unless the server is set to.")
    ] = ()
    claims_locales: Annotated[WordList, Meta(description="Languages of claims; as ui_locales.")] = ()
    hd: Annotated[str, Meta(description="The hosted domain, for OPs that know this parameter.")] | None = None
    custom_parameters: Annotated[
        dict[str, str], Meta(description="Further query parameters; none may override one of the protocol's.")
    ] = msgspec.field(default_factory=dict)
    params: Annotated[
        dict[str, str], Meta(description="Further query parameters, sent as they are and in no other way.")
    ] = msgspec.field(default_factory=dict)
    redirect_uri: Annotated[str, Meta(description="One of the registered ones. Default: the first.")] | None = None
    response_types: Annotated[
        tuple[str, ...], Meta(description="Registered ones; others are ignored. Default: the site's.")
    ] = ()
    state: Annotated[str, Meta(description="The caller's own state; it comes back unchanged.")] | None = None
    nonce: Annotated[str, Meta(description="The nonce that the id_token must have.")] | None = None


class GetAuthorizationUrlResult(Result, frozen=True, kw_only=True):
    """Where to send the user."""

    authorization_url: str


class GetTokensByCodeParams(TargetedParams, frozen=True, kw_only=True):
    """What the OP sent back with the user."""

    code: Annotated[str, Meta(description="The code that came with the OP's redirect; not needed with response.")]
    state: Annotated[str, Meta(description="The state that came with it; not needed with response.")]
    response: (
        Annotated[Token, Meta(description="The signed response of the OP (JARM), which holds code and state.")] | None
    ) = None
    iss: (
        Annotated[str, Meta(description="The iss parameter of the OP's redirect (RFC 9207), to have it checked.")]
        | None
    ) = None
    authentication_method: (
        Annotated[str, Meta(description="How the client authenticates; the registered method if absent.")] | None
    ) = None
    algorithm: Annotated[str, Meta(description="For example RS256.")] | None = None


class GetTokensByCodeResult(Result, frozen=True, kw_only=True):
    """The tokens; ``id_token_claims`` is left out where the answer would not fit into a frame."""

    access_token: str
    expires_in: int
    id_token: str
    refresh_token: str | None
    id_token_claims: Claims
    authorization_details: list[Any] | UnsetType = UNSET


class IssuedTokens(GetTokensByCodeResult, frozen=True, kw_only=True):
    """The tokens, with the id_token's payload as it is."""

    id_token_claims: dict[str, Any]

    def in_envelope(self) -> GetTokensByCodeResult:
        """Return it with claims as the libraries read them."""
        return GetTokensByCodeResult(
            access_token=self.access_token,
            expires_in=self.expires_in,
            id_token=self.id_token,
            refresh_token=self.refresh_token,
            id_token_claims=claims_as_lists(self.id_token_claims),
            authorization_details=self.authorization_details,
        )


class GetAccessTokenByRefreshTokenParams(TargetedParams, frozen=True, kw_only=True):
    """A refresh token, and fewer scopes if wanted."""

    refresh_token: Annotated[Token, Meta(description="A refresh token of the OP.")]
    scope: Annotated[WordList, Meta(description="Default: the scopes granted before.")] = ()


class RefreshedTokenResult(Result, frozen=True, kw_only=True):
    """The new tokens; ``refresh_token`` is null where the OP sent no new one."""

    access_token: str
    expires_in: int
    refresh_token: str | None
    scope: str | None
    authorization_details: list[Any] | UnsetType = UNSET


class GetUserInfoParams(OxdIdParams, frozen=True, kw_only=True):
    """An access token with the scope openid."""

    access_token: Annotated[Token, Meta(description="The user's access token.")]
    id_token: Annotated[Token, Meta(description="The claims' sub must be that of this id_token.")] | None = None


class GetUserInfoResult(Result, frozen=True, kw_only=True):
    """The user's claims. The two tokens are always null; old libraries look for the keys."""

    claims: Claims
    refresh_token: None = None
    access_token: None = None


class ClaimsOfUser(GetUserInfoResult, frozen=True, kw_only=True):
    """The user's claims as the OP sent them."""

    claims: dict[str, Any]

    def in_envelope(self) -> GetUserInfoResult:
        """Return it with claims as the libraries read them."""
        return GetUserInfoResult(claims=claims_as_lists(self.claims))


class GetLogoutUriParams(OxdIdParams, frozen=True, kw_only=True):
    """What the logout request is to carry."""

    id_token_hint: (
        Annotated[Token, Meta(description="Default: the site's last id_token, as long as it has had one user.")] | None
    ) = None
    post_logout_redirect_uri: Annotated[str, Meta(description="Default: the site's.")] | None = None
    state: Annotated[str, Meta(description="Comes back at the post_logout_redirect_uri.")] | None = None
    session_state: Annotated[str, Meta(description="The session_state that came with the OP's redirect.")] | None = None
    custom_parameters: Annotated[
        dict[str, str],
        Meta(description="Further query parameters, as some OPs want them; none may override one of the protocol's."),
    ] = msgspec.field(default_factory=dict)


class GetLogoutUriResult(Result, frozen=True, kw_only=True):
    """Where to send the user to log out."""

    uri: str


class ValidateParams(OxdIdParams, frozen=True, kw_only=True):
    """What the application got by itself from a hybrid flow."""

    code: Annotated[str, Meta(description="The code that came with the OP's redirect.")]
    state: Annotated[str, Meta(description="The state that came with the OP's redirect.")]
    id_token: Annotated[Token, Meta(description="An id_token of the OP.")]
    access_token: (
        Annotated[Token, Meta(description="The access token of the same login, to have it checked too.")] | None
    ) = None
    nonce: Annotated[str, Meta(description="The nonce that the id_token must have.")] | None = None


class EmptyResult(Result, frozen=True, kw_only=True):
    """Nothing to say but ok."""


class IdTokenStatusParams(OxdIdParams, frozen=True, kw_only=True):
    """An id_token, and what was issued or sent with it: the id_token's hashes of these are checked if it has them."""

    id_token: Annotated[Token, Meta(description="An id_token of the OP.")]
    nonce: Annotated[str, Meta(description="The nonce that the id_token must have.")] | None = None
    code: Annotated[str, Meta(description="Compared with c_hash.")] | None = None
    access_token: Annotated[Token, Meta(description="Compared with at_hash.")] | None = None
    state: Annotated[str, Meta(description="Compared with s_hash.")] | None = None


class IdTokenStatusResult(Result, frozen=True, kw_only=True):
    """Times are in seconds since 1970."""

    active: bool
    expires_at: int
    issued_at: int
    claims: Claims


class AccessTokenStatusParams(OxdIdParams, frozen=True, kw_only=True):
    """An access token and the id_token that came with it."""

    id_token: Annotated[Token, Meta(description="An id_token of the OP.")]
    access_token: Annotated[Token, Meta(description="The access token that came with the id_token.")]


class AccessTokenStatusResult(Result, frozen=True, kw_only=True):
    """Times are in milliseconds since 1970."""

    active: bool
    expires_at: int
    issued_at: int


class GetRequestObjectUriParams(OxdIdParams, frozen=True, kw_only=True):
    """What the request object holds, and where the OP fetches it."""

    oxd_host_url: (
        Annotated[str, Meta(description="The URL of this server's HTTPS front as OPs reach it. Default: https.url.")]
        | None
    ) = None
    request_object_signing_alg: (
        Annotated[str, Meta(description="The algorithm of request objects; default: the registered one.")] | None
    ) = None
    params: Annotated[JsonObject, Meta(description="Its claims: parameters of the authorization request.")] = (
        msgspec.field(default_factory=dict)
    )


class GetRequestObjectUriResult(Result, frozen=True, kw_only=True):
    """What to send as request_uri."""

    request_uri: str


class GetRequestObjectParams(Params, frozen=True, kw_only=True):
    """The last part of a request_uri."""

    request_object_id: Annotated[str, Meta(description="The last part of the request_uri.")]


class RequestObjectResult(Result, frozen=True, kw_only=True):
    """The request object, a JWT."""

    request_object: str


class InitiateThirdPartyLoginParams(OxdIdParams, frozen=True, kw_only=True):
    """What came with the browser to the application's initiate_login_uri."""

    iss: Annotated[str, Meta(description="The OP to log in at: the issuer of the site's OP.")]
    login_hint: Annotated[str, Meta(description="Who may want to log in; sent to the OP as it is.")] | None = None
    target_link_uri: (
        Annotated[str, Meta(description="Where the user is to come back to: one of the registered redirect URIs.")]
        | None
    ) = None


class AnyParams(Params, frozen=True, kw_only=True):
    """The params of a command that is no more: nothing is read."""


GET_AUTHORIZATION_URL = Command(
    "get_authorization_url",
    GetAuthorizationUrlParams,
    GetAuthorizationUrlResult,
    "Makes the URL at the OpenID Provider where the user logs in.",
    aliases={"CustomParameters": "custom_parameters"},
)
GET_TOKENS_BY_CODE = Command(
    "get_tokens_by_code",
    GetTokensByCodeParams,
    GetTokensByCodeResult,
    "Turns the code and state of the OP's redirect into tokens, after checking the id_token.",
    instead={"code": "response", "state": "response"},
    recomputable="id_token_claims",
    typed_result=IssuedTokens,
    changes=True,
)
GET_ACCESS_TOKEN_BY_REFRESH_TOKEN = Command(
    "get_access_token_by_refresh_token",
    GetAccessTokenByRefreshTokenParams,
    RefreshedTokenResult,
    "Gets a new access token with a refresh token.",
    changes=True,
)
GET_USER_INFO = Command(
    "get_user_info",
    GetUserInfoParams,
    GetUserInfoResult,
    "Gets the user's claims.",
    typed_result=ClaimsOfUser,
)
GET_LOGOUT_URI = Command(
    "get_logout_uri",
    GetLogoutUriParams,
    GetLogoutUriResult,
    "Makes the URL at the OP where the user logs out.",
)
VALIDATE = Command(
    "validate", ValidateParams, EmptyResult, "Checks a code, a state and an id_token that belong together."
)
ID_TOKEN_STATUS = Command(
    "id_token_status", IdTokenStatusParams, IdTokenStatusResult, "Checks an id_token and shows its claims."
)
ACCESS_TOKEN_STATUS = Command(
    "access_token_status",
    AccessTokenStatusParams,
    AccessTokenStatusResult,
    "Checks an access token against the id_token that came with it.",
)

GET_REQUEST_OBJECT_URI = Command(
    "get_request_object_uri",
    GetRequestObjectUriParams,
    GetRequestObjectUriResult,
    "Makes a request object, and the request_uri under which the OP fetches it.",
    generation=4,
)
GET_REQUEST_OBJECT = Command(
    "get_request_object",
    GetRequestObjectParams,
    RequestObjectResult,
    "Hands out a request object, as the OP asks for it.",
    protected=False,
    missing={"request_object_id": "request_object_not_found"},
    generation=4,
)
INITIATE_THIRD_PARTY_LOGIN = Command(
    "initiate_third_party_login",
    InitiateThirdPartyLoginParams,
    GetAuthorizationUrlResult,
    "Makes the URL of a login that somebody else has started.",
    missing={"iss": "bad_request_no_issuer"},
    generation=4,
)


def _unsupported(name: str, instead: str) -> Command[AnyParams, EmptyResult]:
    summary = f"No longer supported: {instead}"
    return Command(name, AnyParams, EmptyResult, summary, protected=False, unsupported=instead)


UNSUPPORTED: tuple[Command[AnyParams, EmptyResult], ...] = (
    _unsupported(
        "get_authorization_code",
        "Send the user to the URL from get_authorization_url; the OP redirects with the code.",
    ),
    _unsupported("authorization_code_flow", "Use get_authorization_url and get_tokens_by_code."),
    _unsupported("implicit_flow", "Use get_authorization_url and get_tokens_by_code."),
    _unsupported("license_status", "There is no licence to ask about; simply leave the call out."),
    _unsupported("uma_rp_authorize_rpt", "Use uma_rp_get_rpt with the ticket."),
    _unsupported("uma_rp_get_gat", "Use uma_rp_get_rpt with the ticket."),
)
