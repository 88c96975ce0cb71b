"""The uma-ticket grant: from a permission ticket to an RPT (UMA 2.0 Grant, section 3.3), and what an RPT is good for.

Every ticket is good for one use: whatever comes of it, the next step needs the ticket of the last answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oxd_server.sandbox.provider.access_token import new_access_token
from oxd_server.sandbox.provider.model import ACCESS_TOKEN_SECONDS, Client, Grant, ProviderState, Token
from oxd_server.sandbox.uma.claims import CLAIM_TOKEN_FORMATS, pushed_claims
from oxd_server.sandbox.uma.model import (
    PERMISSION_SECONDS,
    PERSISTED_CLAIMS_SECONDS,
    TICKET_SECONDS,
    Claims,
    Permission,
    PersistedClaims,
    Resource,
    Ticket,
    Wish,
)
from oxd_server.sandbox.uma.policies import MissingClaims, friendly_name, policy_for
from oxd_server.sandbox.web import OAuthError, with_query

__all__ = ["introspected_permissions", "live_permissions", "live_rpt", "missing_claims", "uma_ticket"]


def uma_ticket(state: ProviderState, client: Client, params: Mapping[str, str]) -> dict[str, Any]:
    """Serve a token request with a ticket (3.3.1): the success answer (3.3.5), or OAuthError (3.3.6)."""
    ticket = _redeem(state, client, params)
    claims = {**_persisted_claims(state, client, params.get("pct")), **ticket.claims}
    claims |= pushed_claims(state, client, params)
    wishes = _with_scopes(state, ticket.wishes, params.get("scope", "").split())
    assessment = _assess(state, wishes, claims)
    if assessment.missing:
        rest = Ticket(wishes, client.client_id, claims)
        raise _need_info(state, client, rest, assessment.missing)
    # 3.3.6: request_denied, "the client is not authorized to have these permissions".
    if not assessment.permissions:
        raise OAuthError("request_denied", "the policies do not allow this", 403)
    return _success(state, client, assessment.permissions, claims, params.get("rpt"))


def _redeem(state: ProviderState, client: Client, params: Mapping[str, str]) -> Ticket:
    """Take the ticket out of circulation; the request is checked before, so that a typing error costs no ticket."""
    # 3.3.1: claim_token and claim_token_format MUST appear together.
    if ("claim_token" in params) != ("claim_token_format" in params):
        raise OAuthError("invalid_request", "claim_token and claim_token_format belong together")
    text = params.get("ticket")
    if text is None:
        raise OAuthError("invalid_request", "ticket is missing")
    ticket = state.uma_tickets.pop(text)
    # 3.3.6: invalid_grant for a ticket that is unknown, expired, used before, or another client's.
    if ticket is None or ticket.client_id not in (None, client.client_id):
        raise OAuthError("invalid_grant", "the ticket is unknown, expired, used before, or another client's")
    return ticket


def _persisted_claims(state: ProviderState, client: Client, pct: str | None) -> Claims:
    """The claims behind a PCT; one that is unknown or another client's just does not help (3.3.1)."""
    persisted = state.uma_claims.get(pct)
    return persisted.claims if persisted and persisted.client_id == client.client_id else {}


# --- the authorization assessment (3.3.4) ----------------------------------------------------


@dataclass(frozen=True)
class _Assessment:
    """What may be granted, and which claims would have to be known to decide the rest."""

    permissions: tuple[Permission, ...]
    missing: tuple[str, ...]


def missing_claims(state: ProviderState, ticket: Ticket) -> tuple[str, ...]:
    """The claims that must be known before the ticket's wishes can be decided."""
    return _assess(state, ticket.wishes, ticket.claims).missing


def _with_scopes(state: ProviderState, wishes: Iterable[Wish], asked: list[str]) -> tuple[Wish, ...]:
    """The ticket's wishes, the scopes that the client asks for added at the resources that know them."""
    known = {wish: r.scopes for wish in wishes if (r := state.uma_resources.get(wish.resource_id))}
    available = {scope for scopes in known.values() for scope in scopes}
    # 3.3.6: invalid_scope where a scope matches no available scope of the resources of the ticket.
    if unknown := [scope for scope in asked if scope not in available]:
        raise OAuthError("invalid_scope", f"no resource of this ticket has {', '.join(unknown)[:200]}")
    return tuple(
        replace(wish, scopes=tuple(dict.fromkeys((*wish.scopes, *(scope for scope in asked if scope in scopes)))))
        for wish, scopes in known.items()
    )


def _assess(state: ProviderState, wishes: Iterable[Wish], claims: Claims) -> _Assessment:
    permissions: list[Permission] = []
    missing: list[str] = []
    for wish in wishes:
        resource = state.uma_resources.get(wish.resource_id)
        granted, unknown = _decide(resource, wish, claims) if resource else ((), [])
        missing += unknown
        if granted:
            permissions.append(Permission(wish.resource_id, granted, state.seconds() + PERMISSION_SECONDS))
    return _Assessment(tuple(permissions), tuple(dict.fromkeys(missing)))


def _decide(resource: Resource, wish: Wish, claims: Claims) -> tuple[tuple[str, ...], list[str]]:
    """The scopes granted at one resource, and the claims that are missing for a decision."""
    granted: list[str] = []
    missing: list[str] = []
    for scope in wish.scopes:
        try:
            if policy_for(scope)(claims):
                granted.append(scope)
        except MissingClaims as error:
            missing += error.names
    if resource.expression is None:
        return tuple(granted), missing
    # With an expression, its rule decides: scopes that it does not need are not asked for, and scopes that do not
    # make it true are not granted.
    if resource.expression.allows(frozenset(granted)):
        return tuple(granted), []
    return (), missing


# --- the answers -----------------------------------------------------------------------------


def _need_info(state: ProviderState, client: Client, ticket: Ticket, missing: Iterable[str]) -> OAuthError:
    """403 need_info (3.3.6): a new ticket, the claims that could be pushed, and where the user can give them."""
    text = state.new_token()
    state.uma_tickets.put(text, ticket, TICKET_SECONDS)
    error = OAuthError("need_info", "the authorization server needs to know more about the requesting party", 403)
    error.members = {
        "ticket": text,
        "required_claims": [
            {
                "name": name,
                "friendly_name": friendly_name(name),
                "claim_token_format": list(CLAIM_TOKEN_FORMATS),
                "issuer": [state.issuer],
            }
            for name in missing
        ],
    }
    # 3.3.2: a client without a registered claims redirection URI has nowhere to get the user back.
    if client.listed("claims_redirect_uris"):
        # With a query, because deployed clients append "&claims_redirect_uri=..." to it.
        address = f"{state.issuer}/uma/gather"
        error.members["redirect_user"] = with_query(address, {"client_id": client.client_id, "ticket": text})
    return error


def _success(
    state: ProviderState, client: Client, permissions: tuple[Permission, ...], claims: Claims, rpt: str | None
) -> dict[str, Any]:
    old = live_rpt(state, rpt)
    upgraded = old is not None and old.grant.client_id == client.client_id
    if old is not None and upgraded:
        permissions = _merged((*live_permissions(state, old), *permissions))
    text = new_access_token(state, client.client_id, None, "", permissions)
    state.keep_access_token(text, Grant(client.client_id, None, ""), "", permissions)
    answer = {"access_token": text, "token_type": "Bearer", "expires_in": ACCESS_TOKEN_SECONDS, "upgraded": upgraded}
    if claims:
        answer["pct"] = pct = state.new_token()
        persisted = PersistedClaims(client.client_id, claims)
        state.uma_claims.put(pct, persisted, PERSISTED_CLAIMS_SECONDS)
    return answer


def _merged(permissions: Iterable[Permission]) -> tuple[Permission, ...]:
    """One permission per resource: the scopes of all, until the first of them expires."""
    by_resource: dict[str, Permission] = {}
    for new in permissions:
        old = by_resource.get(new.resource_id, new)
        scopes = tuple(dict.fromkeys((*old.scopes, *new.scopes)))
        by_resource[new.resource_id] = Permission(new.resource_id, scopes, min(old.expires_at, new.expires_at))
    return tuple(by_resource.values())


# --- what an RPT is good for -----------------------------------------------------------------


def live_rpt(state: ProviderState, text: str | None) -> Token | None:
    """The RPT, unless unknown, expired, revoked, or some other access token."""
    token = state.live_access_token(text)
    return token if token is not None and token.permissions is not None else None


def live_permissions(state: ProviderState, token: Token) -> tuple[Permission, ...]:
    """The RPT's permissions that have not expired and whose resource is still there."""
    now = state.now()
    return tuple(p for p in token.permissions or () if now < p.expires_at and state.uma_resources.get(p.resource_id))


def introspected_permissions(state: ProviderState, token: Token, asker: str) -> list[dict[str, Any]]:
    """The member `permissions` of the introspection answer (Federated Authorization 5.1.1).

    A resource server is told of its own resources only; the client that holds the RPT, of all.
    """
    told = [
        permission
        for permission in live_permissions(state, token)
        if asker == token.grant.client_id
        or ((resource := state.uma_resources.get(permission.resource_id)) and resource.owner == asker)
    ]
    return [{"resource_id": p.resource_id, "resource_scopes": list(p.scopes), "exp": p.expires_at} for p in told]
