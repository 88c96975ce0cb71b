"""Misbehaviour that a test switches on, one name at a time: `state.faults.add("id_token_bad_iss")`.

Every fault turns one thing wrong that a relying party must notice; without any, the provider is correct.
"""

import base64
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

import trio

from oxd_server.entrances.http1_messages import HttpResponse
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.web import OAuthError

__all__ = [
    "FAULTS",
    "UMA_FAULTS",
    "issuer_of_response",
    "misbehave",
    "public_jwks",
    "sign_id_token",
    "sign_logout_token",
    "sign_response",
    "token_answer",
    "with_broken_signature",
    "with_other_state",
]

Claims = dict[str, Any]

_ID_TOKEN_CLAIMS: dict[str, Callable[[Claims], Claims]] = {
    "id_token_bad_iss": lambda claims: claims | {"iss": claims["iss"] + "/other"},
    "id_token_missing_sub": lambda claims: _without(claims, "sub"),
    "id_token_bad_sub": lambda claims: claims | {"sub": "somebody-else"},
    "id_token_azp": lambda claims: claims | {"azp": claims["aud"]},
    "id_token_bad_aud": lambda claims: claims | {"aud": "another-client"},
    "id_token_missing_iat": lambda claims: _without(claims, "iat"),
    "id_token_bad_nonce": lambda claims: claims | {"nonce": "x" + str(claims.get("nonce"))},
    "id_token_expired": lambda claims: claims | {"exp": claims["iat"] - 3600, "iat": claims["iat"] - 7200},
    "id_token_bad_at_hash": lambda claims: claims | {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "id_token_missing_at_hash": lambda claims: _without(claims, "at_hash"),
    "id_token_bad_c_hash": lambda claims: claims | {"c_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "id_token_missing_c_hash": lambda claims: _without(claims, "c_hash"),
    "id_token_missing_exp": lambda claims: _without(claims, "exp"),
    "id_token_missing_nonce": lambda claims: _without(claims, "nonce"),
    "id_token_other_audience_too": lambda claims: claims | {"aud": [claims["aud"], "another-client"]},
    "id_token_bad_azp": lambda claims: claims | {"azp": "another-client"},
    "id_token_many_groups": lambda claims: claims | {"groups": [f"/company/team-{n:04}" for n in range(400)]},
    "id_token_missing_iss": lambda claims: _without(claims, "iss"),
    "id_token_missing_aud": lambda claims: _without(claims, "aud"),
    "id_token_aud_as_list": lambda claims: claims | {"aud": [claims["aud"]]},
    "id_token_from_the_future": lambda claims: claims | {"iat": claims["iat"] + 1800},
}
_RESPONSE_CLAIMS: dict[str, Callable[[Claims], Claims]] = {
    "response_missing_iss": lambda claims: _without(claims, "iss"),
    "response_bad_iss": lambda claims: claims | {"iss": claims["iss"] + "/other"},
    "response_missing_aud": lambda claims: _without(claims, "aud"),
    "response_bad_aud": lambda claims: claims | {"aud": "another-client"},
    "response_missing_exp": lambda claims: _without(claims, "exp"),
    "response_expired": lambda claims: claims | {"exp": claims["exp"] - 3600},
}
_LOGOUT_CLAIMS: dict[str, Callable[[Claims], Claims]] = {
    "logout_bad_iss": lambda claims: claims | {"iss": claims["iss"] + "/other"},
    "logout_bad_aud": lambda claims: claims | {"aud": "another-client"},
    "logout_missing_iat": lambda claims: _without(claims, "iat"),
    "logout_missing_exp": lambda claims: _without(claims, "exp"),
    "logout_expired": lambda claims: claims | {"exp": claims["iat"] - 3600, "iat": claims["iat"] - 7200},
    "logout_long_ago": lambda claims: claims | {"iat": claims["iat"] - 86_400},
    "logout_missing_jti": lambda claims: _without(claims, "jti"),
    "logout_missing_event": lambda claims: claims | {"events": {"https://example.com/another-event": {}}},
    "logout_without_user_and_session": lambda claims: _without(_without(claims, "sub"), "sid"),
    "logout_with_nonce": lambda claims: claims | {"nonce": "n-0S6_WzA2Mj"},
}
_OTHERS = (
    "device_slow_down",
    "dpop_nonce_at_token_endpoint",
    "dpop_nonce_at_userinfo",
    "dpop_never_content",
    "dpop_nonce_not_told",
    "dpop_token_is_bearer",
    "logout_bad_signature",
    "logout_alg_none",
    "logout_bad_typ",
    "id_token_bad_signature",
    "id_token_alg_none",
    "id_token_hmac_with_public_key",
    "id_token_without_kid",
    "key_set_several_keys",
    "key_set_single_key",
    "userinfo_bad_sub",
    "userinfo_bad_signature",
    "userinfo_not_signed",
    "discovery_bad_issuer",
    "authorization_bad_iss",
    "authorization_missing_iss",
    "authorization_bad_state",
    "authorization_missing_state",
    "response_bad_signature",
    "response_alg_none",
    "id_token_other_alg",
    "id_token_unknown_kid",
    "token_without_expires_in",
    "token_type_in_other_case",
    "logout_other_state",
)
FAULTS = (*_ID_TOKEN_CLAIMS, *_RESPONSE_CLAIMS, *_LOGOUT_CLAIMS, *_OTHERS)
UMA_FAULTS = ("uma_pat_lost", "uma_server_error", "uma_hang")
_HANG_SECONDS = 600


def _without(claims: Claims, name: str) -> Claims:
    return {key: value for key, value in claims.items() if key != name}


def sign_id_token(state: ProviderState, claims: Claims, alg: str, client_secret: str | None) -> str:
    """The signed id_token, wrong in the way that the provider's faults say."""
    for fault, change in _ID_TOKEN_CLAIMS.items():
        if fault in state.faults:
            claims = change(claims)
    if state.next_keys is not None:
        state.keys, state.next_keys = state.next_keys, None
    if "id_token_alg_none" in state.faults:
        return _unsigned(claims)
    if "id_token_hmac_with_public_key" in state.faults:
        return _signed_with_public_key(state, claims, alg)
    if "id_token_other_alg" in state.faults:
        alg = "RS256"  # whatever the client registered
    with_kid = "id_token_without_kid" not in state.faults
    kid = "nobody-knows-it" if "id_token_unknown_kid" in state.faults else None
    token = state.keys.sign(claims, alg, client_secret, with_kid=with_kid, kid=kid)
    return with_broken_signature(token) if "id_token_bad_signature" in state.faults else token


def sign_response(state: ProviderState, claims: Claims, alg: str, client_secret: str | None) -> str:
    """The signed authorization response, wrong in the way that the faults say."""
    for fault, change in _RESPONSE_CLAIMS.items():
        if fault in state.faults:
            claims = change(claims)
    if "response_alg_none" in state.faults:
        return _unsigned(claims)
    token = state.keys.sign(claims, alg, client_secret)
    return with_broken_signature(token) if "response_bad_signature" in state.faults else token


def issuer_of_response(state: ProviderState) -> str | None:
    """What a plain authorization response says of its issuer (RFC 9207)."""
    if "authorization_missing_iss" in state.faults:
        return None
    return state.issuer + "/other" if "authorization_bad_iss" in state.faults else state.issuer


def with_other_state(state: ProviderState, answer: HttpResponse) -> HttpResponse:
    """The authorization response with another state than the client's, or without one."""
    changed = {"authorization_bad_state": "state=another-state", "authorization_missing_state": "x=y"}
    for fault in state.faults & changed.keys():
        headers = [(name, re.sub(r"\bstate=[^&]*", changed[fault], value)) for name, value in answer.headers]
        answer = HttpResponse(answer.status, headers, answer.body)
    return answer


def token_answer(state: ProviderState, answer: HttpResponse) -> HttpResponse:
    """The token endpoint's answer, in another form than usual, but a form that is allowed."""
    body = json.loads(answer.body)
    if "token_without_expires_in" in state.faults:
        body.pop("expires_in", None)
    if "token_type_in_other_case" in state.faults and "token_type" in body:
        body["token_type"] = body["token_type"].swapcase()
    return HttpResponse(answer.status, answer.headers, json.dumps(body).encode())


def sign_logout_token(state: ProviderState, claims: Claims, alg: str, client_secret: str | None) -> str:
    """The signed logout token, wrong in the way that the provider's faults say."""
    for fault, change in _LOGOUT_CLAIMS.items():
        if fault in state.faults:
            claims = change(claims)
    if "logout_alg_none" in state.faults:
        return _unsigned(claims)
    typ = "at+jwt" if "logout_bad_typ" in state.faults else "logout+jwt"
    token = state.keys.sign(claims, alg, client_secret, typ=typ)
    return with_broken_signature(token) if "logout_bad_signature" in state.faults else token


def public_jwks(state: ProviderState) -> Claims:
    """The key set that is published, wrong in the way that the faults say."""
    keys = state.keys.public_jwks()["keys"]
    first = next(key for key in keys if key["alg"] == "RS256")
    if "key_set_single_key" in state.faults:
        keys = [first]
    if "key_set_several_keys" in state.faults:
        other = next(key for key in keys if key["alg"] == "PS256")  # of the same type, but another key
        keys = [*keys, {**other, "alg": "RS256", "kid": "another"}]
    return {"keys": keys}


def _signed_with_public_key(state: ProviderState, claims: Claims, alg: str) -> str:
    """HS256 with what everybody knows, the public key, as an attacker would try it (RFC 8725 section 2.1)."""
    key = state.keys.by_alg[alg]
    signing_input = f"{_encoded_json({'alg': 'HS256', 'kid': key.kid})}.{_encoded_json(claims)}"
    signature = hmac.digest(key.as_pem(private=False), signing_input.encode(), "sha256")
    return f"{signing_input}.{_encoded(signature)}"


def with_broken_signature(token: str) -> str:
    """The token with one character of the middle of its signature exchanged."""
    head, _, signature = token.rpartition(".")
    middle = len(signature) // 2
    other = "A" if signature[middle] != "A" else "B"
    return f"{head}.{signature[:middle]}{other}{signature[middle + 1 :]}"


def _unsigned(claims: Claims) -> str:
    return f"{_encoded_json({'alg': 'none'})}.{_encoded_json(claims)}."


def _encoded_json(value: Claims) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def misbehave(state: ProviderState) -> None:
    """At the UMA endpoints: fail, or say nothing for a long time."""
    if "uma_server_error" in state.faults:
        raise OAuthError("server_error", "something went wrong", 500)
    if "uma_hang" in state.faults:
        await trio.sleep(_HANG_SECONDS)
