"""What counts as a URL. Pure."""

from urllib.parse import urlsplit

from oxd_server.sync.memo import remembered

__all__ = ["is_absolute_url"]


@remembered
def is_absolute_url(url: str) -> bool:
    """Return whether the text is an absolute URL, as ``https:foo`` and ``http:///x`` are none.

    An http URL names a host. Any other scheme (apps register their own) is followed by something (RFC 3986, section
    4.3).
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.scheme or not url.isprintable() or " " in url:
        return False
    return bool(parts.hostname) if parts.scheme in ("http", "https") else bool(parts.netloc or parts.path)
