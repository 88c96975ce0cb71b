"""Tokens that are bound to a client's key, and the proofs of it (RFC 9449)."""

import base64
import hashlib
import json
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry
from joserfc.jws import extract_compact

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.keys import Algorithms
from oxd_server.sandbox.provider.model import ProviderState
from oxd_server.sandbox.web import OAuthError

__all__ = ["DPOP_ALGS", "as_dpop_answer", "proven_key"]

DPOP_ALGS = ("ES256", "EdDSA", "PS256", "RS256")
_SECONDS = 60


def proven_key(state: ProviderState, request: HttpRequest, access_token: str | None = None) -> str | None:
    """The thumbprint of the key that the request's proof shows; None without a proof. OAuthError for a bad one."""
    proof = request.header("dpop")
    if proof is None:
        return None
    try:
        thumbprint, claims = _verified(proof)
    except (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refused("the proof cannot be read, or its signature is not valid") from error
    if (claims.get("htm"), claims.get("htu")) != (request.method, state.issuer + request.path):
        raise _refused("the proof is for another request")
    issued_at = claims.get("iat")
    if not isinstance(issued_at, int) or abs(state.now() - issued_at) > _SECONDS:
        raise _refused("the proof is not recent")
    if access_token is not None and claims.get("ath") != _hash_of(access_token):
        raise _refused("the proof is for another token")
    _check_nonce(state, claims.get("nonce"), of_token=access_token is None)
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or state.proof_ids.get(f"{thumbprint} {token_id}"):
        raise _refused("the proof was used before")
    state.proof_ids.put(f"{thumbprint} {token_id}", True, 2 * _SECONDS)
    return thumbprint


def _verified(proof: str) -> tuple[str, dict[str, Any]]:
    header = json.loads(base64.urlsafe_b64decode(proof.split(".")[0] + "=="))
    if header.get("typ") != "dpop+jwt" or "d" in header["jwk"] or header["jwk"]["kty"] == "oct":
        raise ValueError("no proof")
    extract_compact(proof.encode())
    key = JWKRegistry.import_key(header["jwk"])
    return key.thumbprint(), dict(jwt.decode(proof, key, registry=Algorithms(algorithms=list(DPOP_ALGS))).claims)


def _hash_of(access_token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()).rstrip(b"=").decode()


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_dpop_proof", why)


def _check_nonce(state: ProviderState, shown: object, *, of_token: bool) -> None:
    """Ask for a nonce where the provider's faults say so (section 8 at the token endpoint, section 9 elsewhere)."""
    wanted = "dpop_nonce_at_token_endpoint" if of_token else "dpop_nonce_at_userinfo"
    if "dpop_never_content" in state.faults:
        raise OAuthError("use_dpop_nonce", "another nonce", DPoP_Nonce=state.new_token())
    if "dpop_nonce_not_told" in state.faults:
        raise OAuthError("use_dpop_nonce", "a nonce is needed")
    if wanted not in state.faults or (isinstance(shown, str) and state.dpop_nonces.pop(shown)):
        return
    nonce = state.new_token()
    state.dpop_nonces.put(nonce, True, _SECONDS)
    if of_token:
        raise OAuthError("use_dpop_nonce", "a nonce is needed", DPoP_Nonce=nonce)
    challenge = 'DPoP error="use_dpop_nonce", error_description="a nonce is needed"'
    raise OAuthError("use_dpop_nonce", "a nonce is needed", 401, WWW_Authenticate=challenge, DPoP_Nonce=nonce)


def as_dpop_answer(state: ProviderState, answer: HttpResponse, thumbprint: str) -> HttpResponse:
    """The token endpoint's answer, whose tokens are bound to this key (sections 5 and 6)."""
    body = json.loads(answer.body)
    if answer.status != 200 or "access_token" not in body:
        return answer
    token = state.access_tokens.get(body["access_token"])
    if token is not None:
        token.thumbprint = token.grant.thumbprint = thumbprint
    kind = "Bearer" if "dpop_token_is_bearer" in state.faults else "DPoP"
    return HttpResponse(answer.status, answer.headers, json.dumps({**body, "token_type": kind}).encode())
