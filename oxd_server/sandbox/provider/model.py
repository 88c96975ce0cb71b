"""What the provider remembers: users, clients, sessions, grants and tokens, all in bounded tables."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc8628 import DeviceCredentialMixin
from authlib.oidc.core import AuthorizationCodeMixin

from oxd_server.sandbox.provider.journal import Journal
from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.provider.users import USERS, User
from oxd_server.sandbox.table import Table
from oxd_server.sandbox.uma.model import UMA_TICKET, Gathering, Permission, PersistedClaims, Resource, Ticket
from oxd_server.sandbox.web import same_secret

__all__ = [
    "ACCESS_TOKEN_SECONDS",
    "CODE_SECONDS",
    "INTERACTION_SECONDS",
    "SCOPES",
    "SESSION_SECONDS",
    "Client",
    "Code",
    "DeviceLogin",
    "Grant",
    "Interaction",
    "ProviderState",
    "Session",
    "Token",
]

SESSION_SECONDS = 8 * 3600
INTERACTION_SECONDS = 600
CODE_SECONDS = 120
ACCESS_TOKEN_SECONDS = 3600
REFRESH_TOKEN_SECONDS = 30 * 24 * 3600

SCOPES = ("openid", "profile", "email", "address", "phone", "offline_access", "oxd", "uma_protection")


@dataclass
class Client(ClientMixin):
    """A registered client; `metadata` as registered (RFC 7591), without its credentials."""

    client_id: str
    metadata: dict[str, Any] = field(repr=False)
    secret: str | None = field(repr=False)
    registration_access_token: str = field(repr=False)
    issued_at: int
    secret_expires_at: int = 0

    @property
    def auth_method(self) -> str:
        return str(self.metadata["token_endpoint_auth_method"])

    @property
    def id_token_alg(self) -> str:
        return str(self.metadata["id_token_signed_response_alg"])

    @property
    def name(self) -> str:
        return str(self.metadata.get("client_name") or self.client_id)

    def listed(self, member: str) -> list[str]:
        """A metadata member that is a list of strings; empty if absent."""
        return list(self.metadata.get(member, []))

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: OpenID Connect Core 3.1.2.1 makes redirect_uri REQUIRED."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The scopes of `scope` that this client may have; None if it asks for some and may have none of them."""
        registered = str(self.metadata.get("scope", "")).split()
        allowed = [word for word in dict.fromkeys((scope or "").split()) if word in registered]
        return None if scope and not allowed else " ".join(allowed)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.listed("redirect_uris")

    def check_client_secret(self, client_secret: object) -> bool:
        return isinstance(client_secret, str) and same_secret(client_secret, self.secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Exactly the method that the client registered, everywhere; authlib has one name for both assertions."""
        del endpoint
        by_assertion = self.auth_method in ("client_secret_jwt", "private_key_jwt")
        return by_assertion if method == "client_assertion_jwt" else method == self.auth_method

    def check_response_type(self, response_type: str) -> bool:
        return response_type in self.listed("response_types")

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether the client may use it.

        A client that may use codes may refresh: providers differ, and the strict ones are tried elsewhere. In the same
        way, who may have tokens of its own may ask for an RPT: old libraries register no more than that.
        """
        also = {"refresh_token": "authorization_code", UMA_TICKET: "client_credentials"}.get(grant_type)
        return bool({grant_type, also} & set(self.listed("grant_types")))


@dataclass
class Session:
    """One browser. Before the login it has no user and serves to tie forms to the browser.

    `sid` is what applications know it by.
    """

    csrf_token: str = field(repr=False)
    sid: str
    user: User | None = None
    auth_time: int = 0
    consents: dict[str, set[str]] = field(default_factory=dict)  # client_id -> scopes


@dataclass
class Interaction:
    """An authorization request on its way through the login and consent pages; `request` is authlib's grant for it."""

    request: Any = field(repr=False)
    max_age: int | None
    needs_login: bool
    needs_consent: bool
    session_id: str = field(repr=False)

    @property
    def client(self) -> Client:
        client: Client = self.request.client
        return client

    @property
    def params(self) -> dict[str, str]:
        return dict(self.request.request.payload.data)

    @property
    def redirect_uri(self) -> str:
        return self.params["redirect_uri"]

    @property
    def scope(self) -> str:
        """The scopes that were asked for and that the client may have."""
        return str(self.request.request.scope)


@dataclass
class Grant:
    """What a user (or a client for itself) allowed; every code and token points to its grant."""

    client_id: str
    user: User | None
    scope: str
    auth_time: int = 0
    nonce: str | None = field(default=None, repr=False)
    sid: str | None = None
    revoked: bool = False
    thumbprint: str | None = None  # of the key that its tokens are bound to


@dataclass
class Code(AuthorizationCodeMixin):
    """An authorization code (RFC 6749 4.1.2): single use, tied to its redirect URI and PKCE challenge."""

    grant: Grant
    redirect_uri: str
    code_challenge: str | None
    used: bool = False
    code_challenge_method = "S256"

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.grant.scope

    def get_nonce(self) -> str | None:
        return self.grant.nonce

    def get_auth_time(self) -> int:
        return self.grant.auth_time


@dataclass
class DeviceLogin(DeviceCredentialMixin):
    """A login that was started for another device; `allowed` is None until the user has decided."""

    client_id: str
    scope: str
    user_code: str
    interval: int
    asked_at: int
    user: User | None = None
    allowed: bool | None = None
    decided_at: int = 0

    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_user_code(self) -> str:
        return self.user_code

    def is_expired(self) -> bool:
        """False: the table of logins forgets them when they expire."""
        return False

    def as_source(self, grant: Grant) -> Code:
        """What tokens come from, as a code is: so they have an id_token, which has no nonce."""
        return Code(grant, "", None)


@dataclass
class Token(TokenMixin):
    """An access or refresh token; `scope` may be narrower than the grant's."""

    grant: Grant
    scope: str
    issued_at: int
    expires_at: int
    used: bool = False
    permissions: tuple[Permission, ...] | None = None  # of an RPT; None for any other token
    token_type: str = "Bearer"
    thumbprint: str | None = None  # of the key that it is bound to

    def check_client(self, client: Client) -> bool:
        return self.grant.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope

    def is_expired(self) -> bool:
        """False: the table of tokens forgets them when they expire."""
        return False

    def is_revoked(self) -> bool:
        return self.used or self.grant.revoked


class ProviderState:
    """Everything that one provider knows. `now` gives seconds since the epoch, `new_token` an unguessable text."""

    def __init__(self, issuer: str, keys: SigningKeys, now: Callable[[], float], new_token: Callable[[], str]) -> None:
        self.issuer = issuer
        self.keys = keys
        self.next_keys: SigningKeys | None = None  # take over when the next id_token is signed
        self.now = now
        self.new_token = new_token
        self.faults: set[str] = set()
        self.journal = Journal()
        self.trusted: ssl.SSLContext | None = None  # what is trusted of those that it calls itself; None: the system's
        self.requires_pushed_requests = False  # RFC 9126
        self.requires_signed_requests = False  # RFC 9101
        self.jwt_tokens = False  # access tokens and RPTs as JWTs
        self.users = {user.username: user for user in USERS}
        self.clients: Table[Client] = Table(1000, now)
        self.sessions: Table[Session] = Table(1000, now)
        self.pushed_requests: Table[dict[str, str]] = Table(1000, now)
        self.interactions: Table[Interaction] = Table(1000, now)
        self.device_logins: Table[DeviceLogin] = Table(1000, now)
        self.codes: Table[Code] = Table(10_000, now)
        self.access_tokens: Table[Token] = Table(10_000, now)
        self.refresh_tokens: Table[Token] = Table(10_000, now)
        self.assertion_ids: Table[bool] = Table(10_000, now)
        self.proof_ids: Table[bool] = Table(10_000, now)
        self.dpop_nonces: Table[bool] = Table(1000, now)
        self.uma_resources: Table[Resource] = Table(10_000, now)
        self.uma_tickets: Table[Ticket] = Table(10_000, now)
        self.uma_gatherings: Table[Gathering] = Table(1000, now)
        self.uma_claims: Table[PersistedClaims] = Table(10_000, now)  # by their PCT

    def seconds(self) -> int:
        """The time, in whole seconds."""
        return int(self.now())

    def keep_access_token(
        self, text: str, grant: Grant, scope: str, permissions: tuple[Permission, ...] | None = None
    ) -> None:
        """Remember a bearer token for `scope`; with `permissions`, an RPT."""
        now = self.seconds()
        token = Token(grant, scope, now, now + ACCESS_TOKEN_SECONDS, permissions=permissions)
        self.access_tokens.put(text, token, ACCESS_TOKEN_SECONDS)

    def keep_refresh_token(self, text: str, grant: Grant) -> None:
        """Remember a refresh token for the whole grant."""
        now = self.seconds()
        token = Token(grant, grant.scope, now, now + REFRESH_TOKEN_SECONDS, token_type="refresh_token")
        self.refresh_tokens.put(text, token, REFRESH_TOKEN_SECONDS)

    def live_access_token(self, text: str | None) -> Token | None:
        """The access token, unless unknown, expired, revoked, or its client is gone."""
        token = self.access_tokens.get(text)
        if token is None or token.grant.revoked or self.clients.get(token.grant.client_id) is None:
            return None
        return token
