"""Tokens that are bound to a key (RFC 9449): the key of a site, its proofs, and the proofs of others."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Final

import trio
from msgspec.structs import replace

from oxd_protocol.discreet import Discreet
from oxd_protocol.errors import CommandError
from oxd_protocol.tokens import DpopProofResult, GetDpopProofParams
from oxd_server.op.dpop import new_dpop_key, sign_proof, verify_proof
from oxd_server.op.errors import DpopProofError, IdTokenCheck
from oxd_server.op.urls import is_absolute_url
from oxd_server.rp.services import Services
from oxd_server.rp.site_as_client import dpop_key_of
from oxd_server.store.base import Site

__all__ = ["ProvenRequest", "check_proof", "get_dpop_proof", "with_dpop_key"]

_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}")
_NONCE: Final = re.compile(r"[!#-\[\]-~]{1,512}")


async def with_dpop_key(services: Services, site: Site) -> Site:
    """Return the site with a key, if its tokens are to be bound to one and it has none yet."""
    if not site.client.dpop_bound_access_tokens or site.dpop_key is not None:
        return site
    listed = (await services.metadata_of(site)).dpop_signing_alg_values_supported
    return replace(site, dpop_key=await trio.to_thread.run_sync(partial(new_dpop_key, listed)))


async def get_dpop_proof(services: Services, params: GetDpopProofParams) -> DpopProofResult:
    """Make the proof for a request of the application's own, with the key that its tokens are bound to."""
    site = await services.site(params.oxd_id)
    key = dpop_key_of(site)
    if key is None:
        raise CommandError("invalid_request", "The site's tokens are bound to no key (dpop_bound_access_tokens).")
    _check_request(params.http_method, params.url)
    if params.nonce is not None and not _NONCE.fullmatch(params.nonce):
        raise CommandError("invalid_request", "'nonce' holds characters that no nonce has.")
    proof = sign_proof(
        key,
        params.http_method,
        params.url,
        services.now(),
        services.random,
        access_token=params.access_token,
        nonce=params.nonce,
    )
    return DpopProofResult(dpop=proof)


def _check_request(method: str, url: str) -> None:
    if not _METHOD.fullmatch(method):
        raise CommandError("invalid_request", "'http_method' is no method of HTTP.")
    if not url.startswith(("https://", "http://")) or not is_absolute_url(url):
        raise CommandError("invalid_request", "'url' is no absolute http(s) URL.")


# --- proofs of others ------------------------------------------------------------------------


class ProvenRequest(Discreet, frozen=True):
    """A request that somebody made to the application: the proof that came with it, its method and its URL."""

    shows = ("method", "url")

    proof: str | None
    method: str | None
    url: str | None


def check_proof(services: Services, introspection: Mapping[str, object], token: str, request: ProvenRequest) -> None:
    """Check that whoever showed the token has the key that it is bound to; pass a token that is bound to none.

    Args:
        services: what handlers use.
        introspection: what the authorization server says of the token.
        token: the one that was shown.
        request: what it was shown with.

    Raises ``DpopProofError``, and ``CommandError`` where the request is not known well enough to tell.
    """
    thumbprint = _bound_to(introspection)
    if request.proof is None:
        # RFC 9449, section 7.2: a resource "MUST reject a DPoP-bound access token received as a bearer token".
        if thumbprint is not None:
            raise DpopProofError(IdTokenCheck.MISSING_PROOF, "a proof: the token is bound to a key")
        return
    if request.method is None or request.url is None:
        raise CommandError("bad_request", "'http_method' and 'url' of the request are needed to check its proof.")
    _check_request(request.method, request.url)
    now, leeway = services.now(), services.config.op_clock_leeway_in_seconds
    name = verify_proof(
        request.proof,
        method=request.method,
        url=request.url,
        access_token=token,
        thumbprint=thumbprint,
        now=now,
        leeway=leeway,
    )
    if not services.under_way.dpop_proofs.is_new(name, now, leeway):
        raise DpopProofError(IdTokenCheck.USED, "a new jti", "one that came before")


def _bound_to(introspection: Mapping[str, object]) -> str | None:
    """Return the thumbprint of the key that the token is bound to (section 6.2)."""
    confirmation = introspection.get("cnf")
    thumbprint = confirmation.get("jkt") if isinstance(confirmation, dict) else None
    return thumbprint if isinstance(thumbprint, str) else None
