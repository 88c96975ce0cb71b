"""How often callers who show no token may have clients registered. Pure.

Whoever reaches the HTTPS front may run ``setup_client``, and every run takes room here and at an OP.
"""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from oxd_server.rp.busy import ServerBusy

__all__ = ["Registrations", "share_of"]

_HOUR: Final = 3600.0
_ALL: Final = 10
"""All addresses together have this many times the share of one."""
_IPV6_NETWORK: Final = 64


class Registrations:
    """Counts registrations without a token: each address has ``per_hour`` of them, all together ten times as many.

    ``per_hour`` may be changed; what was counted stays.
    """

    def __init__(self, per_hour: int) -> None:
        self.per_hour = per_hour
        self._until = 0.0
        self._counts: dict[str, int] = {}
        self._in_all = 0

    def admit(self, address: str, now: float) -> None:
        """Count one more; ``now`` in seconds of any clock. Raises ``ServerBusy`` for one too many."""
        if now >= self._until:
            self._until = now + _HOUR
            self._counts.clear()
            self._in_all = 0
        share = share_of(address)
        if self._counts.get(share, 0) >= self.per_hour or self._in_all >= _ALL * self.per_hour:
            raise ServerBusy(
                "open_registrations_per_hour",
                f"Without a token no more clients are registered in this hour ({self.per_hour} of one address, "
                f"{_ALL} times as many in all; open_registrations_per_hour). Nothing was done.",
            )
        self._counts[share] = self._counts.get(share, 0) + 1
        self._in_all += 1


def share_of(address: str) -> str:
    """Return whose share it is: one IPv6 customer has a network of 64 bits at least."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, _IPV6_NETWORK), strict=False))
    return str(parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else str(parsed)
