"""A clock for tests."""

from dataclasses import dataclass

__all__ = ["NOW", "Clock"]

NOW = 1_800_000_000.0


@dataclass
class Clock:
    """A clock that moves only when it is told to."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now
