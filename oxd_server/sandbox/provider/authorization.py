"""The authorization endpoint with its login and consent pages (OpenID Connect Core 3.1, 3.3; RFC 6749, 7636, 9207).

A request becomes an `Interaction`, kept under an unguessable id and tied to the browser's session. Then
one question is asked again and again: what is still missing? A login, a consent, or nothing.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oidc.core.errors import ConsentRequiredError, LoginRequiredError

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.pages import error_page, page
from oxd_server.sandbox.provider import faults
from oxd_server.sandbox.provider.adapter import FormRequest, with_issuer
from oxd_server.sandbox.provider.authorization_server import Server
from oxd_server.sandbox.provider.model import (
    INTERACTION_SECONDS,
    SESSION_SECONDS,
    Interaction,
    ProviderState,
    Session,
)
from oxd_server.sandbox.provider.pushed_requests import request_of
from oxd_server.sandbox.provider.signed_response import as_signed_response, in_fragment
from oxd_server.sandbox.provider.users import User
from oxd_server.sandbox.web import (
    OAuthError,
    PageError,
    cookie,
    form,
    query,
    redirect,
    same_secret,
    set_cookie,
    with_fragment,
    with_query,
)

__all__ = [
    "SESSION_COOKIE",
    "authorize",
    "consent",
    "current_session",
    "interact",
    "login",
    "new_session",
    "oauth_error_page",
]

SESSION_COOKIE = "oxd_sandbox_session"


# --- the session of a browser ----------------------------------------------------------------


def current_session(state: ProviderState, request: HttpRequest) -> tuple[str, Session] | None:
    """Id and session of the browser, if it has one."""
    session_id = cookie(request, SESSION_COOKIE)
    session = state.sessions.get(session_id)
    return (session_id, session) if session_id and session else None


def new_session(state: ProviderState, user: User | None = None) -> tuple[str, Session]:
    """A new session, logged in now if there is a user."""
    session_id = state.new_token()
    session = Session(state.new_token(), state.new_token(), user, state.seconds() if user else 0)
    state.sessions.put(session_id, session, SESSION_SECONDS)
    return session_id, session


# --- the request -----------------------------------------------------------------------------


async def authorize(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET or POST /authorize: check the request and take the first step."""
    params = request_of(state, query(request) if request.method == "GET" else form(request))
    redirect_uri = _redirect_uri(state, params)
    found = current_session(state, request)
    session_id, session = found or new_session(state)
    cookies = () if found else (set_cookie(SESSION_COOKIE, session_id),)
    try:
        if "response_type" not in params:
            raise InvalidRequestError("response_type is missing")
        grant = Server(state).get_consent_grant(FormRequest(state, request, params), session.user)
        interaction = _interaction(grant, params, session_id)
        if "none" in params.get("prompt", "").split():
            return _without_asking(state, interaction, session, cookies)
    except OAuth2Error as error:
        answer = {"error": error.error, "error_description": error.get_error_description()}
        return _refusal(state, redirect_uri, params, answer, cookies)
    interaction_id = state.new_token()
    state.interactions.put(interaction_id, interaction, INTERACTION_SECONDS)
    return redirect(f"/interaction?id={interaction_id}", *cookies)


def _redirect_uri(state: ProviderState, params: Mapping[str, str]) -> str:
    """Where to send the browser: without a known client and one of its URIs, nowhere (RFC 6749 4.1.2.1)."""
    client = state.clients.get(params.get("client_id"))
    if client is None:
        raise PageError("Unknown application", "The client_id of this request is not registered here.")
    redirect_uri = params.get("redirect_uri")
    # OpenID Connect Core 3.1.2.1: redirect_uri is REQUIRED and "MUST exactly match" a registered one.
    if redirect_uri is None or not client.check_redirect_uri(redirect_uri):
        raise PageError(
            "Unknown redirect address",
            f"{client.name} did not register the redirect_uri of this request, so the browser is not sent there.",
        )
    return redirect_uri


def _interaction(grant: Any, params: Mapping[str, str], session_id: str) -> Interaction:
    prompts = params.get("prompt", "").split()
    return Interaction(
        request=grant,
        max_age=int(params["max_age"]) if "max_age" in params else None,
        needs_login=bool({"login", "select_account"} & set(prompts)),
        needs_consent="consent" in prompts,
        session_id=session_id,
    )


# --- the steps -------------------------------------------------------------------------------


def _must_log_in(state: ProviderState, interaction: Interaction, session: Session) -> bool:
    if session.user is None or interaction.needs_login:
        return True
    age = state.seconds() - session.auth_time
    return interaction.max_age is not None and age > interaction.max_age


def _must_consent(interaction: Interaction, session: Session) -> bool:
    given = session.consents.get(interaction.client.client_id, set())
    return interaction.needs_consent or not set(interaction.scope.split()) <= given


def _without_asking(
    state: ProviderState, interaction: Interaction, session: Session, cookies: tuple[tuple[str, str], ...]
) -> HttpResponse:
    """prompt=none: "The Authorization Server MUST NOT display any authentication or consent" pages (Core 3.1.2.1)."""
    if _must_log_in(state, interaction, session):
        raise LoginRequiredError("nobody is logged in, or too long ago")
    if _must_consent(interaction, session):
        raise ConsentRequiredError("the user has not allowed this yet")
    return _finish(state, interaction, session, cookies)


def _step(
    state: ProviderState, interaction_id: str, interaction: Interaction, session: Session, user_to_fill: str = ""
) -> HttpResponse:
    """The page that is needed next, or the way back to the client."""
    if _must_log_in(state, interaction, session):
        user = state.users.get(user_to_fill)
        filled = (user.username, user.password) if user else (interaction.params.get("login_hint", ""), "")
        return _login_page(state, interaction_id, interaction, session, filled)
    if session.user is not None and _must_consent(interaction, session):
        return page(
            "provider/consent.html",
            client_name=interaction.client.name,
            interaction=interaction_id,
            csrf=session.csrf_token,
            user=session.user,
            scope=interaction.scope,
            redirect_host=urlsplit(interaction.redirect_uri).netloc or interaction.redirect_uri,
        )
    state.interactions.pop(interaction_id)
    return _finish(state, interaction, session, ())


def _login_page(
    state: ProviderState,
    interaction_id: str,
    interaction: Interaction,
    session: Session,
    filled: tuple[str, str],
    error: str = "",
) -> HttpResponse:
    return page(
        "provider/login.html",
        401 if error else 200,
        client_name=interaction.client.name,
        interaction=interaction_id,
        csrf=session.csrf_token,
        users=state.users.values(),
        username=filled[0],
        password=filled[1],
        error=error,
    )


async def interact(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET /interaction?id=...: the page that is needed next; `user` fills the login form in."""
    params = query(request)
    interaction_id, interaction, session = _resume(state, request, params.get("id", ""))
    return _step(state, interaction_id, interaction, session, params.get("user", ""))


async def login(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /login: check the password; the session gets a new id, so that nobody can have planted it."""
    params = form(request)
    interaction_id, interaction, session = _resume(state, request, params.get("interaction", ""), params)
    user = state.users.get(params.get("username", ""))
    if user is None or not same_secret(params.get("password"), user.password):
        error = "User name or password is wrong."
        typed = (params.get("username", ""), "")
        return _login_page(state, interaction_id, interaction, session, typed, error)
    session_id, logged_in = new_session(state, user)
    if session.user is user:
        logged_in.consents = session.consents
    state.sessions.pop(interaction.session_id)
    interaction.session_id = session_id
    interaction.needs_login = False
    return redirect(f"/interaction?id={interaction_id}", set_cookie(SESSION_COOKIE, session_id))


async def consent(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /consent: remember what was allowed, or tell the client that it was denied."""
    params = form(request)
    interaction_id, interaction, session = _resume(state, request, params.get("interaction", ""), params)
    if _must_log_in(state, interaction, session):
        return redirect(f"/interaction?id={interaction_id}")
    if params.get("decision") != "allow":
        state.interactions.pop(interaction_id)
        denied = {"error": "access_denied", "error_description": "the user said no"}
        return _refusal(state, interaction.redirect_uri, interaction.params, denied, ())
    session.consents.setdefault(interaction.client.client_id, set()).update(interaction.scope.split())
    interaction.needs_consent = False
    return _step(state, interaction_id, interaction, session)


def _resume(
    state: ProviderState, request: HttpRequest, interaction_id: str, form_params: Mapping[str, str] | None = None
) -> tuple[str, Interaction, Session]:
    """The interaction of this browser; with `form_params`, the form's CSRF token is checked too."""
    interaction = state.interactions.get(interaction_id)
    found = current_session(state, request)
    if interaction is None or found is None or found[0] != interaction.session_id:
        raise PageError(
            "This login has expired",
            "It took too long, was finished already, or was started in another browser.",
        )
    if form_params is not None and not same_secret(form_params.get("csrf"), found[1].csrf_token):
        raise PageError("This form cannot be accepted", "It did not come from a page of this provider.", 403)
    return interaction_id, interaction, found[1]


# --- the answer ------------------------------------------------------------------------------


def _finish(
    state: ProviderState, interaction: Interaction, session: Session, cookies: tuple[tuple[str, str], ...]
) -> HttpResponse:
    """Back to the client with a code, and with what else the response type asks for."""
    grant = interaction.request
    grant.request.auth_time, grant.request.sid = session.auth_time, session.sid
    answer: HttpResponse = grant.server.create_authorization_response(grant.request, session.user, grant)
    return _answered(state, answer, interaction.params, cookies)


def _refusal(
    state: ProviderState,
    redirect_uri: str,
    params: Mapping[str, str],
    answer: Mapping[str, str | None],
    cookies: tuple[tuple[str, str], ...],
) -> HttpResponse:
    """Back to the client with an error (RFC 6749 4.1.2.1), in the part of the URI where it would look for a code."""
    add = with_fragment if in_fragment(params) else with_query
    location = add(redirect_uri, {**answer, "state": params.get("state")})
    return _answered(state, redirect(location), params, cookies)


def _answered(
    state: ProviderState, answer: HttpResponse, params: Mapping[str, str], cookies: tuple[tuple[str, str], ...]
) -> HttpResponse:
    """The authorization response in the form that was asked for, wrong in the way that the faults say."""
    answer = as_signed_response(state, answer, params) or with_issuer(answer, faults.issuer_of_response(state))
    answer = faults.with_other_state(state, answer)
    return HttpResponse(answer.status, [*answer.headers, *cookies], answer.body)


def oauth_error_page(error: OAuthError) -> HttpResponse:
    """The page for a request to a page endpoint whose parameters cannot even be read."""
    return error_page("This request cannot be read", error.description, error.status)
