"""The pages of the console, beside those of the demo.

A browser has a session: what was answered lately (oxd_id, tokens, ...) fills the next command's form in, so that a
login can be walked through step by step.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from oxd_protocol.catalog import find_command
from oxd_protocol.client import Exchange, OxdUnreachable
from oxd_protocol.client.with_trio import OxdClient
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.entrances.reference import GROUPS, matches, search_text
from oxd_server.sandbox.browsers import Browsers
from oxd_server.sandbox.console.fields import FieldError, fields_of, read_params
from oxd_server.sandbox.console.verdicts import verdicts
from oxd_server.sandbox.demo.frames import pretty_frame
from oxd_server.sandbox.pages import page
from oxd_server.sandbox.provider.faults import FAULTS
from oxd_server.sandbox.provider.journal import Served
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.web import OAuthError, PageError, form, query, redirect, same_secret

__all__ = ["ConsoleState", "handle"]

SESSION_COOKIE = "oxd_console_session"
CALLBACK = "/console/callback"
_LONGEST_KEPT = 20_000
_FOR_PEOPLE = ("/", "/authorize", "/interaction", "/login", "/consent", "/style.css")
"""What a browser asks the provider for, not the server."""
_LOGIN = (
    ("register_site", "The application introduces itself."),
    ("get_authorization_url", "Where to send the browser. Follow the link there, and log in."),
    ("get_tokens_by_code", "The browser comes back here with a code; the server turns it into tokens."),
    ("get_user_info", "Who it is."),
    ("get_access_token_by_refresh_token", "A new access token, without asking again."),
    ("get_logout_uri", "Where to send the browser to log out."),
)
"""The commands of a login, and what each of them is for."""


@dataclass
class ConsoleSession:
    """One browser: what the next forms are filled in with."""

    csrf_token: str = field(repr=False)
    known: dict[str, Any] = field(default_factory=dict, repr=False)


class ConsoleState:
    """What the console talks to: the server by its socket, and the provider whose journal it reads."""

    def __init__(self, url: str, oxd: OxdClient, provider: ProviderState) -> None:
        self.url = url
        self.oxd = oxd
        self.provider = provider
        self.browsers = Browsers(SESSION_COOKIE, ConsoleSession, provider.now, provider.new_token)


# --- pages ------------------------------------------------------------------------------------


async def _home(state: ConsoleState, session: ConsoleSession, params: Mapping[str, str]) -> HttpResponse:
    words = params.get("q", "")
    groups = [(title, [each for each in commands if matches(words, search_text(each))]) for title, commands in GROUPS]
    return page(
        "console/home.html",
        query=words,
        groups=[(title, commands) for title, commands in groups if commands],
        steps=_LOGIN,
        csrf=session.csrf_token,
        faults=FAULTS,
        chosen=sorted(state.provider.faults),
        oxd=f"{state.oxd.host}:{state.oxd.port}",
        op_host=state.provider.issuer,
    )


async def _show(state: ConsoleState, session: ConsoleSession, params: Mapping[str, str]) -> HttpResponse:
    command = _command(params)
    return _command_page(session, command, fields_of(command, {**_defaults(state), **session.known}))


async def _send(state: ConsoleState, session: ConsoleSession, params: Mapping[str, str]) -> HttpResponse:
    command = _command(params)
    typed = fields_of(command, {}, params)
    try:
        wanted = read_params(command, params)
    except FieldError as error:
        return _command_page(session, command, typed, problem=str(error), status=400)
    before = state.provider.journal.count
    try:
        exchange = await state.oxd.exchange(command.name, wanted)
    except OxdUnreachable as error:
        return _command_page(session, command, typed, problem=f"{error}.", status=502)
    served = [one for one in state.provider.journal.since(before) if one.path not in _FOR_PEOPLE]
    _learn(session, {**wanted, **exchange.data} if exchange.ok else wanted)
    return _command_page(session, command, typed, exchange=exchange, served=served)


def _command_page(
    session: ConsoleSession,
    command: AnyCommand,
    fields: object,
    *,
    exchange: Exchange | None = None,
    served: list[Served] | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    token = next((one.id_token for one in served or () if one.id_token), None)
    return page(
        "console/command.html",
        status,
        command=command,
        fields=fields,
        csrf=session.csrf_token,
        problem=problem,
        exchange=exchange,
        sent=pretty_frame(exchange.sent) if exchange else "",
        received=pretty_frame(exchange.received) if exchange else "",
        served=served or [],
        rows=verdicts(token, None if exchange.ok else exchange.data) if exchange and token else [],
        next_url=_next_url(exchange),
    )


def _next_url(exchange: Exchange | None) -> str | None:
    """Where the browser is to go now: the answer is a URL of the provider."""
    data = exchange.data if exchange is not None and exchange.ok else {}
    url = data.get("authorization_url") or data.get("uri")
    return url if isinstance(url, str) and urlsplit(url).scheme in ("http", "https") else None


async def _callback(state: ConsoleState, session: ConsoleSession, params: Mapping[str, str]) -> HttpResponse:
    """What the provider's redirect brings fills in the next form; it is not sent before the person says so."""
    del state
    if "error" in params:
        text = f"The provider says {params['error']}: {params.get('error_description', 'no further words')}."
        raise PageError("You are not logged in", text, 200)
    # OpenID Connect Core 3.1.2.7 and RFC 6749 10.12: the state binds the answer to this browser.
    if not same_secret(params.get("state"), session.known.get("state")):
        raise PageError("This login was not started here", "The state is not the one this browser was sent away with.")
    session.known |= {name: params[name] for name in ("code", "iss", "response") if name in params}
    return redirect("/console/command?name=get_tokens_by_code")


async def _misbehave(state: ConsoleState, session: ConsoleSession, params: Mapping[str, str]) -> HttpResponse:
    """Have the provider make one mistake from now on, or none."""
    del session
    state.provider.faults = {params["fault"]} & set(FAULTS) if "fault" in params else set()
    return redirect("/console")


def _command(params: Mapping[str, str]) -> AnyCommand:
    command = find_command(params.get("name", ""))
    if command is None or command.unsupported:
        raise PageError("No such command", "Choose one on the first page of the console.", 404)
    return command


def _defaults(state: ConsoleState) -> dict[str, Any]:
    return {
        "op_host": state.provider.issuer,
        "authorization_redirect_uri": f"{state.url}{CALLBACK}",
        "post_logout_redirect_uri": f"{state.url}/console",
        "scope": ["openid", "profile", "email"],
        "grant_types": ["authorization_code", "refresh_token"],
        "client_name": "Console",
    }


_REMEMBERED = (
    "oxd_id", "client_id", "client_secret", "access_token", "refresh_token", "id_token", "ticket", "rpt", "state",
    "device_code", "request_object_id",
)  # fmt: skip
"""What fills in the forms of the commands that come next."""


def _learn(session: ConsoleSession, answered: Mapping[str, Any]) -> None:
    for name in _REMEMBERED:
        value = answered.get(name)
        if isinstance(value, str) and value and len(value) < _LONGEST_KEPT:
            session.known[name] = value
    url = answered.get("authorization_url")
    if isinstance(url, str) and (states := parse_qs(urlsplit(url).query).get("state")):
        session.known["state"] = states[0]
    if isinstance(hint := session.known.get("id_token"), str):
        session.known["id_token_hint"] = hint


# --- routes -----------------------------------------------------------------------------------

Click = Callable[[ConsoleState, ConsoleSession, Mapping[str, str]], Awaitable[HttpResponse]]
ROUTES: dict[tuple[str, str], Click] = {
    ("GET", "/console"): _home,
    ("GET", "/console/command"): _show,
    ("POST", "/console/command"): _send,
    ("GET", CALLBACK): _callback,
    ("POST", "/console/fault"): _misbehave,
}


async def handle(state: ConsoleState, request: HttpRequest) -> HttpResponse:
    """Answer one request of a browser."""
    click = ROUTES.get(("GET" if request.method == "HEAD" else request.method, request.path))
    if click is None:
        known = any(path == request.path for _, path in ROUTES)
        return _error_page("No such page", "Start again at the first page.", 405 if known else 404)
    name, session = state.browsers.session(request)
    return state.browsers.with_cookie(await _click(state, session, click, request), name)


async def _click(state: ConsoleState, session: ConsoleSession, click: Click, request: HttpRequest) -> HttpResponse:
    try:
        params = form(request) if request.method == "POST" else query(request)
        if request.method == "POST" and not same_secret(params.get("csrf"), session.csrf_token):
            raise PageError("This form cannot be accepted", "It did not come from a page of the console.", 403)
        return await click(state, session, params)
    except PageError as error:
        return _error_page(error.title, error.explanation, error.status)
    except OAuthError as error:
        return _error_page("This request cannot be read", error.description, error.status)


def _error_page(title: str, explanation: str, status: int) -> HttpResponse:
    return page("console/error.html", status, title=title, explanation=explanation)
