"""Reading a site's client again at its OP, for applications that ask for it with ``sync_client_from_op``.

Specification: RFC 7592, section 2.1.
"""

from functools import partial
from typing import Final

import trio
from msgspec.structs import replace

from oxd_server.op.errors import OpError
from oxd_server.op.registration import RegistrationAnswer, read_client
from oxd_server.rp.services import Services
from oxd_server.rp.site_as_client import as_answered
from oxd_server.store.base import Site, StoreError
from oxd_server.sync.busy import TooBusy
from oxd_server.sync.single_flight import SingleFlight

__all__ = ["ClientSync", "as_read", "warn_if_unreadable"]

_MILLISECONDS: Final = 1000
_READ_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 60.0
_MAX_WAITING: Final = 1000
_MAX_FAILED: Final = 10_000


class ClientSync:
    """Reads at most one answer per site at a time, and never fails the command that it is done for.

    What is kept in memory is when the reading of a site failed last: its commands do not wait for the same OP again
    and again.
    """

    def __init__(self, *, most_failed: int = _MAX_FAILED) -> None:
        self._most_failed = most_failed
        self._flights: SingleFlight[str, None] = SingleFlight(max_waiting=_MAX_WAITING)
        self._failed: dict[str, float] = {}

    async def before_use(self, services: Services, site: Site) -> None:
        """Take over what the OP has of the client, if the site wants that and its view is older than its period."""
        if not self._is_due(site, services.now()):
            return
        try:
            await self._flights.run(site.oxd_id, partial(self._sync, services, site.oxd_id))
        except (OpError, StoreError, TooBusy, trio.TooSlowError) as error:
            self._failed_now(services, site, str(error) or f"it took longer than {_READ_SECONDS:g} seconds")

    def _is_due(self, site: Site, now: float) -> bool:
        if not site.sync_client_from_op or not _is_readable(site):
            return False
        failed = self._failed.get(site.oxd_id)
        if failed is not None and 0 <= now - failed < _RETRY_SECONDS:
            return False
        # A clock that was set back makes a view old, not young for ever.
        return not 0 <= now - site.last_synced / _MILLISECONDS < site.sync_client_period_in_seconds

    async def _sync(self, services: Services, oxd_id: str) -> None:
        """Read and keep, under the site's lock: an update of the client must not be overwritten by what was before."""
        async with services.under_way.site_locks.hold(oxd_id):
            site = await services.site(oxd_id)
            if not self._is_due(site, services.now()):  # another node was first
                return
            with trio.fail_after(_READ_SECONDS):
                read = await _read(services, site)
            now = services.now()
            with trio.CancelScope(shield=True):  # the OP may have rotated what admits to the next reading
                await services.store.change(oxd_id, lambda newest: as_read(as_answered(newest, read), now))
            self._failed.pop(oxd_id, None)

    def _failed_now(self, services: Services, site: Site, reason: str) -> None:
        if len(self._failed) >= self._most_failed:
            self._failed.clear()
        self._failed[site.oxd_id] = services.now()
        services.log.warning(
            "client_not_read",
            message="The client could not be read at the OP; the command goes on with what is known of it.",
            oxd_id=site.oxd_id,
            client_id=site.client_id,
            reason=reason,
        )


def _is_readable(site: Site) -> bool:
    return None not in (site.client_registration_client_uri, site.client_registration_access_token)


async def _read(services: Services, site: Site) -> RegistrationAnswer:
    metadata = await services.metadata_of(site)
    uri, token = site.client_registration_client_uri or "", site.client_registration_access_token or ""
    return await read_client(services.op, metadata, site.client_id or "", uri, token)


def as_read(site: Site, now: float) -> Site:
    """Return the site with the time, in seconds, when the OP told of its client; a site that syncs keeps it."""
    return replace(site, last_synced=int(now * _MILLISECONDS)) if site.sync_client_from_op else site


def warn_if_unreadable(services: Services, site: Site) -> None:
    """Name in the log that a site is not synchronized, because nobody said where its client can be read."""
    if site.sync_client_from_op and not _is_readable(site):
        services.log.warning(
            "client_sync_without_effect",
            message="sync_client_from_op has no effect: there is no client configuration endpoint with a token for it.",
            oxd_id=site.oxd_id,
            op_host=site.op_host,
        )
