"""The end of a session (OpenID Connect RP-Initiated Logout 1.0), of which other applications hear as well."""

from collections.abc import Mapping

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.pages import page
from oxd_server.sandbox.provider.authorization import current_session
from oxd_server.sandbox.provider.client_authentication import jwt_payload
from oxd_server.sandbox.provider.keys import claims_by_secret
from oxd_server.sandbox.provider.logout_token import tell_clients
from oxd_server.sandbox.provider.model import Client, ProviderState, Session
from oxd_server.sandbox.web import PageError, form, query, redirect, same_secret, with_query

__all__ = ["end_session"]

_KEPT = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state")


async def end_session(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET or POST /end_session: log out, after asking unless the id_token_hint proves the user's application."""
    params = query(request) if request.method == "GET" else form(request)
    client, hinted_sub = _client_and_user(state, params)
    target = _target(client, params | {"state": "another"} if "logout_other_state" in state.faults else params)
    found = current_session(state, request)
    user = found[1].user if found else None
    if found is None or user is None:
        return _goodbye(target)
    session_id, session = found
    decision = _decision(params, session, hinted_sub)
    if decision == "ask":
        fields = {name: params[name] for name in _KEPT if name in params}
        return page("provider/logout.html", user=user, fields={**fields, "csrf": session.csrf_token})
    if decision == "stay":
        return page("provider/message.html", title="Still logged in", text="Nothing was changed.")
    state.sessions.pop(session_id)
    await tell_clients(state, session)
    return _goodbye(target)


def _client_and_user(state: ProviderState, params: Mapping[str, str]) -> tuple[Client | None, str | None]:
    """Client and user of a valid hint; the client alone if only `client_id` is given."""
    hint, client_id = params.get("id_token_hint"), params.get("client_id")
    if hint is None:
        return state.clients.get(client_id), None
    # RP-Initiated Logout 2: the OP accepts expired tokens, but it "MUST" have issued the hint; and a
    # client_id beside it must be the one the token was issued to.
    claims = state.keys.claims_of_our_token(hint) or _claims_by_secret(state, hint)
    if claims is None or claims.get("iss") != state.issuer:
        raise PageError("The logout request is not valid", "Its id_token_hint was not issued here.")
    if client_id is not None and claims.get("aud") != client_id:
        raise PageError("The logout request is not valid", "Its id_token_hint is another application's.")
    return state.clients.get(str(claims.get("aud"))), str(claims.get("sub"))


def _claims_by_secret(state: ProviderState, hint: str) -> Mapping[str, object] | None:
    """The claims of a hint signed with a client's secret (HS256); None for any other."""
    try:
        client = state.clients.get(str(jwt_payload(hint).get("aud")))
    except ValueError:
        return None
    if client is None or client.id_token_alg != "HS256":
        return None
    return claims_by_secret(hint, client.secret)


def _target(client: Client | None, params: Mapping[str, str]) -> str | None:
    uri = params.get("post_logout_redirect_uri")
    if uri is None:
        return None
    # RP-Initiated Logout 3: the OP "MUST NOT" redirect to a URI that is not exactly a registered one.
    if client is None or uri not in client.listed("post_logout_redirect_uris"):
        raise PageError(
            "Unknown address to return to",
            "The post_logout_redirect_uri of this request is not registered for the application.",
        )
    return with_query(uri, {"state": params.get("state")})


def _decision(params: Mapping[str, str], session: Session, hinted_sub: str | None) -> str:
    """`logout`, `stay` or `ask`."""
    if session.user is not None and hinted_sub == session.user.sub:
        return "logout"
    if same_secret(params.get("csrf"), session.csrf_token):
        return "logout" if params.get("decision") == "logout" else "stay"
    return "ask"


def _goodbye(target: str | None) -> HttpResponse:
    if target is not None:
        return redirect(target)
    text = "You are logged out here. You can close this page."
    return page("provider/message.html", title="Logged out", text=text)
