"""Tasks that wait for something to happen to a key: bounded in number, and woken when it happens in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import trio

from oxd_server.sync.busy import TooBusy

__all__ = ["Waits"]


class _Waiting(msgspec.Struct):
    """Those who wait for one key, and the bell that wakes them."""

    count: int = 0
    bell: trio.Event = msgspec.field(default_factory=trio.Event)


class Waits:
    """So many tasks wait at a time, half of them for one key at most; whoever comes then is sent away."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._by_key: dict[str, _Waiting] = {}
        self.stopped = False

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Be one of those who wait for the key inside the block. Raises `TooBusy`."""
        waiting = self._by_key.get(key) or _Waiting()
        if self._count >= self._most or 2 * waiting.count >= self._most:
            raise TooBusy("as many commands wait for a logout already as may", "commands that wait for a logout")
        self._by_key[key] = waiting
        self._count += 1
        waiting.count += 1
        try:
            yield
        finally:
            self._count -= 1
            waiting.count -= 1
            if not waiting.count:
                del self._by_key[key]

    def bell(self, key: str) -> trio.Event:
        """What rings next for the key. Take it before looking: what happens after the look rings it."""
        return self._by_key[key].bell

    def ring(self, key: str) -> None:
        """Wake those who wait for the key."""
        if (waiting := self._by_key.get(key)) is not None:
            waiting.bell.set()
            waiting.bell = trio.Event()

    def stop(self) -> None:
        """Wake all, for good: `stopped` tells them why."""
        self.stopped = True
        for key in self._by_key:
            self.ring(key)
