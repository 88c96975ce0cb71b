"""How much is measured: the counts of a full and of a quick run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Every count follows from three: requests per run, rounds (server and control in turn), and stored sites."""

    requests: int
    rounds: int
    sites: int

    @property
    def requests_that_connect(self) -> int:
        """Per run, with a connection for each."""
        return max(self.requests // 3, 10)

    @property
    def requests_over_https(self) -> int:
        """Per run, over TLS connections that are kept open."""
        return max(self.requests // 4, 10)

    @property
    def requests_with_a_handshake(self) -> int:
        """Per run, with a TLS connection for each."""
        return max(self.requests // 20, 10)

    @property
    def requests_to_the_op(self) -> int:
        """Per run, of commands for which the server asks the OP."""
        return max(self.requests // 20, 10)

    @property
    def writers(self) -> int:
        """Sites that are registered per run."""
        return max(self.requests // 10, 64)

    @property
    def idle_connections(self) -> int:
        """Connections that do nothing but be open."""
        return max(min(self.requests * 5 // 2, 10_000), 100)

    @property
    def store_sizes(self) -> tuple[int, ...]:
        """Numbers of stored sites, ten times more each second step, up to `sites`."""
        sizes = [size for size in (10, 1000, 100_000, 1_000_000) if size < self.sites]
        return (*sizes, self.sites)


FULL = Scale(requests=4000, rounds=5, sites=1_000_000)
QUICK = Scale(requests=900, rounds=2, sites=100_000)
