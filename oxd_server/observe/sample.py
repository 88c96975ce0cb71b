"""What is looked up from time to time, because nobody tells of it. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Sample"]


class Sample(NamedTuple):
    """Of one process: ``connections`` by entrance, the size of caches by their names."""

    connections: Mapping[str, int]
    commands_in_flight: int
    cache_bytes: Mapping[str, int]
    store_commits: int
    resident_bytes: int
    open_files: int
