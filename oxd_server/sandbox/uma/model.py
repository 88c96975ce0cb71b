"""What the authorization server remembers of UMA: resources, permission tickets, permissions and claims.

An RPT is an access token with permissions (UMA 2.0 Grant, section 1.1), so it lives in the table of access tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oxd_server.rp.uma_rules import ScopeExpression

__all__ = [
    "GATHERING_SECONDS",
    "PERMISSION_SECONDS",
    "PERSISTED_CLAIMS_SECONDS",
    "TICKET_SECONDS",
    "UMA_TICKET",
    "Claims",
    "Gathering",
    "Permission",
    "PersistedClaims",
    "Resource",
    "Ticket",
    "Wish",
]

UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"
TICKET_SECONDS = 300
GATHERING_SECONDS = 600
PERMISSION_SECONDS = 3600
PERSISTED_CLAIMS_SECONDS = 30 * 24 * 3600

Claims = Mapping[str, str]


@dataclass
class Resource:
    """A registered resource; `owner` is the client whose PAT registered it."""

    resource_id: str
    owner: str
    scopes: tuple[str, ...]
    description: dict[str, Any] = field(repr=False)
    expression: ScopeExpression | None = None


@dataclass(frozen=True)
class Wish:
    """What a ticket asks for at one resource."""

    resource_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Ticket:
    """What a permission ticket stands for. Once a client has shown it, it is that client's."""

    wishes: tuple[Wish, ...]
    client_id: str | None = None
    claims: Claims = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Permission:
    """What an RPT may do at one resource until `expires_at`, in seconds since the epoch."""

    resource_id: str
    scopes: tuple[str, ...]
    expires_at: int


@dataclass(frozen=True)
class PersistedClaims:
    """The claims behind a PCT, and the client that it was given to."""

    client_id: str
    claims: Claims = field(repr=False)


@dataclass(frozen=True)
class Gathering:
    """A requesting party on the way through the claims-gathering page; `browser` is the secret in its cookie."""

    client_id: str
    client_name: str
    ticket: Ticket
    redirect_uri: str
    state: str | None
    asked: tuple[str, ...]
    browser: str = field(repr=False)
