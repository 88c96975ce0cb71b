"""Who is at the other end of a connection, and how many connections each of them has."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Final, NamedTuple, Protocol

import msgspec
import trio

from oxd_server.streams import TcpStream

__all__ = ["Idle", "Most", "Open", "Peer", "Places", "peer_of"]

_FIRST_SECONDS: Final = 1.0


class Idle:
    """Connections that wait for a request, the longest waiting first; a full server gives those up."""

    def __init__(self) -> None:
        self.leaving = False
        self._stopping = False
        self._waiting: dict[int, tuple[trio.CancelScope, str]] = {}
        self._first: set[int] = set()

    def enter(self, scope: trio.CancelScope, share: str, *, is_first: bool) -> None:
        """Count a connection as waiting, for its first request or a further one; cancelling the scope closes it."""
        self._waiting[id(scope)] = scope, share
        if is_first:
            self._first.add(id(scope))
        if self._stopping:
            self._hurry(scope)

    def leave(self, scope: trio.CancelScope) -> None:
        """Count it as busy again."""
        self._waiting.pop(id(scope), None)
        self._first.discard(id(scope))

    def drop_oldest(self, share: str | None = None) -> bool:
        """Close the connection (of this share) that has waited longest; False if none is waiting."""
        for key, (scope, of_share) in self._waiting.items():
            if share is None or share == of_share:
                del self._waiting[key]
                scope.cancel()
                return True
        return False

    def leave_soon(self) -> None:
        """Close every connection after its next answer."""
        self.leaving = True

    def stop(self) -> None:
        """Close every waiting connection now, and the others after their answer.

        Whoever has just connected has a moment to send the request that it came for.
        """
        self.leaving = self._stopping = True
        for scope, _ in tuple(self._waiting.values()):
            self._hurry(scope)

    def _hurry(self, scope: trio.CancelScope) -> None:
        if id(scope) in self._first:
            scope.deadline = min(scope.deadline, trio.current_time() + _FIRST_SECONDS)
        else:
            scope.cancel()


class Peer(NamedTuple):
    """Who is at the other end: its name for logs, its address and ours; empty where the stream has none."""

    name: str = ""
    address: str = ""
    server: str = ""

    @property
    def share(self) -> str:
        """Whose share of the connections this is: of an IPv6 network, whose addresses are one customer's, all."""
        return self.address if ":" not in self.address else str(ip_network(f"{self.address}/64", strict=False))


def peer_of(stream: object) -> Peer:
    """Return the peer of a TCP stream, or of TLS over one."""
    inner = getattr(stream, "transport_stream", stream)
    if not isinstance(inner, trio.SocketStream | TcpStream):
        return Peer()
    try:
        name, own = inner.socket.getpeername(), inner.socket.getsockname()
    except OSError:
        return Peer()
    if not isinstance(name, tuple):
        return Peer(str(name))
    address = str(name[0]).partition("%")[0]
    return Peer(f"{name[0]}:{name[1]}", address, str(own[0]).partition("%")[0])


class Most(Protocol):
    """How many connections may be open, in all and of each share; it may change."""

    max_connections: int
    max_connections_per_address: int | None


class Open(msgspec.Struct):
    """How many connections are open, for whoever wants to know."""

    connections: int = 0


class Places:
    """The connections that are open, in all and of each share, within the limits."""

    def __init__(self, idle: Idle, limits: Most, opened: Open) -> None:
        self._idle = idle
        self._limits = limits
        self._opened = opened
        self._of_share: Counter[str] = Counter()

    def refusal(self, share: str) -> str | None:
        """Return why no further connection is taken; an idle one makes room if there is one."""
        most = self._limits.max_connections_per_address
        if most is not None and share and self._of_share[share] >= most and not self._idle.drop_oldest(share):
            return "server_busy: too many connections from this address"
        if self._opened.connections >= self._limits.max_connections and not self._idle.drop_oldest():
            return "server_busy: too many connections"
        return None

    @contextmanager
    def take(self, share: str) -> Iterator[None]:
        """Hold a place of this share."""
        self._opened.connections += 1
        self._of_share[share] += 1
        try:
            yield
        finally:
            self._opened.connections -= 1
            self._of_share[share] -= 1
            if not self._of_share[share]:
                del self._of_share[share]
