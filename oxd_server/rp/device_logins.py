"""How often an OP may be asked about a login on another device. Pure. Specification: RFC 8628 section 3.5.

Each process remembers it for itself: where another one has asked just before, the OP says `slow_down`, and that is
heeded.
"""

import hashlib
from collections import OrderedDict
from math import ceil
from typing import Final

import msgspec

from oxd_server.op.device import DEFAULT_INTERVAL

__all__ = ["DeviceLogins"]

_SLOWER: Final = 5
_LONGEST: Final = 3600


class _Pace(msgspec.Struct):
    interval: int
    next_at: float


class DeviceLogins:
    """The pace of each login, by its device code: of so many at most, the oldest gives way."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._paces: OrderedDict[bytes, _Pace] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paces)

    def start(self, device_code: str, interval: int, now: float) -> None:
        """Remember a login that the OP may be asked about every so many seconds."""
        self._paces[_key(device_code)] = _Pace(interval, now + interval)
        if len(self._paces) > self._capacity:
            self._paces.popitem(last=False)

    def ask(self, device_code: str, now: float) -> int:
        """Take a turn to ask, 0; or the seconds until it is time to."""
        if _key(device_code) not in self._paces:  # another process has started it
            self.start(device_code, DEFAULT_INTERVAL, now - DEFAULT_INTERVAL)
        pace = self._paces[_key(device_code)]
        if now < pace.next_at:
            return ceil(pace.next_at - now)
        pace.next_at = now + pace.interval
        return 0

    def wait(self, device_code: str, now: float, *, slower: bool = False) -> int:
        """The seconds to wait after the OP has not decided yet.

        With ``slower``, "the interval MUST be increased by 5 seconds for this and all subsequent requests".
        """
        pace = self._paces.get(_key(device_code)) or _Pace(DEFAULT_INTERVAL, now)
        pace.interval = min(pace.interval + (_SLOWER if slower else 0), _LONGEST)
        pace.next_at = now + pace.interval
        return pace.interval

    def back_off(self, device_code: str, now: float) -> None:
        """Ask half as often.

        "On encountering a connection timeout, clients MUST unilaterally reduce their polling frequency before
        retrying."
        """
        pace = self._paces.get(_key(device_code))
        if pace is not None:
            pace.interval = min(2 * pace.interval, _LONGEST)
            pace.next_at = now + pace.interval

    def end(self, device_code: str) -> None:
        """Forget a login that was decided."""
        self._paces.pop(_key(device_code), None)


def _key(device_code: str) -> bytes:
    return hashlib.sha256(device_code.encode("utf-8", "surrogatepass")).digest()[:16]
