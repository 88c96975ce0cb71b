"""Connections to OPs: each address is checked after the name was resolved, and that very address is connected to.

So a name that resolves to something else a moment later changes nothing.
"""

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import trio

from oxd_server.op.errors import OpHostRefused
from oxd_server.op.reach import Zone, is_loopback, zone_of
from oxd_server.sync.host_slots import HostSlots
from oxd_server.sync.threads import Threads

__all__ = ["Resolve", "Resolver", "connect", "refuse_address"]

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The IP addresses of a host, for a port; raises OSError."""

MAX_ADDRESSES = 8

_LOOKUPS = 64
_LOOKUPS_OF_A_HOST = 4
_WAITING_LOOKUPS = 1000

_NEXT_ADDRESS_SECONDS = 0.25


class Resolver:
    """Asks the system for addresses, in threads of its own: names that nobody answers for hold up few others."""

    def __init__(self) -> None:
        self._threads = Threads(_LOOKUPS)
        self._slots = HostSlots(_LOOKUPS_OF_A_HOST, most_waiting=_WAITING_LOOKUPS, limit="name look-ups")

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses that the system knows for the host.

        Raises:
            TooBusy: too many wait for the same host.
            OSError, UnicodeError: it has none.
        """
        with suppress(ValueError):
            return [str(ip_address(host))]
        async with self._slots.hold(host):
            look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            found = await self._threads.run(look_up, abandon_on_cancel=True)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def connect(host: str, port: int, within: Zone | None, resolve: Resolve) -> tuple[trio.SocketStream, Zone]:
    """A connection to the first of the host's addresses that answers, and where that lies.

    Args:
        host: a name or an address.
        port: of the host.
        within: where the OP lies that leads there; None: a caller names it, and may name all but `Zone.NEVER`.
        resolve: gives the addresses.

    Raises:
        OpHostRefused: none of its addresses may be called.
        OSError, UnicodeError: it has no address, or none answers.
    """
    return await _first_to_answer(_allowed(host, await resolve(host, port), within), port)


def refuse_address(host: str, within: Zone | None) -> None:
    """Pass a name, and an address, however it is spelt, that may be called.

    Raises:
        OpHostRefused: the address may not be called.
    """
    with suppress(OSError, UnicodeError):
        numeric = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        _allowed(host, [str(address[0]) for *_, address in numeric], within)


def _allowed(host: str, addresses: list[str], within: Zone | None) -> list[str]:
    allowed = [address for address in addresses if _may_call(host, zone_of(address), within)]
    if addresses and not allowed:
        raise OpHostRefused(host, _REASONS.get(within, "it lies at an address that an OP may not lead to"))
    return allowed[:MAX_ADDRESSES]


def _may_call(host: str, zone: Zone, within: Zone | None) -> bool:
    # Plain http is allowed for the name, so the name must mean it.
    if is_loopback(host) and zone != Zone.LOOPBACK:
        return False
    return zone != Zone.NEVER if within is None else within.leads_to(zone)


_REASONS = {
    None: "it lies at an address that is never called",
    Zone.PRIVATE: "an OP in a private network leads to private and public addresses only",
    Zone.PUBLIC: "an OP at a public address leads to public addresses only",
}


async def _first_to_answer(addresses: list[str], port: int) -> tuple[trio.SocketStream, Zone]:
    """A connection to one of the addresses: a next one is tried as soon as those before fail or are slow.

    Raises:
        OSError: no address answers.
    """
    found: list[tuple[trio.SocketStream, Zone]] = []
    failures: list[OSError] = []
    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(_try_address, address, port, found, failures, failed, nursery.cancel_scope)
            if address != addresses[-1]:
                with trio.move_on_after(_NEXT_ADDRESS_SECONDS):
                    await failed.wait()
    if not found:
        raise OSError("no address answers") from (failures[0] if failures else None)
    for stream, _ in found[1:]:
        await stream.aclose()
    return found[0]


async def _try_address(
    address: str,
    port: int,
    found: list[tuple[trio.SocketStream, Zone]],
    failures: list[OSError],
    failed: trio.Event,
    others: trio.CancelScope,
) -> None:
    try:
        found.append((await trio.open_tcp_stream(address, port), zone_of(address)))
    except OSError as error:
        failures.append(error)
        failed.set()
    else:
        others.cancel()
