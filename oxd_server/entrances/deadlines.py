"""Who waits until when. A deadline that is set and forgotten costs next to nothing. Pure.

Each key has one deadline. A heap tells the earliest of all. It is corrected late: a deadline that was put off leaves
its old entry in the heap, which stands for the new one when its time comes. So what is put off with every command, as
the end of idleness is, touches the heap once in a while only.
"""

import math
from heapq import heapify, heappop, heappush

__all__ = ["Deadlines"]


class Deadlines:
    """The deadlines of keys, on any one clock."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}
        self._entered: dict[int, float] = {}  # the earliest entry of each key in the heap: not later than its deadline
        self._heap: list[tuple[float, int]] = []

    def set(self, key: int, until: float | None) -> None:
        """Give the key this deadline instead of the one before; None: it has none any more."""
        if until is None:
            self._until.pop(key, None)
            return
        self._until[key] = until
        if until < self._entered.get(key, math.inf):
            self._enter(key, until)

    def earliest(self) -> float:
        """Return a time before which no deadline passes: infinity if there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def pop_passed(self, now: float) -> list[int]:
        """Return whose deadlines have passed; they have none any more."""
        passed = []
        while self._heap and self._heap[0][0] <= now:
            entered, key = heappop(self._heap)
            if self._entered.get(key) != entered:
                continue  # an earlier entry stood for it
            del self._entered[key]
            until = self._until.get(key)
            if until is None:
                continue
            if until > now:
                self._enter(key, until)
            else:
                passed.append(key)
                del self._until[key]
        return passed

    def _enter(self, key: int, until: float) -> None:
        self._entered[key] = until
        heappush(self._heap, (until, key))
        if len(self._heap) > 2 * len(self._entered):  # mostly entries that stand for nobody
            self._heap = [(entered, key) for key, entered in self._entered.items()]
            heapify(self._heap)
