"""The token endpoint (RFC 6749, PKCE of RFC 7636), introspection (RFC 7662) and revocation (RFC 7009)."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from oxd_server.entrances.http1 import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.client_authentication import authenticate
from oxd_server.sandbox.provider.faults import misbehave
from oxd_server.sandbox.provider.id_token import issue_id_token
from oxd_server.sandbox.provider.model import ACCESS_TOKEN_SECONDS, Client, Code, Grant, ProviderState, Token
from oxd_server.sandbox.uma.grant import introspected_permissions, uma_ticket
from oxd_server.sandbox.uma.model import UMA_TICKET
from oxd_server.sandbox.web import OAuthError, bearer_token, form, json_response, same_secret

Answer = dict[str, Any]
Params = Mapping[str, str]


async def token(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /token: authenticate the client and serve its grant type."""
    params = form(request)
    client = await authenticate(state, request, params)
    grant_type = params.get("grant_type")
    if grant_type is None:
        raise OAuthError("invalid_request", "grant_type is missing")
    serve = GRANTS.get(grant_type)
    if serve is None:
        raise OAuthError("unsupported_grant_type", f"known grant types: {', '.join(GRANTS)}")
    # A client that may use codes may refresh: providers differ, and the strict ones are tried elsewhere.
    # In the same way, who may have tokens of its own may ask for an RPT: old libraries register no more than that.
    allowed = set(client.listed("grant_types"))
    also = {"refresh_token": "authorization_code", UMA_TICKET: "client_credentials"}.get(grant_type)
    if grant_type not in allowed and also not in allowed:
        raise OAuthError("unauthorized_client", f"the client is not registered for {grant_type}")
    return json_response(await serve(state, client, params))


async def _authorization_code(state: ProviderState, client: Client, params: Params) -> Answer:
    text = _required(params, "code")
    code = state.codes.get(text)
    if code is None or code.grant.client_id != client.client_id:
        raise OAuthError("invalid_grant", "the code is unknown, expired, or another client's")
    # RFC 6749 4.1.2: a code used more than once MUST be denied, and the tokens issued for it SHOULD be revoked.
    if code.used:
        code.grant.revoked = True
        raise OAuthError("invalid_grant", "the code was used before; its tokens are revoked")
    # RFC 6749 4.1.3: the redirect_uri MUST be identical to that of the authorization request.
    if params.get("redirect_uri") != code.redirect_uri:
        raise OAuthError("invalid_grant", "redirect_uri is not that of the authorization request")
    _check_verifier(client, code, params.get("code_verifier"))
    code.used = True
    return _user_tokens(state, client, code.grant, code.grant.scope, code.grant.nonce)


def _check_verifier(client: Client, code: Code, verifier: str | None) -> None:
    if code.code_challenge is None:
        if client.auth_method == "none":
            raise OAuthError("invalid_grant", "a public client must use PKCE")
        # RFC 9700 2.1.1: a verifier without a challenge is a downgrade of PKCE and MUST be rejected.
        if verifier is not None:
            raise OAuthError("invalid_grant", "code_verifier without a code_challenge before")
        return
    # RFC 7636 4.1: code-verifier = 43*128unreserved
    if verifier is None or not re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", verifier):
        raise OAuthError("invalid_grant", "code_verifier is missing or malformed")
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if not same_secret(challenge, code.code_challenge):
        raise OAuthError("invalid_grant", "code_verifier does not match the code_challenge")


def _user_tokens(state: ProviderState, client: Client, grant: Grant, scope: str, nonce: str | None) -> Answer:
    access_token = state.issue_access_token(grant, scope)
    answer = _token_answer(access_token, scope)
    answer["refresh_token"] = state.issue_refresh_token(grant)
    if "openid" in scope.split():
        answer["id_token"] = issue_id_token(state, client, grant, nonce=nonce, access_token=access_token)
    return answer


def _token_answer(access_token: str, scope: str) -> Answer:
    return {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": ACCESS_TOKEN_SECONDS,
        "scope": scope,
    }


async def _refresh_token(state: ProviderState, client: Client, params: Params) -> Answer:
    refresh_token = state.refresh_tokens.get(_required(params, "refresh_token"))
    if refresh_token is None or refresh_token.grant.client_id != client.client_id:
        raise OAuthError("invalid_grant", "the refresh token is unknown, expired, or another client's")
    grant = refresh_token.grant
    # RFC 9700 4.14.2: with rotation, the second use of a refresh token tells of a theft: revoke all.
    if refresh_token.used:
        grant.revoked = True
    if grant.revoked:
        raise OAuthError("invalid_grant", "the refresh token was used before or revoked")
    scope = params.get("scope", grant.scope)
    # RFC 6749 6: the requested scope "MUST NOT include any scope not originally granted".
    if not set(scope.split()) <= set(grant.scope.split()):
        raise OAuthError("invalid_scope", "more scopes than were granted")
    refresh_token.used = True
    return _user_tokens(state, client, grant, scope, None)


async def _client_credentials(state: ProviderState, client: Client, params: Params) -> Answer:
    # RFC 6749 4.4: "MUST only be used by confidential clients".
    if client.auth_method == "none":
        raise OAuthError("unauthorized_client", "a public client cannot use client_credentials")
    asked = params.get("scope", "")
    scope = client.narrow(asked)
    if asked and not scope:
        raise OAuthError("invalid_scope", "the client is registered for none of these scopes")
    access_token = state.issue_access_token(Grant(client.client_id, None, scope), scope)
    return _token_answer(access_token, scope)


GRANTS: dict[str, Callable[[ProviderState, Client, Params], Awaitable[Answer]]] = {
    "authorization_code": _authorization_code,
    "refresh_token": _refresh_token,
    "client_credentials": _client_credentials,
    UMA_TICKET: uma_ticket,
}


def _required(params: Params, name: str) -> str:
    value = params.get(name)
    if value is None:
        raise OAuthError("invalid_request", f"{name} is missing")
    return value


# --- introspection and revocation ------------------------------------------------------------


async def introspect(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /introspect: what a token is good for (RFC 7662), for an authenticated client or a PAT."""
    params = form(request)
    await misbehave(state)
    asker = await _introspector(state, request, params)
    text = _required(params, "token")
    if (token := state.live_access_token(text)) is not None:
        answer = _introspection(state, token, "Bearer")
        if token.permissions is not None:
            answer["permissions"] = introspected_permissions(state, token, asker)
        return json_response(answer)
    refresh_token = state.refresh_tokens.get(text)
    if refresh_token is not None and not (refresh_token.used or refresh_token.grant.revoked):
        return json_response(_introspection(state, refresh_token, "refresh_token"))
    # RFC 7662 2.2: for a token that is not active, nothing else "SHOULD NOT" be disclosed.
    return json_response({"active": False})


async def _introspector(state: ProviderState, request: HttpRequest, params: Params) -> str:
    """The client id of who asks."""
    # RFC 7662 2.1: "the endpoint MUST also require some form of authorization".
    presented = bearer_token(request)
    if presented is None:
        return (await authenticate(state, request, params)).client_id
    pat = state.live_access_token(presented)
    if pat is None or "uma_pat_lost" in state.faults:
        raise OAuthError("invalid_token", "the access token is not active", 401, WWW_Authenticate="Bearer")
    if "uma_protection" not in pat.scope.split():
        raise OAuthError("insufficient_scope", "the access token lacks uma_protection", 403)
    return pat.grant.client_id


def _introspection(state: ProviderState, token: Token, token_type: str) -> Answer:
    answer: Answer = {
        "active": True,
        "client_id": token.grant.client_id,
        "scope": token.scope,
        "token_type": token_type,
        "iss": state.issuer,
        "aud": token.grant.client_id,
        "iat": token.issued_at,
        "exp": token.expires_at,
    }
    if token.grant.user is not None:
        answer |= {"sub": token.grant.user.sub, "username": token.grant.user.username}
    return answer


async def revoke(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """POST /revoke: a refresh token takes its whole grant along, an access token goes alone (RFC 7009 2.1)."""
    params = form(request)
    client = await authenticate(state, request, params)
    text = _required(params, "token")
    access_token, refresh_token = state.access_tokens.get(text), state.refresh_tokens.get(text)
    if access_token is not None and access_token.grant.client_id == client.client_id:
        state.access_tokens.pop(text)
    if refresh_token is not None and refresh_token.grant.client_id == client.client_id:
        refresh_token.grant.revoked = True
    # RFC 7009 2.2: "invalid tokens do not cause an error response".
    return HttpResponse(200, [("Cache-Control", "no-store")])
