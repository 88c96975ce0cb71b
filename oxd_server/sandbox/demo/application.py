"""The demo relying party: a small web application that knows nothing of OpenID Connect and asks oxd.

Every click sends one or a few commands through the socket; the pages show the frames. The application
itself only keeps a session per browser and compares the states that it gets back with those it sent.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio

from oxd_protocol.client import Exchange, OxdUnreachable
from oxd_protocol.client.with_trio import OxdClient
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.browsers import Browsers
from oxd_server.sandbox.demo.frames import first_value, readable_frames, readable_value
from oxd_server.sandbox.pages import page
from oxd_server.sandbox.web import (
    OAuthError,
    PageError,
    form,
    query,
    redirect,
    same_secret,
    style_response,
)

__all__ = ["CommandFailed", "DemoSession", "DemoState", "handle"]

SESSION_COOKIE = "oxd_demo_session"
SCOPES = ("openid", "profile", "email", "address", "phone")
_MAX_FRAMES = 12


@dataclass
class DemoSession:
    """One browser: what it is logged in with, and the frames of its latest clicks."""

    csrf_token: str = field(repr=False)
    login_state: str | None = field(default=None, repr=False)
    logout_state: str | None = field(default=None, repr=False)
    tokens: dict[str, Any] = field(default_factory=dict, repr=False)
    claims: dict[str, Any] = field(default_factory=dict, repr=False)
    frames: list[Exchange] = field(default_factory=list, repr=False)

    def log_out(self) -> None:
        """Forget the user, keep the frames to look at."""
        self.tokens, self.claims = {}, {}


class DemoState:
    """The application: its address, its provider, the oxd server, and its `oxd_id` once it has one."""

    def __init__(
        self, url: str, op_host: str, oxd: OxdClient, now: Callable[[], float], new_token: Callable[[], str]
    ) -> None:
        self.url = url
        self.op_host = op_host
        self.oxd = oxd
        self.new_token = new_token
        self.browsers = Browsers(SESSION_COOKIE, DemoSession, now, new_token)
        self.oxd_id: str | None = None
        self.registering = trio.Lock()


class CommandFailed(Exception):
    """The server answered a command with an error."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange.command)
        self.exchange = exchange


# --- talking to oxd --------------------------------------------------------------------------


async def _ask(state: DemoState, session: DemoSession, command: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Send a command, keep its frames for the page, and return the answer's data."""
    exchange = await state.oxd.exchange(command, params)
    session.frames = [*session.frames, exchange][-_MAX_FRAMES:]
    if exchange.ok:
        return exchange.data
    if exchange.data.get("error") == "invalid_oxd_id":
        state.oxd_id = None  # the server was started afresh: register again at the next click
    raise CommandFailed(exchange)


async def _oxd_id(state: DemoState, session: DemoSession) -> str:
    """The site's id; registers the site at first use, once however many browsers ask."""
    async with state.registering:
        if state.oxd_id is None:
            params = {
                "op_host": state.op_host,
                "authorization_redirect_uri": f"{state.url}/callback",
                "post_logout_redirect_uri": f"{state.url}/logged-out",
                "scope": list(SCOPES),
                "grant_types": ["authorization_code", "refresh_token"],
                "client_name": "Demo application",
            }
            state.oxd_id = str((await _ask(state, session, "register_site", params))["oxd_id"])
        return state.oxd_id


# --- what a click does -----------------------------------------------------------------------


async def _home(state: DemoState, session: DemoSession, params: Mapping[str, str]) -> HttpResponse:
    del params
    if session.claims:
        return _page(
            "demo/account.html",
            session,
            csrf=session.csrf_token,
            name=first_value(session.claims, "name") or first_value(session.claims, "sub"),
            claims={name: readable_value(value) for name, value in session.claims.items()},
            can_refresh=bool(session.tokens.get("refresh_token")),
        )
    oxd = f"{state.oxd.host}:{state.oxd.port}"
    return _page(
        "demo/welcome.html", session, csrf=session.csrf_token, op_host=state.op_host, oxd=oxd, oxd_id=state.oxd_id
    )


async def _login(state: DemoState, session: DemoSession, params: Mapping[str, str]) -> HttpResponse:
    del params
    session.frames = []
    oxd_id = await _oxd_id(state, session)
    answer = await _ask(state, session, "get_authorization_url", {"oxd_id": oxd_id, "scope": list(SCOPES)})
    url = str(answer["authorization_url"])
    session.login_state = _query_value(url, "state")
    return redirect(url)


async def _callback(state: DemoState, session: DemoSession, params: Mapping[str, str]) -> HttpResponse:
    if "error" in params:
        text = f"The provider says {params['error']}: {params.get('error_description', 'no further words')}."
        raise PageError("You are not logged in", text, 200)
    # OpenID Connect Core 3.1.2.7 and RFC 6749 10.12: the state binds the answer to this browser.
    expected, session.login_state = session.login_state, None
    if "code" not in params or not same_secret(params.get("state"), expected):
        raise PageError("This login was not started here", "The state is not the one this browser was sent away with.")
    oxd_id = await _oxd_id(state, session)
    code = {name: params[name] for name in ("code", "state", "iss") if name in params}
    session.tokens = await _ask(state, session, "get_tokens_by_code", {"oxd_id": oxd_id, **code})
    await _read_claims(state, session, oxd_id)
    return redirect("/")


async def _read_claims(state: DemoState, session: DemoSession, oxd_id: str) -> None:
    params = {"oxd_id": oxd_id, "access_token": session.tokens["access_token"]}
    session.claims = (await _ask(state, session, "get_user_info", params))["claims"]


async def _refresh(state: DemoState, session: DemoSession, params: Mapping[str, str]) -> HttpResponse:
    del params
    if "refresh_token" not in session.tokens:
        return redirect("/")
    session.frames = []
    oxd_id = await _oxd_id(state, session)
    asked = {"oxd_id": oxd_id, "refresh_token": session.tokens["refresh_token"]}
    session.tokens |= await _ask(state, session, "get_access_token_by_refresh_token", asked)
    await _read_claims(state, session, oxd_id)
    return redirect("/")


async def _logout(state: DemoState, session: DemoSession, params: Mapping[str, str]) -> HttpResponse:
    del params
    if not session.tokens:
        return redirect("/")
    session.frames = []
    oxd_id = await _oxd_id(state, session)
    session.logout_state = state.new_token()
    asked = {"oxd_id": oxd_id, "id_token_hint": session.tokens.get("id_token"), "state": session.logout_state}
    answer = await _ask(state, session, "get_logout_uri", asked)
    session.log_out()
    return redirect(str(answer["uri"]))


async def _logged_out(state: DemoState, session: DemoSession, params: Mapping[str, str]) -> HttpResponse:
    del state
    expected, session.logout_state = session.logout_state, None
    if not same_secret(params.get("state"), expected):
        return redirect("/")
    return _page("demo/goodbye.html", session)


async def _leave(state: DemoState, session: DemoSession, params: Mapping[str, str]) -> HttpResponse:
    """Remove the site, so that the next login registers it again."""
    del params
    session.frames = []
    session.log_out()
    if state.oxd_id is not None:
        oxd_id, state.oxd_id = state.oxd_id, None
        await _ask(state, session, "remove_site", {"oxd_id": oxd_id})
    return redirect("/")


def _query_value(url: str, name: str) -> str | None:
    values = parse_qs(urlsplit(url).query).get(name)
    return values[0] if values else None


# --- routes ----------------------------------------------------------------------------------

Click = Callable[[DemoState, DemoSession, Mapping[str, str]], Awaitable[HttpResponse]]
ROUTES: dict[tuple[str, str], Click] = {
    ("GET", "/"): _home,
    ("GET", "/callback"): _callback,
    ("GET", "/logged-out"): _logged_out,
    ("POST", "/login"): _login,
    ("POST", "/refresh"): _refresh,
    ("POST", "/logout"): _logout,
    ("POST", "/leave"): _leave,
}


async def handle(state: DemoState, request: HttpRequest) -> HttpResponse:
    """Answer one request of a browser."""
    method = "GET" if request.method == "HEAD" else request.method
    if (method, request.path) == ("GET", "/style.css"):
        return style_response()
    click = ROUTES.get((method, request.path))
    if click is None:
        known = any(path == request.path for _, path in ROUTES)
        return _error_page("No such page", "Start again at the first page.", 405 if known else 404)
    name, session = state.browsers.session(request)
    return state.browsers.with_cookie(await _click(state, session, click, request), name)


async def _click(state: DemoState, session: DemoSession, click: Click, request: HttpRequest) -> HttpResponse:
    """Do it, or show a readable page that says why not."""
    try:
        params = query(request) if request.method != "POST" else form(request)
        if request.method == "POST" and not same_secret(params.get("csrf"), session.csrf_token):
            raise PageError("This form cannot be accepted", "It did not come from a page of this application.", 403)
        return await click(state, session, params)
    except CommandFailed as error:
        data = error.exchange.data
        return _page(
            "demo/command_failed.html",
            session,
            502,
            command=error.exchange.command,
            error=str(data.get("error", "")),
            text=str(data.get("error_description", "")),
        )
    except OxdUnreachable as error:
        text = f"{error}. Start it with: oxd-server serve"
        return _error_page("The oxd server cannot be reached", text, 502, session)
    except PageError as error:
        return _error_page(error.title, error.explanation, error.status, session)
    except OAuthError as error:
        return _error_page("This request cannot be read", error.description, error.status)


def _page(template: str, session: DemoSession | None, status: int = 200, **values: Any) -> HttpResponse:
    """A page, with the frames of the session's latest clicks below."""
    return page(template, status, frames=readable_frames(session.frames if session else ()), **values)


def _error_page(title: str, explanation: str, status: int, session: DemoSession | None = None) -> HttpResponse:
    return _page("demo/error.html", session, status, title=title, explanation=explanation)
