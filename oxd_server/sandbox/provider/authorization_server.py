"""The OAuth 2.0 and OpenID Connect core: authlib's authorization server, with our tables behind it.

authlib decides what the specifications say; here is what it leaves to its users (where things are kept) and what this
provider adds: S256 alone, reuse of a code or of a refresh token revokes everything that came from the same login, and
the UMA grant.
"""

from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidClientError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749 import UnauthorizedClientError as Unauthorized
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, BaseGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc6749.grants import TokenEndpointMixin as TokenGrant
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from authlib.oidc.core.errors import (
    RegistrationNotSupportedError,
    RequestNotSupportedError,
    RequestURINotSupportedError,
)
from authlib.oidc.core.grants import OpenIDHybridGrant

from oxd_server.entrances.http1_messages import HttpResponse
from oxd_server.sandbox.provider.access_token import new_access_token
from oxd_server.sandbox.provider.adapter import FormRequest, MetadataRequest, http_response
from oxd_server.sandbox.provider.client_authentication import ClientAssertion
from oxd_server.sandbox.provider.device import DeviceEndpoint, DeviceGrant
from oxd_server.sandbox.provider.endpoints import Configuration, Introspection, Registration, Revocation
from oxd_server.sandbox.provider.id_token import issue_id_token
from oxd_server.sandbox.provider.model import (
    ACCESS_TOKEN_SECONDS,
    CODE_SECONDS,
    Client,
    Code,
    Grant,
    ProviderState,
    Token,
)
from oxd_server.sandbox.provider.token_exchange import ExchangeGrant
from oxd_server.sandbox.provider.users import User
from oxd_server.sandbox.uma.grant import uma_ticket
from oxd_server.sandbox.uma.model import UMA_TICKET

__all__ = [
    "S256",
    "ClientGrant",
    "CodeGrant",
    "HybridGrant",
    "IdTokens",
    "OpenIdRequest",
    "RefreshGrant",
    "Server",
    "UmaGrant",
]

AUTHENTICATION = ("client_assertion_jwt", "client_secret_basic", "client_secret_post", "none")
PROMPTS = {"none", "login", "consent", "select_account"}


class Server(AuthorizationServer):
    """The authorization server over one provider's state. It waits for nothing: everything is in memory."""

    def __init__(self, state: ProviderState) -> None:
        super().__init__()
        self.state = state
        bearer = BearerTokenGenerator(self._access_token, self._refresh_token, ACCESS_TOKEN_SECONDS)
        self.register_token_generator("default", lambda **asked: {"scope": "", **bearer(**asked)})
        self.register_client_auth_method(
            "client_assertion_jwt", lambda query_client, request: ClientAssertion(state)(query_client, request)
        )
        id_tokens = IdTokens()
        self.register_grant(CodeGrant, [S256(), id_tokens, OpenIdRequest()])
        self.register_grant(HybridGrant, [S256(), OpenIdRequest()])
        self.register_grant(RefreshGrant, [id_tokens])
        self.register_grant(ClientGrant)
        self.register_grant(UmaGrant)
        self.register_grant(DeviceGrant, [id_tokens])
        self.register_grant(ExchangeGrant)
        for endpoint in (DeviceEndpoint, Registration, Configuration, Introspection, Revocation):
            self.register_endpoint(endpoint)

    def _access_token(self, *, client: Client, user: User | None, scope: str, **_: Any) -> str:
        return new_access_token(self.state, client.client_id, user, scope)

    def _refresh_token(self, **_: Any) -> str:
        return self.state.new_token()

    def query_client(self, client_id: str) -> Client | None:
        return self.state.clients.get(client_id)

    def authenticate_client(self, request: FormRequest, methods: Any, endpoint: str = "token") -> Client:
        """The client, by the one method that it registered, whichever grant or endpoint it wants to use."""
        used = ["Authorization" in request.headers, "client_secret" in request.form, "client_assertion" in request.form]
        # RFC 6749 2.3: "The client MUST NOT use more than one authentication method in each request."
        if sum(used) > 1:
            raise InvalidRequestError("more than one client authentication method was used")
        try:
            client: Client = super().authenticate_client(request, AUTHENTICATION, endpoint)
        except (InvalidClientError, UnicodeDecodeError) as error:
            # RFC 6749 5.2: 401 with WWW-Authenticate if the Authorization header was used, and allowed in any case.
            raise InvalidClientError("the client cannot be authenticated", status_code=401) from error
        if client.auth_method.startswith("client_secret") and 0 < client.secret_expires_at <= self.state.seconds():
            raise InvalidClientError("the client secret has expired", status_code=401)
        return client

    def save_token(self, token: dict[str, Any], request: FormRequest) -> None:
        source = request.authorization_code or request.refresh_token
        grant = source.grant if source else Grant(request.client.client_id, request.user, token["scope"])
        self.state.keep_access_token(token["access_token"], grant, token["scope"])
        if "refresh_token" in token:
            self.state.keep_refresh_token(token["refresh_token"], grant)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: FormRequest) -> FormRequest:
        return request

    def create_json_request(self, request: MetadataRequest) -> MetadataRequest:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> HttpResponse:
        return http_response(status, body, headers)


# --- what is added to grants -----------------------------------------------------------------


class S256(CodeChallenge):
    """PKCE (RFC 7636) with S256 alone. Section 4.3 makes plain the default, which RFC 9700 2.1.1 advises against."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, result: Any) -> None:
        super().validate_code_challenge(grant, result)
        params = grant.request.payload.data
        if "code_challenge" in params and "code_challenge_method" not in params:
            raise InvalidRequestError("code_challenge_method must be S256")
        if "code_challenge" not in params and grant.client.auth_method == "none":
            raise InvalidRequestError("a public client must use PKCE")


class IdTokens(OpenIDCode):
    """An id_token beside the access token, if the scope says openid."""

    def exists_nonce(self, nonce: str, request: FormRequest) -> bool:
        """False: a nonce is the relying party's, and it is the one who checks it."""
        del nonce, request
        return False

    def process_token(self, grant: Any, response: Any) -> None:
        _, token, _ = response
        if "openid" not in token["scope"].split():
            return
        request = grant.request
        source = request.authorization_code or request.refresh_token
        nonce = request.authorization_code.get_nonce() if request.authorization_code else None
        token["id_token"] = issue_id_token(
            grant.server.state, request.client, source.grant, nonce=nonce, access_token=token["access_token"]
        )


class OpenIdRequest:
    """The checks of an authentication request that authlib does not make (OpenID Connect Core 3.1.2.1)."""

    def __call__(self, grant: Any) -> None:
        grant.register_hook("after_validate_authorization_request_payload", self.check)

    def check(self, grant: Any, result: Any) -> None:
        del result
        params = grant.request.payload.data
        for name, refusal in (
            ("request", RequestNotSupportedError),
            ("request_uri", RequestURINotSupportedError),
            ("registration", RegistrationNotSupportedError),
        ):
            if name in params:
                raise refusal
        # Core 3.1.2.1: "OpenID Connect requests MUST contain the openid scope value."
        if "openid" not in (grant.request.scope or "").split():
            raise InvalidScopeError("the scope openid is required, and the client must be registered for it")
        if not grant.client.check_grant_type("authorization_code"):
            raise Unauthorized("the client is not registered for authorization_code")
        if not set(params.get("prompt", "").split()) <= PROMPTS:
            raise InvalidRequestError("this prompt is not supported")
        if not params.get("max_age", "0").isdecimal() or len(params.get("max_age", "")) > 9:
            raise InvalidRequestError("max_age must be a number of seconds")
        if params.get("response_mode", grant.RESPONSE_MODES[0]) not in grant.RESPONSE_MODES:
            raise InvalidRequestError("this response_mode is not supported here")


def _save_code(code: str, request: FormRequest, state: ProviderState) -> None:
    """Keep a code; `request.user` has just allowed it."""
    params = request.payload.data
    grant = Grant(
        request.client.client_id, request.user, request.scope, request.auth_time, params.get("nonce"), request.sid
    )
    request.authorization_code = Code(grant, params["redirect_uri"], params.get("code_challenge"))
    state.codes.put(code, request.authorization_code, CODE_SECONDS)


# --- grants ----------------------------------------------------------------------------------


class CodeGrant(AuthorizationCodeGrant):
    """The code flow (RFC 6749 4.1, OpenID Connect Core 3.1)."""

    RESPONSE_MODES = ("query", "fragment", "jwt", "query.jwt", "fragment.jwt")

    def create_authorization_response(self, redirect_uri: str, grant_user: User | None) -> Any:
        if self.request.payload.data.get("response_mode") not in ("fragment", "fragment.jwt"):
            return super().create_authorization_response(redirect_uri, grant_user)
        status, body, headers = super().create_authorization_response("", grant_user)
        return status, body, [(name, f"{redirect_uri}#{value.removeprefix('?')}") for name, value in headers]

    def save_authorization_code(self, code: str, request: FormRequest) -> None:
        _save_code(code, request, self.server.state)

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        known: Code | None = self.server.state.codes.get(code)
        if known is None or known.grant.client_id != client.client_id:
            return None
        # RFC 6749 4.1.2: a code used more than once MUST be denied, and the tokens issued for it SHOULD be revoked.
        if known.used:
            known.grant.revoked = True
            return None
        return known

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Remember that it was used, so that its reuse is noticed."""
        authorization_code.used = True

    def authenticate_user(self, authorization_code: Code) -> User | None:
        return authorization_code.grant.user


class HybridGrant(OpenIDHybridGrant):
    """The front channel of the hybrid flow (OpenID Connect Core 3.3); its codes are redeemed by `CodeGrant`."""

    RESPONSE_TYPES = frozenset({"code id_token", "code id_token token"})
    RESPONSE_MODES = ("fragment", "jwt", "fragment.jwt")

    def exists_nonce(self, nonce: str, request: FormRequest) -> bool:
        del nonce, request
        return False

    def save_authorization_code(self, code: str, request: FormRequest) -> None:
        _save_code(code, request, self.server.state)

    def process_implicit_token(self, token: dict[str, Any], code: str | None = None) -> dict[str, Any]:
        grant = self.request.authorization_code.grant
        id_token = issue_id_token(
            self.server.state,
            self.client,
            grant,
            nonce=grant.nonce,
            access_token=token.get("access_token"),
            code=code,
        )
        return {**token, "id_token": id_token}


class RefreshGrant(RefreshTokenGrant):
    """Refresh tokens with rotation (RFC 6749 6)."""

    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        token: Token | None = self.server.state.refresh_tokens.get(refresh_token)
        # RFC 9700 4.14.2: with rotation, the second use of a refresh token tells of a theft: revoke all.
        if token is not None and token.used and token.check_client(self.client):
            token.grant.revoked = True
        return None if token is None or token.is_revoked() else token

    def authenticate_user(self, refresh_token: Token) -> User | None:
        return refresh_token.grant.user

    def revoke_old_credential(self, refresh_token: Token) -> None:
        refresh_token.used = True


class ClientGrant(ClientCredentialsGrant):
    """A token for the client itself (RFC 6749 4.4)."""

    def validate_token_request(self) -> None:
        super().validate_token_request()
        # 4.4: "MUST only be used by confidential clients".
        if self.client.auth_method == "none":
            raise Unauthorized("a public client cannot use client_credentials")


class UmaGrant(BaseGrant, TokenGrant):
    """From a permission ticket to an RPT (UMA 2.0 Grant, section 3.3)."""

    GRANT_TYPE = UMA_TICKET

    def validate_token_request(self) -> None:
        self.request.client = self.authenticate_token_endpoint_client()
        if not self.client.check_grant_type(self.GRANT_TYPE):
            raise Unauthorized("the client is not registered for the UMA grant")

    def create_token_response(self) -> Any:
        answer = uma_ticket(self.server.state, self.client, self.request.form)
        return 200, answer, self.TOKEN_RESPONSE_HEADER
