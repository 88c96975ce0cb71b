"""Request objects that OPs will come to fetch.

The store keeps one beside the tokens that its site was issued: there it expires, and every worker finds it. `Services`
count how much room they take, so that no site fills the store.
"""

from typing import Final

from oxd_server.op.base64url import encode_base64url
from oxd_server.rp.issued import token_hash
from oxd_server.rp.services import Services
from oxd_server.store.base import IssuedToken, Login, Site

__all__ = ["find_request_object", "keep_request_object", "lifetime_of_request_objects"]

_ID_BYTES: Final = 32
"""RFC 9101 section 5.2.1: the request_uri "MUST have appropriate entropy for its lifetime"."""
_ISSUED_TO: Final = "request object"
_SECONDS_PER_MINUTE: Final = 60


async def keep_request_object(services: Services, site: Site, text: str) -> str:
    """Keep a request object and return its id, which nobody can guess. Raises ``TooBusy`` and ``StoreError``."""
    now, lifetime = services.now(), lifetime_of_request_objects(services)
    services.request_objects.take(site.oxd_id, len(text), now, lifetime)
    name = encode_base64url(services.random(_ID_BYTES))
    kept = IssuedToken(
        hash=token_hash(_ISSUED_TO, name),
        login=Login(oxd_id=site.oxd_id, request_object=text),
        expires_at=now + lifetime,
    )
    await services.store.change_session(site.oxd_id, lambda session: session, issued=(kept,), now=now)
    return name


def lifetime_of_request_objects(services: Services) -> int:
    """Return how many seconds a request object can be fetched."""
    return services.config.request_object_expiration_in_minutes * _SECONDS_PER_MINUTE


async def find_request_object(services: Services, name: str) -> str | None:
    """Return the request object of this id; None if there is none, or it has expired."""
    kept = await services.store.login_of(token_hash(_ISSUED_TO, name), services.now())
    return None if kept is None else kept.request_object
