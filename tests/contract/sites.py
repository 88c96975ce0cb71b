"""Sites to put into a store, and changes of them."""

from collections.abc import Callable

import msgspec

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site, SiteSession, UmaResource

__all__ = ["SESSION", "SITE", "named", "renamed", "with_contact"]

SITE = Site(
    oxd_id="bcad760f-91ba-46e1-a020-05e4281d91b6",
    op_host="https://op.example.org",
    client=ClientMetadata(
        client_name="Jörg's shop \u2603",
        redirect_uris=("https://rp.example.com/cb", "https://rp.example.com/cb2"),
        scope="openid profile",
    ),
    client_secret="s3cr3t-of-the-client",
    client_registration_access_token="registration-t0ken",
    user_secret="us3r-secret",
    client_secret_expires_at=1_528_965_984_000,
    uma_protected_resources=(UmaResource(id="r1", path="/photo", http_methods=("GET",), scopes=("view",)),),
)
SESSION = SiteSession(id_token="eyJ.last.one", subject="s0me-user", pat="p4t", pat_expires_in=300)


def renamed(name: str) -> Callable[[Site], Site]:
    """Return the change that gives a site this name."""
    return lambda site: msgspec.structs.replace(site, client=ClientMetadata(client_name=name))


def with_contact(site: Site, contact: str) -> Site:
    """Return the site with one contact more."""
    client = msgspec.structs.replace(site.client, contacts=(*site.client.contacts, contact))
    return msgspec.structs.replace(site, client=client)


def named(number: int) -> Site:
    """Return a site whose oxd_id and name are of this number."""
    return Site(
        oxd_id=f"site-{number:04}",
        op_host="https://op.example.org",
        client=ClientMetadata(client_name=f"name {number}"),
    )
