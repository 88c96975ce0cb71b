"""What the provider remembers: users, clients, sessions, grants and tokens, all in bounded tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.table import Table
from oxd_server.sandbox.uma.model import Gathering, Permission, PersistedClaims, Resource, Ticket

SESSION_SECONDS = 8 * 3600
INTERACTION_SECONDS = 600
CODE_SECONDS = 120
ACCESS_TOKEN_SECONDS = 3600
REFRESH_TOKEN_SECONDS = 30 * 24 * 3600

SCOPES = ("openid", "profile", "email", "address", "phone", "offline_access", "oxd", "uma_protection")


@dataclass(frozen=True)
class User:
    """Somebody who can log in; `claims` are the standard claims (OpenID Connect Core 5.1)."""

    username: str
    password: str = field(repr=False)
    claims: dict[str, Any] = field(repr=False)

    @property
    def sub(self) -> str:
        return str(self.claims["sub"])


@dataclass
class Client:
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

    def narrow(self, scope: str) -> str:
        """The scopes of `scope` that this client may have."""
        allowed = str(self.metadata.get("scope", "")).split()
        return " ".join(s for s in dict.fromkeys(scope.split()) if s in allowed)


@dataclass
class Session:
    """One browser. Before the login it has no user and serves to tie forms to the browser."""

    csrf_token: str = field(repr=False)
    user: User | None = None
    auth_time: int = 0
    consents: dict[str, set[str]] = field(default_factory=dict)  # client_id -> scopes


@dataclass
class Interaction:
    """An authorization request on its way through the login and consent pages."""

    client: Client
    redirect_uri: str
    scope: str
    response_type: str
    response_mode: str
    state: str | None
    nonce: str | None = field(repr=False)
    code_challenge: str | None
    login_hint: str
    max_age: int | None
    needs_login: bool
    needs_consent: bool
    session_id: str = field(repr=False)


@dataclass
class Grant:
    """What a user (or a client for itself) allowed; every code and token points to its grant."""

    client_id: str
    user: User | None
    scope: str
    auth_time: int = 0
    nonce: str | None = field(default=None, repr=False)
    revoked: bool = False


@dataclass
class Code:
    """An authorization code (RFC 6749 4.1.2): single use, tied to its redirect URI and PKCE challenge."""

    grant: Grant
    redirect_uri: str
    code_challenge: str | None
    used: bool = False


@dataclass
class Token:
    """An access or refresh token; `scope` may be narrower than the grant's."""

    grant: Grant
    scope: str
    issued_at: int
    expires_at: int
    used: bool = False
    permissions: tuple[Permission, ...] | None = None  # of an RPT; None for any other token


USERS = (
    User(
        "alice",
        "wonderland",
        {
            "sub": "a11ce-7f3b",
            "name": "Alice Jensen",
            "given_name": "Alice",
            "family_name": "Jensen",
            "nickname": "Ali",
            "preferred_username": "alice",
            "profile": "https://people.example/alice",
            "website": "https://alice.example",
            "gender": "female",
            "birthdate": "1989-04-12",
            "zoneinfo": "Europe/Copenhagen",
            "locale": "en-DK",
            "updated_at": 1750000000,
            "email": "alice@example.org",
            "email_verified": True,
            "phone_number": "+45 20 30 40 50",
            "phone_number_verified": True,
            "address": {
                "formatted": "Havnegade 1\n1058 København\nDenmark",
                "street_address": "Havnegade 1",
                "locality": "København",
                "postal_code": "1058",
                "country": "Denmark",
            },
        },
    ),
    User(
        "bob",
        "builder",
        {
            "sub": "b0b-91c4",
            "name": "Bob Okafor",
            "given_name": "Bob",
            "family_name": "Okafor",
            "preferred_username": "bob",
            "zoneinfo": "America/New_York",
            "locale": "en-US",
            "updated_at": 1750000000,
            "email": "bob@example.org",
            "email_verified": False,
            "address": {"locality": "New York", "region": "NY", "country": "US"},
        },
    ),
    User(
        "zoe",
        "zürich",
        {
            "sub": "z0e-5d20",
            "name": "Zoë Müller-Łukasik",
            "given_name": "Zoë",
            "family_name": "Müller-Łukasik",
            "preferred_username": "zoe",
            "locale": "de-AT",
            "updated_at": 1750000000,
            "email": "zoe@example.org",
            "email_verified": True,
        },
    ),
)


class ProviderState:
    """Everything that one provider knows. `now` gives seconds since the epoch, `new_token` an unguessable text."""

    def __init__(self, issuer: str, keys: SigningKeys, now: Callable[[], float], new_token: Callable[[], str]) -> None:
        self.issuer = issuer
        self.keys = keys
        self.next_keys: SigningKeys | None = None  # take over when the next id_token is signed
        self.now = now
        self.new_token = new_token
        self.faults: set[str] = set()
        self.users = {user.username: user for user in USERS}
        self.clients: Table[Client] = Table(1000, now)
        self.sessions: Table[Session] = Table(1000, now)
        self.interactions: Table[Interaction] = Table(1000, now)
        self.codes: Table[Code] = Table(10_000, now)
        self.access_tokens: Table[Token] = Table(10_000, now)
        self.refresh_tokens: Table[Token] = Table(10_000, now)
        self.assertion_ids: Table[bool] = Table(10_000, now)
        self.uma_resources: Table[Resource] = Table(10_000, now)
        self.uma_tickets: Table[Ticket] = Table(10_000, now)
        self.uma_gatherings: Table[Gathering] = Table(1000, now)
        self.uma_claims: Table[PersistedClaims] = Table(10_000, now)  # by their PCT

    def seconds(self) -> int:
        """The time, in whole seconds."""
        return int(self.now())

    def issue_access_token(self, grant: Grant, scope: str, permissions: tuple[Permission, ...] | None = None) -> str:
        """A new bearer token for `scope`; with `permissions`, an RPT."""
        now, text = self.seconds(), self.new_token()
        token = Token(grant, scope, now, now + ACCESS_TOKEN_SECONDS, permissions=permissions)
        self.access_tokens.put(text, token, ACCESS_TOKEN_SECONDS)
        return text

    def issue_refresh_token(self, grant: Grant) -> str:
        """A new refresh token for the whole grant."""
        now, text = self.seconds(), self.new_token()
        token = Token(grant, grant.scope, now, now + REFRESH_TOKEN_SECONDS)
        self.refresh_tokens.put(text, token, REFRESH_TOKEN_SECONDS)
        return text

    def live_access_token(self, text: str | None) -> Token | None:
        """The access token, unless unknown, expired, revoked, or its client is gone."""
        token = self.access_tokens.get(text)
        if token is None or token.grant.revoked or self.clients.get(token.grant.client_id) is None:
            return None
        return token
