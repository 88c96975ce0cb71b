"""Registration and its management (RFC 7591, RFC 7592), introspection (RFC 7662) and revocation (RFC 7009)."""

from typing import Any

from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7591 import ClientRegistrationEndpoint
from authlib.oauth2.rfc7592 import ClientConfigurationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from oxd_server.sandbox.provider.adapter import FormRequest, MetadataRequest
from oxd_server.sandbox.provider.client_metadata import checked_metadata
from oxd_server.sandbox.provider.model import Client, Grant, ProviderState, Token
from oxd_server.sandbox.uma.grant import introspected_permissions
from oxd_server.sandbox.web import OAuthError, bearer_token, query, same_secret

__all__ = ["Configuration", "Introspection", "Registration", "Revocation"]


class Registration(ClientRegistrationEndpoint):
    """Anybody may register."""

    def authenticate_token(self, request: MetadataRequest) -> bool:
        del request
        return True

    def extract_client_metadata(self, request: MetadataRequest) -> dict[str, Any]:
        return checked_metadata(request.payload.data)

    def generate_client_info(self, request: MetadataRequest) -> dict[str, Any]:
        state: ProviderState = self.server.state
        info: dict[str, Any] = {"client_id": state.new_token(), "client_id_issued_at": state.seconds()}
        if request.payload.data.get("token_endpoint_auth_method") != "none":
            info |= {"client_secret": state.new_token(), "client_secret_expires_at": 0}
        return info

    def save_client(self, client_info: dict[str, Any], client_metadata: dict[str, Any], request: Any) -> Client:
        del request
        state: ProviderState = self.server.state
        client = Client(
            client_id=client_info["client_id"],
            metadata=client_metadata,
            secret=client_info.get("client_secret"),
            registration_access_token=state.new_token(),
            issued_at=client_info["client_id_issued_at"],
        )
        state.clients.put(client.client_id, client)
        return client

    def generate_client_registration_info(self, client: Client, request: Any) -> dict[str, Any]:
        del request
        return _management(self.server.state, client)


class Configuration(ClientConfigurationEndpoint):
    """A client reads, changes and removes itself, with its registration access token."""

    def authenticate_token(self, request: MetadataRequest) -> Token:
        """The token, as authlib knows tokens; one that is wrong and a client that does not exist both get 401."""
        client = self.authenticate_client(request)
        if client is None or not same_secret(bearer_token(request.http), client.registration_access_token):
            message = "the registration access token is not valid"
            raise OAuthError("invalid_token", message, 401, WWW_Authenticate="Bearer")
        return Token(Grant(client.client_id, None, ""), "", 0, 0)

    def authenticate_client(self, request: MetadataRequest) -> Client | None:
        client: Client | None = self.server.state.clients.get(query(request.http).get("client_id"))
        return client

    def check_permission(self, client: Client, request: MetadataRequest) -> bool:
        del client, request
        return True

    def extract_client_metadata(self, request: MetadataRequest) -> dict[str, Any]:
        return checked_metadata(request.payload.data)

    def update_client(self, client: Client, client_metadata: dict[str, Any], request: Any) -> Client:
        """Replace the whole metadata: what an update leaves out is gone (RFC 7592 2.2)."""
        del request
        client.metadata = client_metadata
        if client.secret is None and client.auth_method != "none":
            client.secret = self.server.state.new_token()
        return client

    def delete_client(self, client: Client, request: MetadataRequest) -> None:
        """Forget the client; its tokens die with it (RFC 7592 2.3)."""
        del request
        self.server.state.clients.pop(client.client_id)

    def introspect_client(self, client: Client) -> dict[str, Any]:
        secret: dict[str, Any] = {}
        if client.secret is not None:
            secret = {"client_secret": client.secret, "client_secret_expires_at": client.secret_expires_at}
        return {
            "client_id": client.client_id,
            "client_id_issued_at": client.issued_at,
            **secret,
            **client.metadata,
        }

    def generate_client_registration_info(self, client: Client, request: Any) -> dict[str, Any]:
        del request
        return _management(self.server.state, client)


def _management(state: ProviderState, client: Client) -> dict[str, Any]:
    return {
        "registration_access_token": client.registration_access_token,
        "registration_client_uri": f"{state.issuer}/register?client_id={client.client_id}",
    }


class Introspection(IntrospectionEndpoint):
    """What a token is good for, for an authenticated client or for a resource server with its PAT."""

    SUPPORTED_TOKEN_TYPES = ("access_token", "refresh_token", "requesting_party_token")

    def authenticate_endpoint_client(self, request: FormRequest) -> Client:
        # RFC 7662 2.1: "the endpoint MUST also require some form of authorization".
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            request.client = self._resource_server(presented.strip())
        else:
            super().authenticate_endpoint_client(request)
        client: Client = request.client
        return client

    def _resource_server(self, presented: str) -> Client:
        state: ProviderState = self.server.state
        pat = state.live_access_token(presented)
        client = state.clients.get(pat.grant.client_id) if pat else None
        if pat is None or client is None or "uma_pat_lost" in state.faults:
            raise OAuthError("invalid_token", "the access token is not active", 401, WWW_Authenticate="Bearer")
        if "uma_protection" not in pat.scope.split():
            raise OAuthError("insufficient_scope", "the access token lacks uma_protection", 403)
        return client

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        del token_type_hint
        state: ProviderState = self.server.state
        return state.live_access_token(token_string) or state.refresh_tokens.get(token_string)

    def check_permission(self, token: Token, client: Client, request: FormRequest) -> bool:
        del token, client, request
        return True

    def introspect_token(self, token: Token) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "client_id": token.grant.client_id,
            "scope": token.scope,
            "token_type": token.token_type,
            "iss": self.server.state.issuer,
            "aud": token.grant.client_id,
            "iat": token.issued_at,
            "exp": token.expires_at,
        }
        if token.thumbprint is not None:
            answer |= {"token_type": "DPoP", "cnf": {"jkt": token.thumbprint}}
        if token.grant.user is not None:
            answer |= {"sub": token.grant.user.sub, "username": token.grant.user.username}
        return answer

    def create_endpoint_response(self, request: FormRequest) -> Any:
        status, body, headers = super().create_endpoint_response(request)
        state: ProviderState = self.server.state
        rpt = state.live_access_token(request.form.get("token"))
        if rpt is not None and rpt.permissions is not None:
            body["permissions"] = introspected_permissions(state, rpt, request.client.client_id)
        return status, body, headers


class Revocation(RevocationEndpoint):
    """A refresh token takes its whole grant along, an access token goes alone (RFC 7009 2.1)."""

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        del token_type_hint
        state: ProviderState = self.server.state
        return state.access_tokens.get(token_string) or state.refresh_tokens.get(token_string)

    def revoke_token(self, token: Token, request: FormRequest) -> None:
        state: ProviderState = self.server.state
        if state.access_tokens.pop(request.form["token"]) is None:
            token.grant.revoked = True
