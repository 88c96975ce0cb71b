"""Who may call the HTTPS front: by address, by the name it is called by, and by the page that a browser shows. Pure.

A browser is a way in for pages of other sites. Such a page can have requests sent to this machine, and it can make a
name of its own resolve to this machine's address (DNS rebinding), so that the browser takes both for one site. Three
headers, which no page can choose, tell them apart: ``Host`` holds the foreign name, ``Origin`` and ``Sec-Fetch-Site``
say where the request comes from.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

from oxd_server.entrances.http1_messages import HttpRequest

__all__ = ["Callers", "make_callers"]

ANY: Final = "*"
_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_HTTPS_PORT: Final = ":443"
_OTHER_SITES: Final = ("cross-site", "same-site")

Network = IPv4Network | IPv6Network


class Callers(msgspec.Struct, frozen=True):
    """The rules. ``networks`` None admits every address; ``hosts`` are names and addresses in lower case."""

    networks: tuple[Network, ...] | None
    hosts: frozenset[str]

    def refuse_address(self, address: str) -> str | None:
        """Return why nobody at this address may call; None if they may."""
        if self.networks is None or any(_plain(address) in network for network in self.networks):
            return None
        return f"{address} may not call this server: bind_ip_addresses does not name it"

    def refuse_request(self, request: HttpRequest) -> str | None:
        """Return why this request is not answered; None if it is."""
        host = request.header("host")
        # RFC 9112, section 3.2: only a client of HTTP/1.0 may leave it out.
        if host is not None and not self._is_ours(_name_of(host), request.server):
            return "This server is not called by that name (Host). Add the name to https.allowed_hosts."
        origin = request.header("origin")
        if origin is not None and not _is_same(origin, host):
            return "Pages of other sites (Origin) cannot use this server."
        if request.header("sec-fetch-site") in _OTHER_SITES:
            return "Pages of other sites cannot use this server."
        return None

    def _is_ours(self, name: str, bound_address: str) -> bool:
        _, _, parent = name.partition(".")
        return bool({ANY, name, f"{ANY}.{parent}"} & self.hosts) or name == bound_address


def make_callers(
    addresses: tuple[str, ...] | None, *, bound: Iterable[str], names: Iterable[str], allowed: Iterable[str]
) -> Callers:
    """Return the rules of a front.

    Args:
        addresses: that may call, networks among them; None or one that is ``*``: all, empty: those of this machine.
        bound: the addresses that the front listens on.
        names: those of its certificate; the first label may be ``*``.
        allowed: further names that it is called by; ``*``: any.
    """
    networks = None
    if addresses is not None and ANY not in addresses:
        networks = tuple(ip_network(text, strict=False) for text in addresses or _LOOPBACK)
    hosts = {"localhost", "127.0.0.1", "::1", *bound, *names, *map(_name_of, allowed)}
    return Callers(networks, frozenset(host.lower() for host in hosts))


def _plain(address: str) -> IPv4Address | IPv6Address:
    """Return the address; an IPv4 one that is written as an IPv6 one is the same."""
    parsed = ip_address(address.partition("%")[0])
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _name_of(host: str) -> str:
    """Return the name or address in a Host header, without its port, in one spelling."""
    text = host.strip().lower()
    if text.startswith("["):
        name, closed, _ = text[1:].partition("]")
        try:
            return str(ip_address(name)) if closed else text
        except ValueError:
            return text
    return (text if text.count(":") > 1 else text.partition(":")[0]).removesuffix(".")


def _is_same(origin: str, host: str | None) -> bool:
    """Return whether a page of this origin was loaded from this server (RFC 6454, section 5)."""
    if host is None:
        return False
    own = f"https://{host.strip()}".lower().removesuffix(_HTTPS_PORT)
    return origin.strip().lower().removesuffix(_HTTPS_PORT) == own
