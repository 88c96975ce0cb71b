"""Misbehaviour that a test switches on, one name at a time: `state.faults.add("id_token_bad_iss")`.

Every fault turns one thing wrong that a relying party must notice; without any, the provider is correct.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

from oxd_server.sandbox.model import ProviderState

Claims = dict[str, Any]

_ID_TOKEN_CLAIMS: dict[str, Callable[[Claims], Claims]] = {
    "id_token_bad_iss": lambda claims: claims | {"iss": claims["iss"] + "/other"},
    "id_token_missing_sub": lambda claims: _without(claims, "sub"),
    "id_token_bad_aud": lambda claims: claims | {"aud": "another-client"},
    "id_token_missing_iat": lambda claims: _without(claims, "iat"),
    "id_token_bad_nonce": lambda claims: claims | {"nonce": "x" + str(claims.get("nonce"))},
    "id_token_expired": lambda claims: claims | {"exp": claims["iat"] - 3600, "iat": claims["iat"] - 7200},
    "id_token_bad_at_hash": lambda claims: claims | {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "id_token_missing_at_hash": lambda claims: _without(claims, "at_hash"),
    "id_token_bad_c_hash": lambda claims: claims | {"c_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}
_OTHERS = (
    "id_token_bad_signature",
    "id_token_alg_none",
    "userinfo_bad_sub",
    "discovery_bad_issuer",
    "authorization_bad_iss",
)
FAULTS = (*_ID_TOKEN_CLAIMS, *_OTHERS)


def _without(claims: Claims, name: str) -> Claims:
    return {key: value for key, value in claims.items() if key != name}


def sign_id_token(state: ProviderState, claims: Claims, alg: str, client_secret: str | None) -> str:
    """The signed id_token, wrong in the way that the provider's faults say."""
    for fault, change in _ID_TOKEN_CLAIMS.items():
        if fault in state.faults:
            claims = change(claims)
    token = state.keys.sign(claims, alg, client_secret)
    if "id_token_bad_signature" in state.faults:
        token = _with_broken_signature(token)
    if "id_token_alg_none" in state.faults:
        token = _unsigned(claims)
    return token


def _with_broken_signature(token: str) -> str:
    """The token with one character of the middle of its signature exchanged."""
    head, _, signature = token.rpartition(".")
    middle = len(signature) // 2
    other = "A" if signature[middle] != "A" else "B"
    return f"{head}.{signature[:middle]}{other}{signature[middle + 1 :]}"


def _unsigned(claims: Claims) -> str:
    def encoded(value: Claims) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{encoded({'alg': 'none'})}.{encoded(claims)}."
