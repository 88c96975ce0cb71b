"""Which URLs may be called at all, whoever named them: what the configuration says of hosts and of plain HTTP."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
import msgspec

from oxd_server.op.errors import OpHostRefused
from oxd_server.op.reach import is_loopback, origin_of

__all__ = ["Server", "Target", "Targets"]

_CHECKED_URLS = 1000
_LONGEST_KEPT_URL = 500
_LONGEST_URL = 8000
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Server(NamedTuple):
    """Who is connected to."""

    scheme: str
    host: str
    port: int


class Target(msgspec.Struct, frozen=True):
    """A URL that may be contacted, and its parts, which are wanted for each request.

    Attributes:
        url: as it was parsed.
        host: with the port, if one is named.
        origin: as `reach.origin_of` spells it.
        server: who is connected to.
        path: what a request names (RFC 9112 section 3.2.1): the path and the query.
    """

    url: httpx2.URL
    host: str
    origin: str
    server: Server
    path: str


class Targets:
    """Checks URLs, and remembers those that it has checked."""

    def __init__(self, allowed_hosts: Iterable[str], plain_http_hosts: Iterable[str]) -> None:
        """`allowed_hosts` may be contacted, empty: any; `plain_http_hosts` without TLS, beside loopback.

        Raises:
            ValueError: a host is none.
        """
        self._allowed_hosts = frozenset(_host_entry(entry) for entry in allowed_hosts)
        self._plain_http_hosts = frozenset(_host_entry(entry) for entry in plain_http_hosts)
        self._checked: dict[str, Target] = {}

    def of(self, url: str) -> Target:
        """The target that the URL names.

        Raises:
            OpHostRefused: it is no http(s) URL, its host is not among the allowed ones, or it would need plain HTTP
                to a host where that is not allowed.
        """
        target = self._checked.get(url)
        if target is None:
            target = self._check(url)
            if len(self._checked) >= _CHECKED_URLS:
                self._checked.clear()
            if len(url) <= _LONGEST_KEPT_URL:
                self._checked[url] = target
        return target

    def _check(self, url: str) -> Target:
        if len(url) > _LONGEST_URL:
            raise OpHostRefused("?", f"a URL of more than {_LONGEST_URL} characters")
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError) as error:
            raise OpHostRefused("?", "not a valid URL") from error
        host = parsed.netloc.decode("ascii")
        origin = origin_of(str(parsed))  # none where the port is no port
        if not origin or parsed.scheme not in _DEFAULT_PORTS or not _names_a_host(parsed) or parsed.userinfo:
            raise OpHostRefused(host or "?", "not an http or https URL of a host")
        names = {parsed.host, _with_port(parsed)}
        if self._allowed_hosts and not self._allowed_hosts & names:
            raise OpHostRefused(host, "not among the allowed_op_hosts")
        if parsed.scheme == "http" and not (is_loopback(parsed.host) or self._plain_http_hosts & names):
            raise OpHostRefused(host, "plain http is allowed for loopback hosts only")
        server = Server(parsed.scheme, parsed.raw_host.decode("ascii"), parsed.port or _DEFAULT_PORTS[parsed.scheme])
        return Target(parsed, host, origin, server, parsed.raw_path.decode("ascii"))


def _names_a_host(url: httpx2.URL) -> bool:
    # The parser percent-encodes what no host can hold.
    return bool(url.host) and "%" not in url.host


def _with_port(url: httpx2.URL) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{host}:{url.port or _DEFAULT_PORTS[url.scheme]}"


def _host_entry(entry: str) -> str:
    """A configured host as it is compared: with a port where one was written, or a scheme that has one."""
    text = entry.strip().lower()
    try:
        parsed = httpx2.URL(text if "://" in text else f"https://{text}")
        names_port = "://" in text or urlsplit(f"//{text}").port is not None
    except (httpx2.InvalidURL, ValueError) as error:
        raise ValueError(f"{entry!r} is no host") from error
    if not _names_a_host(parsed) or parsed.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"{entry!r} is no host")
    return _with_port(parsed) if names_port else parsed.host
