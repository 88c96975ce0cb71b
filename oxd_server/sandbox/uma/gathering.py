"""The claims interaction endpoint: the requesting party tells the authorization server what its policies ask for.

UMA 2.0 Grant, sections 3.3.2 (the client sends the browser here) and 3.3.3 (it is sent back with a new ticket).
"""

from dataclasses import replace
from urllib.parse import urlsplit

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.pages import page
from oxd_server.sandbox.provider.authorization import SESSION_COOKIE, current_session, new_session
from oxd_server.sandbox.provider.model import Client, ProviderState, Session
from oxd_server.sandbox.uma.grant import missing_claims
from oxd_server.sandbox.uma.model import GATHERING_SECONDS, TICKET_SECONDS, Claims, Gathering, Ticket
from oxd_server.sandbox.uma.policies import HINTS, friendly_name
from oxd_server.sandbox.web import (
    PageError,
    form,
    query,
    redirect,
    same_secret,
    set_cookie,
    with_query,
)

__all__ = ["ask", "gather", "take"]

_MAX_CLAIM = 100


async def gather(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET /uma/gather: take the ticket, and ask this browser for the claims that are missing."""
    params = query(request)
    client, redirect_uri = _client_and_redirect_uri(state, params)
    ticket = state.uma_tickets.pop(params.get("ticket", ""))
    # 3.3.2: the ticket is the client's newest; it is used up here, as at the token endpoint.
    if ticket is None or ticket.client_id not in (None, client.client_id):
        raise PageError("This request is no longer valid", "Its ticket is unknown, expired, or was used before.")
    ticket = replace(ticket, client_id=client.client_id)
    found = current_session(state, request)
    session_id, _ = found or new_session(state)
    gathering = Gathering(
        client_id=client.client_id,
        client_name=client.name,
        ticket=ticket,
        redirect_uri=redirect_uri,
        state=params.get("state"),
        asked=missing_claims(state, ticket),
        browser=session_id,
    )
    if not gathering.asked:
        return _back_to_client(state, gathering, {})
    gathering_id = state.new_token()
    state.uma_gatherings.put(gathering_id, gathering, GATHERING_SECONDS)
    cookies = () if found else (set_cookie(SESSION_COOKIE, session_id),)
    return redirect(f"/uma/claims?id={gathering_id}", *cookies)


def _client_and_redirect_uri(state: ProviderState, params: dict[str, str]) -> tuple[Client, str]:
    client = state.clients.get(params.get("client_id"))
    if client is None:
        raise PageError("Unknown application", "The client_id of this request is not registered here.")
    registered = client.listed("claims_redirect_uris")
    asked = params.get("claims_redirect_uri", registered[0] if len(registered) == 1 else None)
    # 3.3.2: the claims redirection URI must be one that the client registered; the browser goes nowhere else.
    if asked is None or asked not in registered:
        raise PageError(
            "Unknown redirect address",
            f"{client.name} did not register this claims_redirect_uri, so the browser is not sent there.",
        )
    return client, asked


async def ask(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET /uma/claims?id=...: the page with the questions."""
    gathering_id = query(request).get("id", "")
    gathering, session = _resume(state, request, gathering_id)
    return _page(gathering_id, gathering, session, {}, "")


async def take(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /uma/claims: keep the answers behind a new ticket and go back to the client."""
    params = form(request)
    gathering_id = params.get("gathering", "")
    gathering, session = _resume(state, request, gathering_id)
    if not same_secret(params.get("csrf"), session.csrf_token):
        raise PageError("This form cannot be accepted", "It did not come from a page of this provider.", 403)
    given = {name: params.get(name, "").strip()[:_MAX_CLAIM] for name in gathering.asked}
    if params.get("decision") == "decline":
        given = {}
    elif empty := [friendly_name(name) for name, value in given.items() if not value]:
        return _page(gathering_id, gathering, session, given, f"Still to be filled in: {', '.join(empty)}.")
    state.uma_gatherings.pop(gathering_id)
    return _back_to_client(state, gathering, given)


def _resume(state: ProviderState, request: HttpRequest, gathering_id: str) -> tuple[Gathering, Session]:
    """What this browser was asked; PageError if it was not."""
    gathering = state.uma_gatherings.get(gathering_id)
    found = current_session(state, request)
    if gathering is None or found is None or found[0] != gathering.browser:
        raise PageError(
            "These questions have expired",
            "It took too long, was finished already, or was started in another browser.",
        )
    return gathering, found[1]


def _page(gathering_id: str, gathering: Gathering, session: Session, given: Claims, error: str) -> HttpResponse:
    fields = [
        {"name": name, "label": friendly_name(name), "hint": HINTS.get(name, ""), "value": given.get(name, "")}
        for name in gathering.asked
    ]
    return page(
        "uma/claims.html",
        400 if error else 200,
        client_name=gathering.client_name,
        redirect_host=urlsplit(gathering.redirect_uri).netloc or gathering.redirect_uri,
        fields=fields,
        focused=next((field["name"] for field in fields if not field["value"]), ""),
        hidden_fields={"gathering": gathering_id, "csrf": session.csrf_token},
        error=error,
    )


def _back_to_client(state: ProviderState, gathering: Gathering, given: Claims) -> HttpResponse:
    """3.3.3: back to the claims redirection URI, with a new ticket, and with the state if there was one."""
    claims = {**gathering.ticket.claims, **given}
    text = state.new_token()
    ticket = Ticket(gathering.ticket.wishes, gathering.client_id, claims)
    state.uma_tickets.put(text, ticket, TICKET_SECONDS)
    return redirect(with_query(gathering.redirect_uri, {"ticket": text, "state": gathering.state}))
