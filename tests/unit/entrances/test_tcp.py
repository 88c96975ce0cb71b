"""The TCP entrance over real sockets: the duplicate rule, pipelining, draining, limits."""

import gc
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import structlog
import trio
import trio.testing

from oxd_protocol.connection import REPEAT_WAIT
from oxd_server.entrances import tcp
from oxd_server.entrances.sockets import address_of, open_listeners
from oxd_server.entrances.tcp import FrameListener
from oxd_server.entrances.tcp_peer import ListenerLimits, Peer
from tests.unit.entrances.listening import SECONDS, Commands, Listening, frame, listening, names


@pytest.mark.parametrize("copies", [2, 3])
async def test_copies_of_a_peer_that_closes_do_not_run(copies: int) -> None:
    """A frame that is written several times by a peer that reads one answer and closes runs once."""
    async with listening() as server:
        stream = await server.connect()
        await stream.send_all(frame("first") * copies)
        assert await names(stream, 1) == ["first"]
        await stream.aclose()
        assert await names(await _after(server, frame("second")), 1) == ["second"]
        assert server.commands.ran == ["first", "second"]


async def _after(server: Listening, data: bytes) -> trio.SocketStream:
    """Send on a new connection once every earlier one has ended."""
    with trio.fail_after(SECONDS):
        while server.listener.connections:
            await trio.sleep(0.001)
    stream = await server.connect()
    await stream.send_all(data)
    return stream


async def test_copies_of_a_peer_that_stays_run() -> None:
    """A peer that goes on with something else gets an answer to every copy, and later ones without a wait."""
    async with listening() as server:
        stream = await server.connect()
        await stream.send_all(frame("first") * 3)
        assert await names(stream, 1) == ["first"]
        await stream.send_all(frame("second"))
        assert await names(stream, 3) == ["first", "first", "second"]
        await stream.send_all(frame("first"))
        assert await names(stream, 1) == ["first"]
        await stream.aclose()


async def test_a_repeated_command_runs() -> None:
    """A peer that keeps its connection and sends its first command again, after the answer, gets one more."""
    async with listening() as server:
        stream = await server.connect()
        for _ in range(3):
            await stream.send_all(frame("first"))
            assert await names(stream, 1) == ["first"]
        await stream.aclose()


async def test_what_is_there_before_the_answer_leaves_is_read_first() -> None:
    """Copies that arrive while the command runs are known for copies, however slow the peer is to close."""
    async with listening() as server:
        stream = await server.connect()
        await stream.send_all(frame("slow"))
        with trio.fail_after(SECONDS):
            await server.commands.arrived.wait()
        await stream.send_all(frame("slow") * 2)
        server.commands.release.set()
        assert await names(stream, 1) == ["slow"]
        await trio.sleep(REPEAT_WAIT * 2)  # longer than a repeated command would wait
        await stream.aclose()
        assert await names(await _after(server, frame("second")), 1) == ["second"]
        assert server.commands.ran == ["slow", "second"]


async def test_answers_come_in_order() -> None:
    """Different frames in one segment are answered in their order, also when they end with the connection."""
    async with listening() as server:
        stream = await server.connect()
        await stream.send_all(b"".join(frame(f"c{number}") for number in range(20)))
        await stream.send_eof()
        assert await names(stream) == [f"c{number}" for number in range(20)]


async def test_draining() -> None:
    """Idle connections end at once; a command that runs is answered, and nothing after it is."""
    async with listening() as server:
        idle, busy = await server.connect(), await server.connect()
        await idle.send_all(frame("hello"))
        assert await names(idle, 1) == ["hello"]
        await busy.send_all(frame("slow") + frame("never"))
        await server.commands.arrived.wait()
        server.listener.drain()
        assert await names(idle) == []
        server.commands.release.set()
        assert await names(busy) == ["slow"]
        assert "never" not in server.commands.ran


@dataclass
class Left:
    """A listener that takes no more connections, but has one, and the commands that it runs."""

    listener: FrameListener
    commands: Commands
    stream: trio.SocketStream


@asynccontextmanager
async def left_alone(sent: bytes = b"") -> AsyncIterator[Left]:
    """Connect, send something, and have the listener take no more; at the end, all its tasks have ended in time."""
    commands = Commands()
    listener = FrameListener(commands, ListenerLimits(10, 5000, None, None, 5.0))
    (ear,) = open_listeners(["127.0.0.1"], 0)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as serving:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(listener.accept, ear, serving)
                stream = await trio.open_tcp_stream(*address_of(ear))
                await stream.send_all(sent)
                if sent:
                    await commands.arrived.wait()
                await trio.testing.wait_all_tasks_blocked()
                accepting.cancel_scope.cancel()
            yield Left(listener, commands, stream)
    await stream.aclose()


async def test_the_last_answer_ends_a_listener_that_drains() -> None:
    """Its tasks end by themselves, however long the last command took."""
    async with left_alone(frame("slow")) as left:
        left.listener.drain()
        await trio.testing.wait_all_tasks_blocked()
        left.commands.release.set()
        assert await names(left.stream) == ["slow"]


class DrainsInBetween(trio.abc.Instrument):
    """Has the listener drain between two steps of its leader, once so many commands ran."""

    def __init__(self, left: Left, after: int) -> None:
        self._left, self._after = left, after

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if "serve" in task.name and len(self._left.commands.ran) == self._after:
            self._left.listener.drain()


async def test_a_drain_between_two_rounds_ends_the_listener() -> None:
    """The leader does not wait for peers when there are none any more."""
    asked = [f"c{number}" for number in range(tcp._ROUND)]
    async with left_alone() as left:
        trio.lowlevel.add_instrument(DrainsInBetween(left, len(asked)))
        await left.stream.send_all(b"".join(map(frame, asked)))
        assert await names(left.stream) == asked


async def test_a_peer_that_sends_nothing_does_not_keep_a_listener_from_draining(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has a moment for its first frame. Then its connection ends, and so does the listener."""
    monkeypatch.setattr(tcp, "_FIRST_FRAME_SECONDS", 0.05)
    async with left_alone() as left:
        left.listener.drain()
        assert await names(left.stream) == []


async def test_what_is_left_of_an_answer_leaves_while_a_listener_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a peer that nobody watches any more, for it has sent something while its command waited."""
    write, at_once = Peer.write, iter([10])
    monkeypatch.setattr(Peer, "write", lambda peer, data: write(peer, data[: next(at_once, None)]))
    async with left_alone(frame("slow")) as left:
        await left.stream.send_all(frame("never"))
        await trio.testing.wait_all_tasks_blocked()
        left.listener.drain()
        await trio.testing.wait_all_tasks_blocked()
        left.commands.release.set()
        assert await names(left.stream) == ["slow"]


async def test_the_error_is_not_lost_in_a_reset() -> None:
    """A peer that goes on sending after it broke the framing still reads the one error frame and then the end."""
    async with listening() as server:
        stream = await server.connect()
        await stream.send_all(b"junk" + bytes(200_000))
        assert await names(stream) == ["invalid_request"]


async def test_a_connection_too_many() -> None:
    """It is told that the server is busy, although it has sent something, and does not count."""
    async with listening(max_connections=1) as server:
        kept = await server.connect()
        await kept.send_all(frame("hello"))
        assert await names(kept, 1) == ["hello"]
        for _ in range(3):
            other = await server.connect()
            await other.send_all(frame("hello") * 100)
            assert await names(other) == ["server_busy"]
            await other.aclose()
        assert server.listener.connections == 1
        assert server.commands.ran == ["hello"]


async def test_an_idle_connection_ends() -> None:
    """With an idle timeout a connection that says nothing ends without a word."""
    async with listening(idle_timeout=0.05) as server:
        assert await names(await server.connect()) == []


async def test_a_deadline_that_passes_before_the_wait_for_it() -> None:
    """It ends the connection, not the listener: the next one is served."""
    async with listening(idle_timeout=1e-9) as server:
        assert await names(await server.connect()) == []
        stream = await server.connect()
        assert await names(stream) == []
        server.listener.use(ListenerLimits(10, 5000, None, None, 5.0))
        other = await server.connect()
        await other.send_all(frame("hello"))
        assert await names(other, 1) == ["hello"]


async def test_half_a_frame_ends() -> None:
    """With a frame timeout half a frame gets one error frame."""
    async with listening(frame_timeout=0.05) as server:
        stream = await server.connect()
        await stream.send_all(frame("hello")[:-1])
        assert await names(stream) == ["invalid_request"]


async def test_a_peer_that_does_not_read_is_dropped() -> None:
    """When the answers cannot be written in time, the connection ends and its place is free."""
    async with listening(write_timeout=0.05, max_request_bytes=20_000) as server:
        deaf = trio.socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await deaf.connect(("127.0.0.1", server.port))
        stream = trio.SocketStream(deaf)
        server.opened.append(stream)
        with trio.fail_after(SECONDS), pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(frame("a", text="x" * 7000) + frame("b", text="y" * 7000))
        with trio.fail_after(SECONDS):
            while server.listener.connections:
                await trio.sleep(0.001)


async def test_without_room_for_a_connection_it_waits() -> None:
    """Where the process can open no more files the log says so, and who waits is served as soon as there is room."""
    with structlog.testing.capture_logs() as log:
        async with listening() as server:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            gc.collect()  # what earlier tests left behind would give its files back at any moment
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # room for the client's end, not for ours
            try:
                stream = await server.connect()
                await stream.send_all(frame("hello"))
                with trio.fail_after(SECONDS):
                    while not log:
                        await trio.sleep(0.001)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert await names(stream, 1) == ["hello"]
    assert log[0]["event"] == "no_connection_accepted"


async def test_a_bug_ends_one_connection_only(capfd: pytest.CaptureFixture[str]) -> None:
    """A handler that raises ends its connection; the listener goes on."""
    async with listening() as server:
        stream = await server.connect()
        await stream.send_all(frame("break"))
        assert await names(stream) == []
        assert await names(await _after(server, frame("hello")), 1) == ["hello"]


def test_one_port_for_all_addresses() -> None:
    """Port 0 is one free port; an address that is no loopback's cannot be had twice, and the error names it."""
    listeners = open_listeners(["127.0.0.1", "::1"], 0)
    ports = {address_of(ear)[1] for ear in listeners}
    assert len(ports) == 1
    (port,) = ports
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
        open_listeners(["127.0.0.1"], port)
    for ear in listeners:
        ear.close()


def test_nothing_to_listen_on() -> None:
    """An address that this machine does not have is an error, and so is none at all."""
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        open_listeners(["192.0.2.1"], 0)
    with pytest.raises(OSError, match="none of the addresses"):
        open_listeners(["2001:db8::1"], 0)
