"""Streams of TCP and TLS over real sockets; at the other end are trio's own."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import trio
import trio.testing

from oxd_server.entrances.certificates import ensure_self_signed, make_server_context
from oxd_server.streams import TcpStream, TlsStream

LARGE = bytes(range(256)) * 40_000


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[TcpStream, trio.SocketStream]]:
    """Open a TCP connection; its other end is trio's."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = TcpStream.taken_over(await trio.open_tcp_stream(*listener.socket.getsockname()))
        theirs = await listener.accept()
    async with ours, theirs:
        yield ours, theirs


async def received(stream: trio.abc.ReceiveStream, number: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < number and (more := await stream.receive_some()):
        data += more
    return data


def reset(stream: trio.SocketStream) -> None:
    """Make the close a reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def test_bytes_go_both_ways() -> None:
    """What one end sends comes to the other, up to the end."""
    async with connection() as (ours, theirs):
        await ours.send_all(b"question")
        assert await theirs.receive_some() == b"question"
        await theirs.send_all(b"answer")
        assert await ours.receive_some(3) == b"ans"
        assert await ours.receive_some() == b"wer"
        await ours.send_eof()
        assert await theirs.receive_some() == b""
        await theirs.send_eof()
        assert await ours.receive_some() == b""


async def test_what_the_system_does_not_take_at_once() -> None:
    """More than fits into the system's buffers waits until the other end has read."""
    async with connection() as (ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, LARGE)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await received(theirs, len(LARGE)) == LARGE
        await ours.wait_send_all_might_not_block()


async def test_readable_before_it_is_received() -> None:
    """Whether there is something can be seen without receiving it: bytes, the end, or a break."""
    async with connection() as (ours, theirs):
        assert not ours.is_readable()
        await theirs.send_all(b"x")
        await trio.lowlevel.wait_readable(ours.socket)
        assert ours.is_readable()
        assert await ours.receive_some() == b"x"
        assert not ours.is_readable()
        reset(theirs)
        await trio.lowlevel.wait_readable(ours.socket)
        assert ours.is_readable()


async def test_broken_connection() -> None:
    """A connection that the other end has reset can neither be read nor written."""
    async with connection() as (ours, theirs):
        reset(theirs)
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await ours.send_all(b"x")
        await ours.send_eof()  # there is nobody to tell


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
Pair = tuple[TlsStream, trio.SSLStream[trio.SocketStream]]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """Return the contexts of a server for localhost and of a client that trusts it."""
    certificate, key = ensure_self_signed(tmp_path_factory.mktemp("tls"), datetime.now(UTC))
    return make_server_context(certificate, key), ssl.create_default_context(cafile=str(certificate))


@asynccontextmanager
async def tls_connection(
    contexts: Contexts, *, server: bool, strict: bool = True, host: str = "localhost"
) -> AsyncIterator[Pair]:
    """Open a TLS connection whose client or server is ours; trio's end is strict about how TLS ends."""
    server_context, client_context = contexts
    async with connection() as (ours, theirs):
        if server:
            own = TlsStream(ours, server_context, server_side=True)
            other = trio.SSLStream(theirs, client_context, server_hostname=host, https_compatible=not strict)
        else:
            own = TlsStream(ours, client_context, server_hostname=host)
            other = trio.SSLStream(theirs, server_context, server_side=True, https_compatible=not strict)
        yield own, other


@asynccontextmanager
async def tls_between_ours(contexts: Contexts) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """Open a TLS connection both of whose ends are ours: first the client's, then the server's."""
    server_context, client_context = contexts
    async with connection() as (below, theirs):
        client = TlsStream(below, client_context, server_hostname="localhost")
        async with TlsStream(TcpStream.taken_over(theirs), server_context, server_side=True) as server:
            yield client, server


async def shake_hands(ours: TlsStream, theirs: TlsStream | trio.SSLStream[trio.SocketStream]) -> None:
    """Agree on keys, both ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.do_handshake)
        await ours.do_handshake()


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_both_ways(
    contexts: Contexts,
    *,
    server: bool,
    version: ssl.TLSVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Our end speaks with trio's, as client and as server, also when more is sent than is taken at once."""
    for context in contexts:
        monkeypatch.setattr(context, "maximum_version", version)
    async with tls_connection(contexts, server=server) as (ours, theirs), trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, b"hello")
        assert await received(ours, 5) == b"hello"
        nursery.start_soon(ours.send_all, LARGE)
        assert await received(theirs, len(LARGE)) == LARGE
        await ours.wait_send_all_might_not_block()
        nursery.start_soon(theirs.send_all, LARGE)
        assert await received(ours, len(LARGE)) == LARGE
        assert ours.tls.version() == version.name.replace("v1_", "v1.")


async def test_tls_that_was_read_in_part(contexts: Contexts) -> None:
    """What came with the bytes that were received, and was not received itself, can be seen."""
    async with tls_between_ours(contexts) as (ours, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.send_all, b"one")
            assert await received(ours, 3) == b"one"
        assert not ours.is_readable()
        for record in (b"two", b"three"):  # both in one write below
            other.tls.write(record)
        await other.do_handshake()
        assert await received(ours, 3) == b"two"
        assert ours.is_readable()
        assert await received(ours, 5) == b"three"
        assert not ours.is_readable()


async def test_tls_ends_in_good_order(contexts: Contexts) -> None:
    """Closing says so to the other end, which would take anything else for an attack, and does not wait for it."""
    async with tls_connection(contexts, server=True) as (ours, theirs):
        await shake_hands(ours, theirs)
        await ours.aclose()
        assert await theirs.receive_some() == b""


async def test_tls_of_the_other_end_ends(contexts: Contexts) -> None:
    """The other end says that it closes: this is the end of the bytes."""
    async with tls_connection(contexts, server=False, strict=False) as (ours, theirs):
        await shake_hands(ours, theirs)
        await theirs.aclose()
        assert await ours.receive_some() == b""
        await ours.aclose()


async def test_tls_ends_before_its_connection(contexts: Contexts) -> None:
    """The end that TLS tells of is the end however often it is asked for, though the connection below stays open."""
    async with tls_between_ours(contexts) as (ours, other):
        await shake_hands(ours, other)
        with pytest.raises(ssl.SSLError):
            other.tls.unwrap()  # it has said so, and now wants to hear it as well
        await other.do_handshake()
        for _ in range(2):
            assert await ours.receive_some() == b""


async def test_tls_that_breaks_off(contexts: Contexts) -> None:
    """Without a word of TLS the end of the connection is an end as well: HTTP knows where a message ends."""
    async with tls_connection(contexts, server=True, strict=False) as (ours, theirs):
        await shake_hands(ours, theirs)
        await theirs.transport_stream.send_eof()
        assert await ours.receive_some() == b""


async def test_tls_nonsense(contexts: Contexts) -> None:
    """Bytes that are no TLS break the connection, before the handshake and after it."""
    async with tls_connection(contexts, server=True) as (ours, theirs):
        await theirs.transport_stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError, match="handshake"):
            await ours.receive_some()
    async with tls_connection(contexts, server=True) as (ours, theirs):
        await shake_hands(ours, theirs)
        await theirs.transport_stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await ours.send_all(b"x")


async def test_tls_says_why_the_handshake_failed(contexts: Contexts) -> None:
    """A client that does not like the certificate tells the server so (RFC 8446, section 6.2)."""
    async with tls_connection(contexts, server=False, host="other.example") as (ours, theirs):
        failures: list[BaseException | None] = []

        async def listen() -> None:
            with pytest.raises(trio.BrokenResourceError) as caught:
                await theirs.receive_some()
            failures.append(caught.value.__cause__)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with pytest.raises(trio.BrokenResourceError) as caught:
                await ours.do_handshake()
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert "ALERT" in str(failures[0])


async def test_tls_in_a_cancelled_task_is_closed(contexts: Contexts) -> None:
    """A task that is cancelled while it waits closes the connection all the same."""
    async with tls_connection(contexts, server=True, strict=False) as (ours, theirs):
        await shake_hands(ours, theirs)
        with trio.CancelScope() as scope:
            scope.cancel()
            async with ours:
                await ours.receive_some()
        assert scope.cancelled_caught
        assert await theirs.receive_some() == b""


async def test_tls_within_tls(contexts: Contexts) -> None:
    """A tunnel through a proxy that is itself reached through TLS carries TLS."""
    server_context, client_context = contexts
    async with tls_connection(contexts, server=False, strict=False) as (outer, theirs), trio.open_nursery() as nursery:
        inner = TlsStream(outer, client_context, server_hostname="localhost")
        other = trio.SSLStream(theirs, server_context, server_side=True, https_compatible=True)
        nursery.start_soon(other.send_all, b"deep")
        assert await received(inner, 4) == b"deep"
