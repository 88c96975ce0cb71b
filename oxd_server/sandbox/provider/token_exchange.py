"""One token for another (RFC 8693), as an extension grant of authlib."""

from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc6749 import UnauthorizedClientError as Unauthorized
from authlib.oauth2.rfc6749.grants import BaseGrant
from authlib.oauth2.rfc6749.grants import TokenEndpointMixin as TokenGrant

from oxd_server.sandbox.provider.access_token import new_access_token
from oxd_server.sandbox.provider.model import ACCESS_TOKEN_SECONDS, Grant, ProviderState

__all__ = ["EXCHANGE_GRANT", "ExchangeGrant"]

EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class ExchangeGrant(BaseGrant, TokenGrant):
    """An access token for an access token of anybody: who asks gets it in their own name, about the same user."""

    GRANT_TYPE = EXCHANGE_GRANT

    def validate_token_request(self) -> None:
        self.request.client = self.authenticate_token_endpoint_client()
        if not self.client.check_grant_type(self.GRANT_TYPE):
            raise Unauthorized("the client is not registered for token exchange")
        # 2.1: subject_token_type is REQUIRED.
        if self.request.form.get("subject_token_type") != _ACCESS_TOKEN:
            raise InvalidRequestError("the subject_token must be an access token")

    def create_token_response(self) -> Any:
        state: ProviderState = self.server.state
        params = self.request.form
        subject = state.live_access_token(params.get("subject_token"))
        if subject is None:
            raise InvalidRequestError("the subject_token is not active")  # 2.2.2: "error code [...] invalid_request"
        scope = params.get("scope") or subject.scope
        if not set(scope.split()) <= set(subject.scope.split()):
            raise InvalidRequestError("the scope is more than that of the subject_token")
        grant = Grant(self.client.client_id, subject.grant.user, scope)
        text = new_access_token(state, self.client.client_id, subject.grant.user, scope)
        state.keep_access_token(text, grant, scope)
        answer = {
            "access_token": text,
            "issued_token_type": _ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": ACCESS_TOKEN_SECONDS,
            "scope": scope,
        }
        return 200, answer, self.TOKEN_RESPONSE_HEADER
