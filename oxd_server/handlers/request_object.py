"""Request objects: what an application asks of its OP, as a JWT that the OP fetches here (RFC 9101)."""

from typing import Final
from urllib.parse import urlsplit

from oxd_protocol.connect import (
    GetRequestObjectParams,
    GetRequestObjectUriParams,
    GetRequestObjectUriResult,
    RequestObjectResult,
)
from oxd_protocol.errors import CommandError
from oxd_server.op.base64url import encode_base64url
from oxd_server.op.errors import ClientAuthenticationError
from oxd_server.op.request_object import request_object, request_object_claims
from oxd_server.op.urls import is_absolute_url
from oxd_server.rp.request_objects import find_request_object, keep_request_object, lifetime_of_request_objects
from oxd_server.rp.services import Services
from oxd_server.store.base import Site

__all__ = ["get_request_object", "get_request_object_uri"]

_PATH: Final = "/get-request-object/"
_LONGEST: Final = 16 * 1024
_LONGEST_URI: Final = 512
"""RFC 9101 section 5.2: "The entire Request URI SHOULD NOT exceed 512 ASCII characters." """
_JTI_BYTES: Final = 16


async def get_request_object_uri(services: Services, params: GetRequestObjectUriParams) -> GetRequestObjectUriResult:
    """Make a request object, keep it for a while, and tell under which URI the OP fetches it."""
    site = await services.site(params.oxd_id)
    host_url = _host_url(services, params.oxd_host_url)
    algorithm = _algorithm(site, params.request_object_signing_alg)
    metadata = await services.metadata_of(site)
    now = int(services.now())
    own: dict[str, object] = {
        "iss": site.client_id,
        "aud": metadata.issuer,
        "jti": encode_base64url(services.random(_JTI_BYTES)),
        "client_id": site.client_id,
        "iat": now,
        "exp": now + lifetime_of_request_objects(services),
        "response_type": site.client.response_type,
    }
    claims = request_object_claims(own, params.params)
    try:
        text = request_object(claims, algorithm, services.key_store, site.client_secret)
    except ClientAuthenticationError as error:
        raise CommandError("invalid_algorithm", f"The request object cannot be signed: {error}.") from None
    if len(text) > _LONGEST:
        raise CommandError("invalid_request", f"The request object would be longer than {_LONGEST} characters.")
    name = await keep_request_object(services, site, text)
    return GetRequestObjectUriResult(request_uri=f"{host_url}{_PATH}{name}")


async def get_request_object(services: Services, params: GetRequestObjectParams) -> RequestObjectResult:
    """Hand out a request object to whoever has its URI; an OP may fetch it more than once."""
    text = await find_request_object(services, params.request_object_id)
    if text is None:
        raise CommandError("request_object_not_found")
    return RequestObjectResult(request_object=text)


def _host_url(services: Services, named: str | None) -> str:
    url = (named or services.config.https.url or "").rstrip("/")
    if not url:
        raise CommandError("bad_request_no_oxd_host")
    fits = is_absolute_url(url) and urlsplit(url).scheme in ("http", "https") and len(url) < _LONGEST_URI - 100
    if not fits or "?" in url or "#" in url:
        raise CommandError("bad_request_no_oxd_host", f"{url[:200]!r} is not the URL of a server.")
    return url


def _algorithm(site: Site, named: str | None) -> str | None:
    # Registration 1.0 section 2, request_object_signing_alg: "All Request Objects from this Client MUST be rejected,
    # if not signed with this algorithm."
    registered = site.client.request_object_signing_alg
    if named is not None and registered not in (None, named):
        raise CommandError("invalid_algorithm", f"The site has registered {registered} for its request objects.")
    return named or registered
