"""The URLs under which OPs reach this server itself, and how a site hears of its users' logouts there."""

from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from oxd_protocol.errors import CommandError
from oxd_protocol.site_metadata import NewSiteParams, SiteMetadata
from oxd_server.op.urls import is_absolute_url
from oxd_server.rp.logouts import is_loopback_url
from oxd_server.rp.services import Services
from oxd_server.store.base import Site

__all__ = ["front_url", "with_logout"]

_LONGEST_URL: Final = 412
"""RFC 9101 section 5.2: "The entire Request URI SHOULD NOT exceed 512 ASCII characters." A path is added to this."""
_LOGOUT_PATH: Final = "/backchannel-logout/"


def front_url(services: Services, named: str | None = None) -> str:
    """Return the URL of the HTTPS front as OPs reach it: the one that is named, else the configured one.

    Raises ``CommandError`` bad_request_no_oxd_host where there is none.
    """
    url = (named or services.config.https.url or "").rstrip("/")
    if not url:
        raise CommandError("bad_request_no_oxd_host")
    fits = is_absolute_url(url) and urlsplit(url).scheme in ("http", "https") and len(url) < _LONGEST_URL
    if not fits or "?" in url or "#" in url:
        raise CommandError("bad_request_no_oxd_host", f"{url[:200]!r} is not the URL of a server.")
    return url


def with_logout(services: Services, site: Site, named: SiteMetadata, default: NewSiteParams | None = None) -> Site:
    """Return the site as it wants to hear of logouts: by what is named, else by the defaults, else as it does.

    Raises ``CommandError`` where this server has no URL for the OP, and for a URL that a caller may not have called.
    """
    site = _with_notification(services, site, named, default)
    wanted = named.backchannel_logout
    if wanted is None and default is not None:
        wanted = default.backchannel_logout
    if wanted is None:
        return site
    uri = f"{front_url(services)}{_LOGOUT_PATH}{site.oxd_id}" if wanted else None
    site = replace(site, client=replace(site.client, backchannel_logout_uri=uri))
    return site if wanted else replace(site, logout_notification_uri=None)


def _with_notification(services: Services, site: Site, named: SiteMetadata, default: NewSiteParams | None) -> Site:
    uri = named.logout_notification_uri
    if uri is None:
        uri = default.logout_notification_uri if default is not None and services.access.local else None
    elif not services.access.local:
        # Whoever calls from elsewhere would reach the programs on this machine through this server.
        raise CommandError(
            "invalid_request", "logout_notification_uri is taken over the loopback socket only: it names this machine."
        )
    if uri is None:
        return site
    if not is_loopback_url(uri):
        raise CommandError("invalid_request", f"{uri[:200]!r} is not an http URL on this machine (loopback).")
    return replace(site, logout_notification_uri=uri)
