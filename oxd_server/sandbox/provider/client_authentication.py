"""How a client proves who it is, at the token, introspection and revocation endpoints.

RFC 6749 2.3 (`client_secret_basic`, `client_secret_post`), OpenID Connect Core 9 and RFC 7523
(`client_secret_jwt`, `private_key_jwt`), and `none` for public clients. Strict: exactly the method
that the client registered.
"""

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey
from joserfc.jws import extract_compact

from oxd_server.entrances.http1 import HttpRequest
from oxd_server.sandbox.provider.keys import Algorithms
from oxd_server.sandbox.provider.model import Client, ProviderState
from oxd_server.sandbox.web import OAuthError, basic_credentials, is_loopback_uri, same_secret

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none")
HMAC_ALGS = ("HS256", "HS384", "HS512")
KEY_ALGS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 3600
_LEEWAY_SECONDS = 60
_MAX_JWKS_BYTES = 100_000
_JWKS_TIMEOUT = 5.0


def _refused(description: str) -> OAuthError:
    # RFC 6749 5.2: on invalid_client after an attempt with the Authorization header "the authorization server MUST
    # respond with an HTTP 401 (Unauthorized) status code and include the WWW-Authenticate" header.
    return OAuthError("invalid_client", description, 401, WWW_Authenticate='Basic realm="sandbox"')


async def authenticate(state: ProviderState, request: HttpRequest, params: Mapping[str, str]) -> Client:
    """The client that sent this request; OAuthError `invalid_client` if it cannot prove it.

    `params` are the form parameters of the request's body.
    """
    basic = basic_credentials(request)
    used = [
        method
        for method, present in (
            ("client_secret_basic", basic is not None),
            ("client_secret_post", "client_secret" in params),
            ("assertion", "client_assertion" in params),
        )
        if present
    ]
    # RFC 6749 2.3: "The client MUST NOT use more than one authentication method in each request."
    if len(used) > 1:
        raise OAuthError("invalid_request", "more than one client authentication method was used")
    if used == ["assertion"]:
        return await _by_assertion(state, params)
    if basic is not None:
        client_id, secret, method = *basic, "client_secret_basic"
    else:
        client_id, secret = params.get("client_id", ""), params.get("client_secret", "")
        method = "client_secret_post" if used else "none"
    client = state.clients.get(client_id)
    if client is None:
        raise _refused("the client is unknown")
    _check_method(client, method)
    if method != "none":
        _check_secret(state, client, secret)
    return client


def _check_method(client: Client, method: str) -> None:
    if client.auth_method != method:
        raise _refused(f"the client registered {client.auth_method}, but {method} was used")


def _check_secret(state: ProviderState, client: Client, secret: str) -> None:
    if not same_secret(secret, client.secret):
        raise _refused("the client secret is wrong")
    _check_secret_age(state, client)


def _check_secret_age(state: ProviderState, client: Client) -> None:
    if 0 < client.secret_expires_at <= state.seconds():
        raise _refused("the client secret has expired")


async def _by_assertion(state: ProviderState, params: Mapping[str, str]) -> Client:
    if params.get("client_assertion_type") != _ASSERTION_TYPE:
        raise OAuthError("invalid_request", f"client_assertion_type must be {_ASSERTION_TYPE}")
    assertion = params["client_assertion"]
    unverified = _unverified(assertion)
    client = state.clients.get(str(unverified.get("sub", "")))
    if client is None or params.get("client_id", client.client_id) != client.client_id:
        raise _refused("the client is unknown")
    claims = await _verified_claims(state, client, assertion)
    _check_assertion_claims(state, client, claims)
    return client


def _unverified(assertion: str) -> dict[str, Any]:
    """The claims before their signature is checked: good only for finding whose keys to check with."""
    try:
        payload = jwt_payload(assertion)
    except ValueError as error:
        raise _refused("the client assertion is no JWT") from error
    return payload


def jwt_payload(token: str) -> dict[str, Any]:
    """The claims of a compact JWS, unverified; ValueError if it is none."""
    try:
        payload = json.loads(extract_compact(token.encode()).payload)
    except (JoseError, RecursionError) as error:
        raise ValueError("not a JWT") from error
    if not isinstance(payload, dict):
        raise ValueError("not a JWT")
    return payload


async def _verified_claims(state: ProviderState, client: Client, assertion: str) -> dict[str, Any]:
    registered = client.metadata.get("token_endpoint_auth_signing_alg")
    key: OctKey | KeySet
    algs: tuple[str, ...]
    if client.auth_method == "client_secret_jwt":
        algs, key = HMAC_ALGS, OctKey.import_key(client.secret or "")
        _check_secret_age(state, client)
    elif client.auth_method == "private_key_jwt":
        algs, key = KEY_ALGS, await _client_keys(client)
    else:
        raise _refused(f"the client registered {client.auth_method}, but an assertion was used")
    allowed = [registered] if registered else list(algs)
    try:
        return dict(jwt.decode(assertion, key, registry=Algorithms(algorithms=allowed)).claims)
    except (JoseError, ValueError) as error:
        raise _refused("the signature of the client assertion is not valid") from error


async def _client_keys(client: Client) -> KeySet:
    """The keys that the client registered, by value or by a loopback address."""
    jwks = client.metadata.get("jwks")
    if jwks is None:
        jwks = await _fetch_jwks(str(client.metadata.get("jwks_uri", "")))
    try:
        return KeySet.import_key_set(jwks)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise _refused("the client's key set cannot be read") from error


async def _fetch_jwks(uri: str) -> Any:
    """The key set at `uri`. Only loopback: the sandbox reaches for nothing else."""
    if not is_loopback_uri(uri):
        raise _refused("the sandbox fetches keys from loopback addresses only; register `jwks` instead")
    try:
        async with (
            httpx2.AsyncClient(timeout=_JWKS_TIMEOUT, trust_env=False) as http,
            http.stream("GET", uri) as answer,
            aclosing(answer.raise_for_status().aiter_bytes()) as parts,
        ):
            body = b""
            async for part in parts:
                body += part
                if len(body) > _MAX_JWKS_BYTES:
                    await answer.aclose()  # makes the next read fail, which ends the iterators in good order
        return json.loads(body)
    except (httpx2.HTTPError, ValueError, RecursionError) as error:
        raise _refused("the client's key set cannot be fetched") from error


def _check_assertion_claims(state: ProviderState, client: Client, claims: Mapping[str, Any]) -> None:
    now = state.now()
    # RFC 7523 3: iss and sub "MUST" be the client id (section 2.2), aud "MUST" name the server, exp "MUST" be there.
    if claims.get("iss") != client.client_id or claims.get("sub") != client.client_id:
        raise _refused("iss and sub of the client assertion must be the client id")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not {state.issuer, f"{state.issuer}/token"} & {a for a in audiences if isinstance(a, str)}:
        raise _refused("aud of the client assertion must be the token endpoint or the issuer")
    expires_at = claims.get("exp")
    if not isinstance(expires_at, int | float) or not now - _LEEWAY_SECONDS < expires_at < now + _ASSERTION_SECONDS:
        raise _refused("exp of the client assertion is missing, past, or too far away")
    # OpenID Connect Core 9: jti is REQUIRED, and such a token "MUST only be used once".
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not token_id:
        raise _refused("jti of the client assertion is missing")
    seen = f"{client.client_id} {token_id}"
    if state.assertion_ids.get(seen):
        raise _refused("the client assertion was used before")
    state.assertion_ids.put(seen, True, _ASSERTION_SECONDS + _LEEWAY_SECONDS)
