"""Request objects: an authorization request as a JWT. Pure.

Specifications: RFC 9101 (JAR), OpenID Connect Core 1.0 section 6.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from oxd_server.op.base64url import encode_base64url
from oxd_server.op.errors import ClientAuthenticationError, IdTokenError, ParameterRefused
from oxd_server.op.jose import ALGORITHMS, secret_signing_key, sign_token
from oxd_server.op.key_store import KeyStore

__all__ = ["UNSIGNED", "request_object", "request_object_claims", "typed"]

UNSIGNED: Final = "none"
_NEVER_INSIDE: Final = ("request", "request_uri", "sub")
"""RFC 9101 section 4: "request and request_uri parameters MUST NOT be included in Request Objects."

Section 10.8: without a sub, it cannot be taken for the assertion with which the client authenticates.
"""
_JSON_VALUES: Final = ("authorization_details", "claims", "max_age")


def request_object_claims(own: Mapping[str, object], params: Mapping[str, object]) -> dict[str, object]:
    """The claims of a request object: the caller's parameters beside our own.

    Args:
        own: iss, aud, client_id, response_type and the like; only the response_type may be another one.
        params: the parameters of the authorization request.

    Raises:
        ParameterRefused: one of them would replace one of ours, or has no place in a request object.
    """
    for name, value in params.items():
        if name in _NEVER_INSIDE or (name != "response_type" and own.get(name, value) != value):
            raise ParameterRefused(name[:100])
    return {**own, **params}


def typed(parameters: Mapping[str, str | tuple[str, ...]]) -> dict[str, object]:
    """The parameters of a request as claims: those that are JSON there are members here (RFC 9101 section 4)."""
    return {
        name: _json(value) if name in _JSON_VALUES and isinstance(value, str) else value
        for name, value in parameters.items()
    }


def _json(text: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return text
    return value


def request_object(
    claims: Mapping[str, object], algorithm: str | None, key_store: KeyStore | None, client_secret: str | None
) -> str:
    """The request object as a JWT in compact serialization.

    Args:
        claims: what it says.
        algorithm: its name, or `UNSIGNED`; None: the usual one of the key store's first key.
        key_store: where the keys of the asymmetric algorithms are.
        client_secret: the key of an HMAC (Core section 6.1).

    Raises:
        ClientAuthenticationError: there is no key for the algorithm, or no such algorithm.
    """
    if algorithm == UNSIGNED:
        parts = ({"alg": UNSIGNED}, claims)
        return ".".join(encode_base64url(msgspec.json.encode(part)) for part in parts) + "."
    known = ALGORITHMS.get(algorithm or "")
    if known is not None and known.symmetric:
        try:
            secret = secret_signing_key(known, client_secret or "")
        except IdTokenError:
            raise ClientAuthenticationError(f"the client secret is too short for {known.name}") from None
        return sign_token({}, claims, known, secret)
    if key_store is None:
        raise ClientAuthenticationError("a key store is needed, and none is configured (crypt_provider_key_store_path)")
    key, chosen = key_store.select(algorithm)
    return sign_token({"kid": key.kid}, claims, chosen, key.key)
