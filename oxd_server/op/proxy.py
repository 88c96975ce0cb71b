"""Which requests to OPs go through a proxy, and through which one."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

import httpx2

from oxd_server.op.reach import is_loopback

__all__ = ["DIRECT", "Proxies", "make_proxies", "proxy_at"]

DIRECT = "direct"
"""Stands for no proxy where one could be named."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Excepted(NamedTuple):
    """An entry of `no_proxy`: a name with all below it, or a network; with this port, or any."""

    name: str
    port: int | None
    network: IPv4Network | IPv6Network | None

    def covers(self, host: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.network is None:
            return self.name == "*" or host == self.name or host.endswith(f".{self.name}")
        try:
            return ip_address(host) in self.network
        except ValueError:
            return False


class Proxies:
    """The proxies for all OPs by the scheme of the URL, those of single hosts, and what needs none."""

    def __init__(
        self,
        by_scheme: Mapping[str, httpx2.Proxy],
        by_host: Mapping[str, httpx2.Proxy | None],
        no_proxy: Iterable[str] = (),
    ) -> None:
        """`by_host` counts more than `no_proxy`, and that more than `by_scheme`.

        Raises:
            ValueError: an entry of `no_proxy` is none.
        """
        self._by_scheme = dict(by_scheme)
        self._by_host = {host.lower(): proxy for host, proxy in by_host.items()}
        self._excepted = tuple(_excepted(entry.strip().lower()) for entry in no_proxy if entry.strip())

    def of(self, url: httpx2.URL) -> httpx2.Proxy | None:
        """The proxy for a URL. Never one for this machine: to a proxy, loopback is the proxy's own."""
        host, port = url.host, url.port or _DEFAULT_PORTS[url.scheme]
        if is_loopback(host) or host.endswith(".localhost"):
            return None
        for name in (f"{host}:{port}", host):
            if name in self._by_host:
                return self._by_host[name]
        if any(entry.covers(host, port) for entry in self._excepted):
            return None
        return self._by_scheme.get(url.scheme)


def make_proxies(
    url: str | None = None,
    auth: tuple[str, str] | None = None,
    by_host: Mapping[str, str] | None = None,
    no_proxy: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Proxies:
    """The proxies that the operator names.

    Args:
        url: of the proxy for all hosts.
        auth: name and password for it, also where `by_host` names it again.
        by_host: the URL of the proxy for each of these hosts (`host` or `host:port`), or `DIRECT`.
        no_proxy: hosts and networks that are reached without one.
        environment: what `urllib.request.getproxies_environment` returns, for what is not named here.

    Raises:
        ValueError: something is no proxy; the text says what, without passwords.
    """
    environment = environment or {}
    by_scheme = {
        scheme: proxy_at(found, f"{scheme}_proxy in the environment")
        for scheme in _DEFAULT_PORTS
        if (found := environment.get(scheme) or environment.get("all"))
    }
    main = None if url is None else proxy_at(url, "url")
    if main is not None:
        main = httpx2.Proxy(main.url, auth=auth or main.auth)
        by_scheme = dict.fromkeys(_DEFAULT_PORTS, main)
    hosts: dict[str, httpx2.Proxy | None] = {}
    for host, named in (by_host or {}).items():
        own = None if named.lower() == DIRECT else proxy_at(named, f"hosts: {host}")
        hosts[host] = main if main is not None and own is not None and own.url == main.url else own
    return Proxies(by_scheme, hosts, [*no_proxy, *environment.get("no", "").split(",")])


def proxy_at(text: str, where: str) -> httpx2.Proxy:
    """The proxy at a URL; without a scheme, as the environment often has it, it is reached without TLS.

    Raises:
        ValueError: it is none; the text names `where` it stands, and does not repeat it.
    """
    problem = f"{where}: not the URL of a proxy, such as http://relay.example:8118 or https://relay.example"
    try:
        proxy = httpx2.Proxy(text if "://" in text else f"http://{text}")
    except (httpx2.InvalidURL, ValueError) as error:
        raise ValueError(problem) from error
    host = proxy.url.host
    # The parser percent-encodes what no host can hold.
    if proxy.url.scheme not in _DEFAULT_PORTS or not host or "%" in host or proxy.url.raw_path != b"/":
        raise ValueError(problem)
    return proxy


def _excepted(entry: str) -> _Excepted:
    try:
        return _Excepted("", None, ip_network(entry.strip("[]"), strict=False))
    except ValueError:
        name, _, port = entry.rpartition(":")
    if not name:
        return _Excepted(entry.removeprefix("*.").lstrip("."), None, None)
    if not port.isascii() or not port.isdigit():
        raise ValueError(f"no_proxy: {entry!r} is neither a host nor a network")
    try:
        return _Excepted("", int(port), ip_network(name.strip("[]"), strict=False))
    except ValueError:
        return _Excepted(name.removeprefix("*.").lstrip("."), int(port), None)
