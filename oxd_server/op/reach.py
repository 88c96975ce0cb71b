"""How far an OP may lead us: pure rules about URLs and addresses.

An OP names its endpoints, and so decides where this server sends requests. It may name what lies where the OP itself
lies, or further out: an OP at a public address leads to public addresses only, one in a private network to private and
public ones. Nothing leads to a cloud's metadata service, which gives credentials to whoever asks from the machine.
"""

import enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import msgspec

from oxd_server.sync.memo import remembered

__all__ = ["Reach", "Zone", "is_loopback", "origin_of", "zone_of"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Zone(enum.IntEnum):
    """Where an address lies, from the machine outwards; `NEVER` is what is never called."""

    NEVER = 0
    LOOPBACK = 1
    LINK_LOCAL = 2
    PRIVATE = 3
    PUBLIC = 4

    def leads_to(self, other: "Zone") -> bool:
        """Whether an OP in this zone may name an address in the other one."""
        if other in (Zone.NEVER, Zone.LOOPBACK, Zone.LINK_LOCAL):
            return self == other != Zone.NEVER
        return self <= other


class Reach(msgspec.Struct, frozen=True):
    """Where an OP lives: the zone of the address that its metadata came from, and the origin that was asked for it."""

    zone: Zone
    origin: str

    def problem(self, url: str) -> str | None:
        """What forbids this OP to name the URL, as far as a URL shows it; None if nothing does."""
        if self.origin.startswith("https:") and not url.lower().startswith("https:"):
            return "an OP that is reached through TLS leads to no place without"
        return None


@remembered
def origin_of(url: str) -> str:
    """Scheme, host and port of an absolute URL, in one spelling; empty for what is no URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    scheme = parts.scheme.lower()
    if not host or not scheme:
        return ""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{shown}:{port}"


# What clouds keep for their metadata services, beside 169.254.169.254: AWS (also for containers and pods), Google,
# Alibaba, Azure's wire server, Oracle, Tencent, Scaleway, OpenStack.
_METADATA = tuple(
    ip_network(text)
    for text in (
        "169.254.169.0/24", "169.254.170.0/24", "169.254.0.23/32", "169.254.42.42/32", "100.100.100.200/32",
        "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128", "fd00:42::42/128",
        "fe80::a9fe:a9fe/128",
    )
)  # fmt: skip

# IPv6 addresses that stand for an IPv4 address in their last 32 bits: mapped, translated, compatible, NAT64 with the
# well-known prefix (RFC 6052).
_HOLDS_V4_AT_THE_END = tuple(ip_network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96"))
# RFC 8215: a network divides the local prefix as it likes, so the IPv4 address stands in one of four places (RFC 6052,
# section 2.2; bits 64 to 71 are left out).
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
_SIX_TO_FOUR = ip_network("2002::/16")
_TEREDO = ip_network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)
_V4_BITS = 0xFFFFFFFF


def zone_of(address: str) -> Zone:
    """The zone of an IP address; an IPv6 address that stands for an IPv4 one lies where that does.

    Raises:
        ValueError: it is no IP address.
    """
    parsed = ip_address(address)
    if any(parsed in network for network in _METADATA):
        return Zone.NEVER
    if isinstance(parsed, IPv4Address):
        return _zone_of_v4(parsed)
    if parsed in _LOCAL_NAT64:
        return _zone_behind_nat64(int(parsed))
    inner = _inner_v4(parsed)
    return _zone_of_v6(parsed) if inner is None else zone_of(str(inner))


def _zone_of_v4(address: IPv4Address) -> Zone:
    # 0.0.0.0/8 is "this host": a connection to it ends at the machine itself.
    if address.is_loopback or int(address) >> 24 == 0:
        return Zone.LOOPBACK
    if address.is_link_local:
        return Zone.LINK_LOCAL
    if address.is_multicast or int(address) >> 28 == 15:
        return Zone.NEVER
    return Zone.PUBLIC if address.is_global else Zone.PRIVATE


def _zone_behind_nat64(bits: int) -> Zone:
    """The innermost zone of all addresses that this one may stand for."""
    without_u = bits >> 64 << 56 | bits & (1 << 56) - 1
    found = (bits & _V4_BITS, *(without_u >> shift & _V4_BITS for shift in (40, 32, 24)))
    return min((zone_of(str(IPv4Address(v4))) for v4 in found if v4 >> 24), default=Zone.LOOPBACK)


def _zone_of_v6(address: IPv6Address) -> Zone:
    if address.is_loopback or address.is_unspecified:
        return Zone.LOOPBACK
    if address.is_link_local:
        return Zone.LINK_LOCAL
    if address.is_multicast:
        return Zone.NEVER
    return Zone.PUBLIC if address.is_global and not address.is_site_local else Zone.PRIVATE


def _inner_v4(address: IPv6Address) -> IPv4Address | None:
    bits = int(address)
    if bits <= 1:  # :: and ::1 are what they are
        return None
    if any(address in network for network in _HOLDS_V4_AT_THE_END):
        return IPv4Address(bits & _V4_BITS)
    if address in _SIX_TO_FOUR:
        return IPv4Address(bits >> 80 & _V4_BITS)
    if address in _TEREDO:
        return IPv4Address(~bits & _V4_BITS)
    if bits >> 32 & _V4_BITS in _ISATAP:
        return IPv4Address(bits & _V4_BITS)
    return None


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its very name or address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
