"""The connections to OPs, kept for the next request: request in, whole answer out.

A connection is kept for whoever goes to the same place: scheme, host and port, led there from the same zone, and with
the same certificate. So nobody has one who may not open it. httpx2's own pool does more (HTTP/2, bodies as streams,
tracing), and that costs more than all the rest of a command.
"""

import ssl
from collections.abc import Callable
from typing import NamedTuple

import httpx2
import trio

from oxd_server.op.client_identity import ClientIdentity
from oxd_server.op.http_connection import HttpAnswer, HttpConnection, HttpRequest
from oxd_server.op.network import Resolve, connect, refuse_address
from oxd_server.op.no_connection import NoConnection
from oxd_server.op.reach import Zone
from oxd_server.op.targets import Server
from oxd_server.streams import TcpStream, TlsStream
from oxd_server.sync.host_slots import acquire

__all__ = ["HttpPool", "ProxyOf"]

ProxyOf = Callable[[httpx2.URL], httpx2.Proxy | None]
"""The proxy that requests for a URL go through, if any."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Place(NamedTuple):
    """Where a connection goes, in which zone the OP lies that leads there (None: a caller does), and as whom."""

    server: Server
    within: Zone | None
    identity: ClientIdentity | None


class _Kept(NamedTuple):
    """A connection without a request, and until when it is kept (by trio's clock)."""

    place: _Place
    connection: HttpConnection
    until: float


class HttpPool:
    """Sends requests over connections that are kept for the next one."""

    def __init__(
        self,
        ssl_context: ssl.SSLContext,
        resolve: Resolve,
        *,
        proxy_of: ProxyOf,
        connect_timeout: float,
        silence: float,
        max_connections: int,
        max_idle: int,
        idle_seconds: float,
    ) -> None:
        """Use `max_connections` at a time, and keep `max_idle` beside them for `idle_seconds`.

        There is a connection within `connect_timeout` seconds, and the other side is never silent for longer than
        `silence`.
        """
        self._ssl_context = ssl_context
        self._resolve = resolve
        self._proxy_of = proxy_of
        self._connect_timeout = connect_timeout
        self._silence = silence
        self._slots = trio.Semaphore(max_connections)
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._idle: list[_Kept] = []  # the one that was used last at the end

    async def exchange(self, request: HttpRequest) -> HttpAnswer:
        """Send the request and read the whole answer, as `HttpConnection.exchange` does.

        Raises:
            OpHostRefused: the address may not be called.
            NoConnection, httpx2.ConnectTimeout, httpx2.ProxyError, trio.TooSlowError: nothing was sent.
            httpx2.LocalProtocolError, httpx2.ReadTimeout, httpx2.ReadError, httpx2.RemoteProtocolError: see there.
        """
        place = _Place(request.target.server, request.within, request.identity)
        await acquire(self._slots, request.until)
        try:
            connection = await self._take(place) or await self._open(place, request)
            try:
                return await connection.exchange(request)
            finally:
                await self._give_back(place, connection)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close what is kept."""
        while self._idle:
            await self._idle.pop().connection.aclose()

    async def _take(self, place: _Place) -> HttpConnection | None:
        """A kept connection to the place, the one that was used last: the other end is least likely to give it up."""
        while self._idle and self._idle[0].until <= trio.current_time():
            await self._idle.pop(0).connection.aclose()
        for number in range(len(self._idle) - 1, -1, -1):
            if self._idle[number].place == place:
                connection = self._idle.pop(number).connection
                if connection.is_silent():
                    return connection
                await connection.aclose()
                return await self._take(place)
        return None

    async def _give_back(self, place: _Place, connection: HttpConnection) -> None:
        if not connection.is_reusable:
            await connection.aclose()
            return
        self._idle.append(_Kept(place, connection, trio.current_time() + self._idle_seconds))
        if len(self._idle) > self._max_idle:
            await self._idle.pop(0).connection.aclose()

    async def _open(self, place: _Place, request: HttpRequest) -> HttpConnection:
        proxy = self._proxy_of(request.target.url)
        timeout = trio.current_time() + self._connect_timeout
        with trio.move_on_at(min(timeout, request.until)):
            if proxy is not None:
                return await self._open_through(proxy, place)
            stream: TcpStream | TlsStream
            scheme, host, port = place.server
            stream, zone = await self._connect(host, port, place.within)
            if scheme == "https":
                stream = await self._start_tls(stream, host, place.identity)
            return HttpConnection(stream, zone, self._silence)
        raise httpx2.ConnectTimeout("timed out: there is no connection")

    async def _open_through(self, proxy: httpx2.Proxy, place: _Place) -> HttpConnection:
        """A connection through the proxy, which resolves the name: so what an OP names there counts as public."""
        scheme, host, port = place.server
        refuse_address(host, place.within)
        proxy_port = proxy.url.port or _DEFAULT_PORTS[proxy.url.scheme]
        stream: TcpStream | TlsStream
        try:
            stream, _ = await self._connect(proxy.url.host, proxy_port, None)
            if proxy.url.scheme == "https":
                stream = await self._start_tls(stream, proxy.url.host, None)
        except NoConnection as error:
            raise NoConnection(f"{error} (of the proxy)", error.cause) from error
        connection = HttpConnection(stream, Zone.PUBLIC, self._silence, proxy)
        if scheme == "http":
            return connection
        try:
            authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            tunnel = await connection.open_tunnel(authority)
        except BaseException:
            await connection.aclose()
            raise
        stream = await self._start_tls(tunnel, host, place.identity)
        return HttpConnection(stream, Zone.PUBLIC, self._silence)

    async def _connect(self, host: str, port: int, within: Zone | None) -> tuple[TcpStream, Zone]:
        try:
            opened, zone = await connect(host, port, within, self._resolve)
        except (OSError, UnicodeError) as error:
            raise NoConnection.because_of(error) from error
        return TcpStream.taken_over(opened), zone

    async def _start_tls(self, stream: TcpStream | TlsStream, host: str, identity: ClientIdentity | None) -> TlsStream:
        context = self._ssl_context if identity is None else identity.ssl_context
        tls = TlsStream(stream, context, server_hostname=host)
        try:
            await tls.do_handshake()
        except BaseException as error:
            await trio.aclose_forcefully(stream)
            if isinstance(error, trio.BrokenResourceError):
                raise NoConnection.because_of(error) from error
            raise
        return tls
