"""The authorization endpoint with its login and consent pages (OpenID Connect Core 3.1, 3.3; RFC 6749, 7636, 9207).

A request becomes an `Interaction`, kept under an unguessable id and tied to the browser's session. Then
one question is asked again and again: what is still missing? A login, a consent, or nothing.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from oxd_server.entrances.http1 import HttpRequest, HttpResponse
from oxd_server.sandbox.provider import pages
from oxd_server.sandbox.provider.id_token import issue_id_token
from oxd_server.sandbox.provider.model import (
    ACCESS_TOKEN_SECONDS,
    CODE_SECONDS,
    INTERACTION_SECONDS,
    SESSION_SECONDS,
    Client,
    Code,
    Grant,
    Interaction,
    ProviderState,
    Session,
    User,
)
from oxd_server.sandbox.provider.registration import RESPONSE_TYPES
from oxd_server.sandbox.web import (
    OAuthError,
    PageError,
    cookie,
    form,
    html_response,
    query,
    redirect,
    same_secret,
    set_cookie,
    with_fragment,
    with_query,
)

SESSION_COOKIE = "oxd_sandbox_session"
_PROMPTS = {"none", "login", "consent", "select_account"}


class _RedirectError(Exception):
    """An error that the client is told through the browser (RFC 6749 4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


# --- the session of a browser ----------------------------------------------------------------


def current_session(state: ProviderState, request: HttpRequest) -> tuple[str, Session] | None:
    """Id and session of the browser, if it has one."""
    session_id = cookie(request, SESSION_COOKIE)
    session = state.sessions.get(session_id)
    return (session_id, session) if session_id and session else None


def new_session(state: ProviderState, user: User | None = None) -> tuple[str, Session]:
    """A new session, logged in now if there is a user."""
    session_id = state.new_token()
    session = Session(state.new_token(), user, state.seconds() if user else 0)
    state.sessions.put(session_id, session, SESSION_SECONDS)
    return session_id, session


# --- the request -----------------------------------------------------------------------------


async def authorize(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET or POST /authorize: check the request and take the first step."""
    params = query(request) if request.method == "GET" else form(request)
    client, redirect_uri = _client_and_redirect_uri(state, params)
    found = current_session(state, request)
    session_id, session = found or new_session(state)
    cookies = () if found else (set_cookie(SESSION_COOKIE, session_id),)
    try:
        interaction = _interaction(state, client, redirect_uri, params, session_id)
        if "none" in params.get("prompt", "").split():
            return _without_asking(state, interaction, session, cookies)
    except _RedirectError as error:
        answer: dict[str, str | None] = {"error": error.error, "error_description": error.description}
        answer["state"] = params.get("state")
        return _to_client(state, redirect_uri, _response_mode(params), answer, cookies)
    interaction_id = state.new_token()
    state.interactions.put(interaction_id, interaction, INTERACTION_SECONDS)
    return redirect(f"/interaction?id={interaction_id}", *cookies)


def _client_and_redirect_uri(state: ProviderState, params: Mapping[str, str]) -> tuple[Client, str]:
    """The client and where to send the browser; without both there is no redirect (RFC 6749 4.1.2.1)."""
    client = state.clients.get(params.get("client_id"))
    if client is None:
        raise PageError("Unknown application", "The client_id of this request is not registered here.")
    registered = client.listed("redirect_uris")
    redirect_uri = params.get("redirect_uri")
    # OpenID Connect Core 3.1.2.1: redirect_uri is REQUIRED and "MUST exactly match" a registered one.
    if redirect_uri is None or redirect_uri not in registered:
        raise PageError(
            "Unknown redirect address",
            f"{client.name} did not register the redirect_uri of this request, so the browser is not sent there.",
        )
    return client, redirect_uri


def _response_mode(params: Mapping[str, str]) -> str:
    """`query` for the code flow, else `fragment`; an explicit fragment is honoured."""
    if params.get("response_mode") == "fragment" or "id_token" in params.get("response_type", "").split():
        return "fragment"
    return "query"


def _interaction(
    state: ProviderState, client: Client, redirect_uri: str, params: Mapping[str, str], session_id: str
) -> Interaction:
    response_type = " ".join(sorted(params.get("response_type", "").split()))
    scope = client.narrow(params.get("scope", ""))
    prompts = set(params.get("prompt", "").split())
    _check_protocol(client, params, response_type)
    _check_openid(params, response_type, scope, prompts)
    return Interaction(
        client=client,
        redirect_uri=redirect_uri,
        scope=scope,
        response_type=response_type,
        response_mode=_response_mode(params),
        state=params.get("state"),
        nonce=params.get("nonce"),
        code_challenge=_code_challenge(client, params),
        login_hint=params.get("login_hint", ""),
        max_age=_max_age(params),
        needs_login=bool(prompts & {"login", "select_account"}),
        needs_consent="consent" in prompts,
        session_id=session_id,
    )


def _check_protocol(client: Client, params: Mapping[str, str], response_type: str) -> None:
    for name in ("request", "request_uri", "registration"):
        if name in params:
            raise _RedirectError(f"{name}_not_supported", f"the parameter {name} is not supported")
    if not response_type:
        raise _RedirectError("invalid_request", "response_type is missing")
    if response_type not in RESPONSE_TYPES:
        raise _RedirectError("unsupported_response_type", f"known: {', '.join(RESPONSE_TYPES)}")
    if response_type not in client.listed("response_types"):
        raise _RedirectError("unauthorized_client", f"the client is not registered for {response_type}")
    if "authorization_code" not in client.listed("grant_types"):
        raise _RedirectError("unauthorized_client", "the client is not registered for authorization_code")
    mode = params.get("response_mode", "")
    if mode not in ("", "query", "fragment") or (mode == "query" and "id_token" in response_type):
        raise _RedirectError("invalid_request", "this response_mode is not supported here")


def _check_openid(params: Mapping[str, str], response_type: str, scope: str, prompts: set[str]) -> None:
    # Core 3.1.2.1: "OpenID Connect requests MUST contain the openid scope value."
    if "openid" not in scope.split():
        raise _RedirectError("invalid_scope", "the scope openid is required, and the client must be registered for it")
    # Core 3.1.2.1: "If this parameter contains none with any other value, an error is returned."
    if not prompts <= _PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise _RedirectError("invalid_request", "this prompt is not supported")
    # Core 3.3.2.11: with an id_token from the authorization endpoint, "a nonce Claim MUST be present".
    if "id_token" in response_type and "nonce" not in params:
        raise _RedirectError("invalid_request", "nonce is required for this response_type")


def _code_challenge(client: Client, params: Mapping[str, str]) -> str | None:
    challenge = params.get("code_challenge")
    if challenge is None:
        if client.auth_method == "none":
            raise _RedirectError("invalid_request", "a public client must use PKCE")
        return None
    # RFC 7636 4.3: the method defaults to plain, which RFC 9700 2.1.1 advises against: S256 only.
    if params.get("code_challenge_method") != "S256":
        raise _RedirectError("invalid_request", "code_challenge_method must be S256")
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", challenge):
        raise _RedirectError("invalid_request", "code_challenge is malformed")
    return challenge


def _max_age(params: Mapping[str, str]) -> int | None:
    text = params.get("max_age")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _RedirectError("invalid_request", "max_age must be a number of seconds")
    return int(text)


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
        raise _RedirectError("login_required", "nobody is logged in, or too long ago")
    if _must_consent(interaction, session):
        raise _RedirectError("consent_required", "the user has not allowed this yet")
    return _finish(state, interaction, session, cookies)


def _step(
    state: ProviderState, interaction_id: str, interaction: Interaction, session: Session, user_to_fill: str = ""
) -> HttpResponse:
    """The page that is needed next, or the way back to the client."""
    if _must_log_in(state, interaction, session):
        return _login_page(state, interaction_id, interaction, session, user_to_fill)
    if session.user is not None and _must_consent(interaction, session):
        host = urlsplit(interaction.redirect_uri).netloc or interaction.redirect_uri
        name = interaction.client.name
        page = pages.consent_page(name, interaction_id, session.csrf_token, session.user, interaction.scope, host)
        return html_response(page)
    state.interactions.pop(interaction_id)
    return _finish(state, interaction, session, ())


def _login_page(
    state: ProviderState,
    interaction_id: str,
    interaction: Interaction,
    session: Session,
    user_to_fill: str,
    error: str = "",
) -> HttpResponse:
    user = state.users.get(user_to_fill)
    filled = (user.username, user.password) if user else (interaction.login_hint, "")
    page = pages.login_page(
        interaction.client.name, interaction_id, session.csrf_token, state.users.values(), filled, error
    )
    return html_response(page, 401 if error else 200)


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
        return _login_page(state, interaction_id, interaction, session, "", error)
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
        denied = {"error": "access_denied", "error_description": "the user said no", "state": interaction.state}
        return _to_client(state, interaction.redirect_uri, interaction.response_mode, denied, ())
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
    client = interaction.client
    grant = Grant(client.client_id, session.user, interaction.scope, session.auth_time, interaction.nonce)
    code = state.new_token()
    state.codes.put(code, Code(grant, interaction.redirect_uri, interaction.code_challenge), CODE_SECONDS)
    answer: dict[str, str | None] = {"code": code, "state": interaction.state}
    access_token = None
    if "token" in interaction.response_type.split():
        access_token = state.issue_access_token(grant, grant.scope)
        answer |= {"access_token": access_token, "token_type": "Bearer", "expires_in": str(ACCESS_TOKEN_SECONDS)}
    if "id_token" in interaction.response_type:
        answer["id_token"] = issue_id_token(
            state, client, grant, nonce=interaction.nonce, access_token=access_token, code=code
        )
    return _to_client(state, interaction.redirect_uri, interaction.response_mode, answer, cookies)


def _to_client(
    state: ProviderState,
    redirect_uri: str,
    response_mode: str,
    answer: Mapping[str, str | None],
    cookies: tuple[tuple[str, str], ...],
) -> HttpResponse:
    # RFC 9207 2: "the authorization server [...] MUST indicate its identity" with iss, in errors too.
    issuer = state.issuer + "/other" if "authorization_bad_iss" in state.faults else state.issuer
    add = with_fragment if response_mode == "fragment" else with_query
    return redirect(add(redirect_uri, {**answer, "iss": issuer}), *cookies)


def oauth_error_page(error: OAuthError) -> HttpResponse:
    """The page for a request to a page endpoint whose parameters cannot even be read."""
    return html_response(pages.error_page("This request cannot be read", error.description), error.status)
