"""Request objects: what an application asks of its OP, as a JWT that the OP fetches here (RFC 9101)."""

from oxd_protocol.connect import (
    GetRequestObjectParams,
    GetRequestObjectUriParams,
    GetRequestObjectUriResult,
    RequestObjectResult,
)
from oxd_protocol.errors import CommandError
from oxd_server.handlers.own_url import front_url
from oxd_server.rp.request_objects import (
    find_request_object,
    keep_request_object,
    lifetime_of_request_objects,
    make_request_object,
    request_uri_of,
)
from oxd_server.rp.services import Services
from oxd_server.store.base import Site

__all__ = ["get_request_object", "get_request_object_uri"]


async def get_request_object_uri(services: Services, params: GetRequestObjectUriParams) -> GetRequestObjectUriResult:
    """Make a request object, keep it for a while, and tell under which URI the OP fetches it."""
    site = await services.site(params.oxd_id)
    host_url = front_url(services, params.oxd_host_url)
    algorithm = _algorithm(site, params.request_object_signing_alg)
    metadata = await services.metadata_of(site)
    lifetime = lifetime_of_request_objects(services)
    text = await make_request_object(services, site, metadata, params.params, algorithm=algorithm, lifetime=lifetime)
    name = await keep_request_object(services, site, text)
    return GetRequestObjectUriResult(request_uri=request_uri_of(host_url, name))


async def get_request_object(services: Services, params: GetRequestObjectParams) -> RequestObjectResult:
    """Hand out a request object to whoever has its URI; an OP may fetch it more than once."""
    text = await find_request_object(services, params.request_object_id)
    if text is None:
        raise CommandError("request_object_not_found")
    return RequestObjectResult(request_object=text)


def _algorithm(site: Site, named: str | None) -> str | None:
    # Registration 1.0 section 2, request_object_signing_alg: "All Request Objects from this Client MUST be rejected,
    # if not signed with this algorithm."
    registered = site.client.request_object_signing_alg
    if named is not None and registered not in (None, named):
        raise CommandError("invalid_algorithm", f"The site has registered {registered} for its request objects.")
    return named or registered
