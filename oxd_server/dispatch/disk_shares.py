"""How much callers who show no token may keep here. Unlike their number in an hour, it is never forgotten.

Every site that is registered without a token where callers are strangers to each other is kept with the address that
it came from. So the store can count them, whichever worker kept them and however long ago.
"""

from typing import Final

from msgspec.structs import replace

from oxd_server.dispatch.shares import share_of
from oxd_server.rp.busy import ServerBusy
from oxd_server.rp.services import Services

__all__ = ["DiskShares"]

_ALL: Final = 10
"""All addresses together have this many times the share of one."""


class DiskShares:
    """Admits a registration while its address keeps fewer than ``per_address`` sites; 0: always."""

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address

    async def admit(self, services: Services, address: str) -> Services:
        """Return the services that keep sites in the share of this address.

        Raises ``ServerBusy`` where it, or that of all addresses together, is used up.
        """
        if not services.access.closed:
            return services
        share, most = share_of(address), self._per_address
        if most and (await self._full(services, share, most) or await self._full(services, None, _ALL * most)):
            raise ServerBusy(
                "max_sites_without_token",
                f"No more sites are kept for callers without a token ({most} of one address, {_ALL} times as many in "
                "all; max_sites_without_token). Remove some, or show a token. Nothing was done.",
            )
        return replace(services, access=replace(services.access, registered_from=share))

    async def _full(self, services: Services, share: str | None, most: int) -> bool:
        return await services.store.count_registered(share, most) >= most
