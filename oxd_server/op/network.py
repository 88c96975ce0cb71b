"""Connections to OPs: each address is checked after the name was resolved, and that very address is connected to.

So a name that resolves to something else a moment later changes nothing. What a connection brings is counted in raw
bytes, whatever HTTP makes of them.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from math import inf
from typing import Any

import httpcore2
import trio

from oxd_server.op.errors import OpHostRefused
from oxd_server.op.reach import Zone, is_loopback, zone_of
from oxd_server.sync.host_slots import HostSlots

__all__ = ["CheckedNetwork", "CountedStream", "Resolve", "Resolver", "TooManyBytes"]

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The IP addresses of a host, for a port; raises OSError."""

MAX_HEAD_BYTES = 64 * 1024
MAX_ADDRESSES = 8

_LOOKUPS = 64
_LOOKUPS_OF_A_HOST = 4
_WAITING_LOOKUPS = 1000

_READ_BYTES = 16 * 1024
_READ_COST = 64
_NEXT_ADDRESS_SECONDS = 0.25


class TooManyBytes(Exception):
    """The answer is larger than it may be, counting every byte on the wire."""


class Resolver:
    """Asks the system for addresses, in threads of its own: names that nobody answers for hold up few others."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(_LOOKUPS)
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
            found = await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._threads)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to what an OP in `within` may lead to; None: what a caller may name, which is all but `Zone.NEVER`."""

    def __init__(self, within: Zone | None, resolve: Resolve) -> None:
        self._within = within
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> "CountedStream":
        """A connection to the first of the host's addresses that answers.

        Raises:
            OpHostRefused: none of its addresses may be called.
            httpcore2.ConnectError, httpcore2.ConnectTimeout
        """
        try:
            with trio.fail_after(inf if timeout is None else timeout):
                addresses = self._allowed(host, await self._resolve(host, port))
                return await _first_to_answer(addresses, port)
        except trio.TooSlowError as error:
            raise httpcore2.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError from error

    def _allowed(self, host: str, addresses: list[str]) -> list[str]:
        allowed = [address for address in addresses if self._may_call(host, zone_of(address))]
        if addresses and not allowed:
            raise OpHostRefused(host, _REASONS.get(self._within, "it lies at an address that an OP may not lead to"))
        return allowed[:MAX_ADDRESSES]

    def _may_call(self, host: str, zone: Zone) -> bool:
        # Plain http is allowed for the name, so the name must mean it.
        if is_loopback(host) and zone != Zone.LOOPBACK:
            return False
        return zone != Zone.NEVER if self._within is None else self._within.leads_to(zone)


_REASONS = {
    None: "it lies at an address that is never called",
    Zone.PRIVATE: "an OP in a private network leads to private and public addresses only",
    Zone.PUBLIC: "an OP at a public address leads to public addresses only",
}


async def _first_to_answer(addresses: list[str], port: int) -> "CountedStream":
    """A connection to one of the addresses: a next one is tried as soon as those before fail or are slow.

    Raises:
        OSError: no address answers.
    """
    streams: list[CountedStream] = []
    failures: list[httpcore2.ConnectError] = []
    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(_try_address, address, port, streams, failures, failed, nursery.cancel_scope)
            if address != addresses[-1]:
                with trio.move_on_after(_NEXT_ADDRESS_SECONDS):
                    await failed.wait()
    if not streams:
        raise OSError("no address answers") from (failures[0] if failures else None)
    for stream in streams[1:]:
        await stream.aclose()
    return streams[0]


async def _try_address(
    address: str,
    port: int,
    streams: list["CountedStream"],
    failures: list[httpcore2.ConnectError],
    failed: trio.Event,
    others: trio.CancelScope,
) -> None:
    try:
        streams.append(CountedStream(await httpcore2.TrioBackend().connect_tcp(address, port), zone_of(address)))
    except httpcore2.ConnectError as error:
        failures.append(error)
        failed.set()
    else:
        others.cancel()


class CountedStream(httpcore2.AsyncNetworkStream):
    """A connection that stops reading when an answer has had its bytes: those of its head, and what `allow` adds.

    A read costs something beside its bytes, so that bytes that come one by one are as dear as they are to us.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream, zone: Zone) -> None:
        """`zone` is where the other end lies."""
        self._stream = stream
        self._zone = zone
        self._left = 0

    def allow(self, number: int) -> None:
        """Let the answer have so many bytes more."""
        self._left += number

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Raises `TooManyBytes` where the answer has had what it may."""
        if self._left <= 0:
            raise TooManyBytes
        data = await self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._left -= len(data) + _READ_COST
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """A request goes out: the bytes of its answer are counted from here."""
        self._left = MAX_HEAD_BYTES
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "CountedStream":
        """The same connection with TLS, counted inside."""
        return CountedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._zone)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore2 asks of its streams, and the `zone`."""
        return self._zone if info == "zone" else self._stream.get_extra_info(info)
