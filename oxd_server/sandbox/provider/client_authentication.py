"""Client assertions: `client_secret_jwt` and `private_key_jwt` (OpenID Connect Core 9, RFC 7523).

The other methods (`client_secret_basic`, `client_secret_post`, `none`) are authlib's own.
"""

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import httpx2
from authlib.oauth2.rfc6749 import InvalidClientError
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey
from joserfc.jws import extract_compact

from oxd_server.sandbox.provider.keys import Algorithms
from oxd_server.sandbox.provider.model import Client, ProviderState
from oxd_server.sandbox.web import is_loopback_uri

__all__ = ["AUTH_METHODS", "HMAC_ALGS", "KEY_ALGS", "ClientAssertion", "fetch_client_keys", "jwt_payload"]

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none")
HMAC_ALGS = ("HS256", "HS384", "HS512")
KEY_ALGS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_ASSERTION_SECONDS = 3600
_LEEWAY_SECONDS = 60
_MAX_JWKS_BYTES = 100_000
_JWKS_TIMEOUT = 5.0


class ClientAssertion(JWTBearerClientAssertion):
    """The check of one request's client assertion, under the key that the client registered for it."""

    def __init__(self, state: ProviderState) -> None:
        super().__init__()
        self._state = state
        self._client: Client
        self._fetched: Any = None

    def __call__(self, query_client: Any, request: Any) -> Client | None:
        self._fetched = request.client_keys
        client: Client | None = super().__call__(query_client, request)
        if client is not None and request.form.get("client_id", client.client_id) != client.client_id:
            raise InvalidClientError("client_id is not that of the client assertion")
        return client

    def extract_assertion(self, assertion: str) -> Any:
        try:
            return super().extract_assertion(assertion)
        except (RecursionError, ValueError) as error:
            raise InvalidClientError("the client assertion is no JWT") from error

    def resolve_client_public_key(self, client: Client) -> OctKey | KeySet:
        self._client = client
        if client.auth_method == "client_secret_jwt":
            return OctKey.import_key(client.secret or "")
        if client.auth_method != "private_key_jwt":
            raise InvalidClientError("the client did not register for assertions")
        try:
            return KeySet.import_key_set(client.metadata.get("jwks", self._fetched))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise InvalidClientError("the key set of the client cannot be read") from error

    def process_assertion_claims(self, assertion: str, resolve_key: Any) -> dict[str, Any]:
        registered = self._client.metadata.get("token_endpoint_auth_signing_alg")
        allowed = HMAC_ALGS if self._client.auth_method == "client_secret_jwt" else KEY_ALGS
        registry = Algorithms(algorithms=[registered] if registered else list(allowed))
        try:
            claims = dict(jwt.decode(assertion, resolve_key, registry=registry).claims)
        except (JoseError, ValueError) as error:
            raise InvalidClientError("the signature of the client assertion is not valid") from error
        self.verify_claims(claims)
        return claims

    def verify_claims(self, claims: Mapping[str, Any]) -> None:
        """The claims of RFC 7523 section 3, with this provider's clock, which authlib does not ask."""
        now, client_id = self._state.now(), self._client.client_id
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            raise InvalidClientError("iss and sub of the client assertion must be the client id")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not {self._state.issuer, f"{self._state.issuer}/token"} & {a for a in audiences if isinstance(a, str)}:
            raise InvalidClientError("aud of the client assertion must be the token endpoint or the issuer")
        expires_at = claims.get("exp")
        if not isinstance(expires_at, int | float) or not now - _LEEWAY_SECONDS < expires_at < now + _ASSERTION_SECONDS:
            raise InvalidClientError("exp of the client assertion is missing, past, or too far away")
        # OpenID Connect Core 9: jti is REQUIRED, and such a token "MUST only be used once".
        token_id = claims.get("jti")
        if not isinstance(token_id, str) or not token_id:
            raise InvalidClientError("jti of the client assertion is missing")
        seen = f"{client_id} {token_id}"
        if self._state.assertion_ids.get(seen):
            raise InvalidClientError("the client assertion was used before")
        self._state.assertion_ids.put(seen, True, _ASSERTION_SECONDS + _LEEWAY_SECONDS)


async def fetch_client_keys(state: ProviderState, params: Mapping[str, str]) -> Any:
    """The key set at the `jwks_uri` of the client that claims to have signed; None if there is none to be had."""
    try:
        client = state.clients.get(str(jwt_payload(params.get("client_assertion", "")).get("sub")))
    except ValueError:
        return None
    uri = client.metadata.get("jwks_uri") if client and client.auth_method == "private_key_jwt" else None
    # Only loopback: the sandbox reaches for nothing else.
    return await _fetch(uri) if uri is not None and is_loopback_uri(uri) else None


async def _fetch(uri: str) -> Any:
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
    except (httpx2.HTTPError, ValueError, RecursionError):
        return None


def jwt_payload(token: str) -> dict[str, Any]:
    """The claims of a compact JWS, unverified; ValueError if it is none."""
    try:
        payload = json.loads(extract_compact(token.encode()).payload)
    except (JoseError, RecursionError) as error:
        raise ValueError("not a JWT") from error
    if not isinstance(payload, dict):
        raise ValueError("not a JWT")
    return payload
