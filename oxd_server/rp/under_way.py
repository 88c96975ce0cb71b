"""What commands have under way and share in memory, each part for one feature."""

from typing import Final

import msgspec

from oxd_server.op.dpop import ProofReplays
from oxd_server.rp.device_logins import DeviceLogins
from oxd_server.rp.refreshes import Refreshes
from oxd_server.sync.locks import KeyedLocks
from oxd_server.sync.room import Room
from oxd_server.sync.single_flight import SingleFlight
from oxd_server.sync.waits import Waits

__all__ = ["UnderWay"]

_REQUEST_OBJECT_BYTES: Final = 256 * 1024
_ALL_REQUEST_OBJECTS_BYTES: Final = 32 * 1024 * 1024
_MAX_WAITING_FOR_PAT: Final = 1000
"""Every request to an application asks for a decision, so that many wait when its PAT has expired."""
_MAX_WAITING_FOR_LOGOUT: Final = 100


class UnderWay(msgspec.Struct, frozen=True):
    """Changes of sites, refreshed tokens and PATs, logins on other devices, and who waits for a logout.

    ``request_objects`` counts the room that kept ones take up, ``dpop_proofs`` knows those that were shown.
    """

    site_locks: KeyedLocks = msgspec.field(default_factory=KeyedLocks)
    refreshes: Refreshes = msgspec.field(default_factory=Refreshes)
    pats: SingleFlight[str, str] = msgspec.field(default_factory=lambda: SingleFlight(max_waiting=_MAX_WAITING_FOR_PAT))
    request_objects: Room = msgspec.field(
        default_factory=lambda: Room(_REQUEST_OBJECT_BYTES, _ALL_REQUEST_OBJECTS_BYTES)
    )
    device_logins: DeviceLogins = msgspec.field(default_factory=DeviceLogins)
    dpop_proofs: ProofReplays = msgspec.field(default_factory=ProofReplays)
    logout_waits: Waits = msgspec.field(default_factory=lambda: Waits(_MAX_WAITING_FOR_LOGOUT))
