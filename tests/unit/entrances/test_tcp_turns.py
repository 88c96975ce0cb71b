"""Who leads, whose turn it is and who waits, over real sockets: no command holds up another one."""

import socket
import time
from contextvars import ContextVar

import pytest
import trio
import trio.testing

from oxd_protocol.messages import Response
from oxd_server.entrances import tcp
from oxd_server.entrances.tcp import FrameListener
from oxd_server.observe.call import Caller
from tests.unit.entrances.listening import SECONDS, Commands, Listening, frame, listening, names


async def test_who_takes_the_lead_does_not_know_what_the_other_command_knew() -> None:
    """A command that waits keeps its context to itself; the others run meanwhile, each in a context without it."""
    known: ContextVar[str] = ContextVar("known", default="nothing")
    seen: list[tuple[str, str]] = []

    class Knowing(Commands):
        async def __call__(self, name: str, params: dict[str, object], caller: Caller) -> Response:
            token = known.set(name) if name == "slow" else None
            try:
                return await super().__call__(name, params, caller)
            finally:
                seen.append((name, known.get()))
                if token is not None:
                    known.reset(token)

    async with listening(Knowing()) as server:
        waiting, others = await server.connect(), await server.connect()
        await waiting.send_all(frame("slow") + frame("after"))
        with trio.fail_after(SECONDS):
            await server.commands.arrived.wait()
        for name in ("one", "two"):
            await others.send_all(frame(name))
            assert await names(others, 1) == [name]
        server.commands.release.set()
        assert await names(waiting, 2) == ["slow", "after"]
    assert seen == [("one", "nothing"), ("two", "nothing"), ("slow", "slow"), ("after", "nothing")]


async def test_many_wait_at_once() -> None:
    """Commands that wait do not keep others from theirs, however many they are, and all are answered."""
    async with listening(max_connections=60) as server:
        waiting = [await server.connect() for _ in range(50)]
        for stream in waiting:
            await stream.send_all(frame("slow"))
        with trio.fail_after(SECONDS):
            while len(server.commands.ran) < len(waiting):
                await trio.sleep(0.001)
        quick = await server.connect()
        await quick.send_all(frame("quick"))
        assert await names(quick, 1) == ["quick"]
        server.commands.release.set()
        for stream in waiting:
            assert await names(stream, 1) == ["slow"]


async def test_an_answer_does_not_wait_for_the_commands_beside_it() -> None:
    """Of commands that came at once, those that need not wait are answered while the others do."""
    async with listening() as server:
        one, waiting, two = _at_once(server, "one", "slow", "two")
        assert await names(one, 1) == ["one"]
        assert await names(two, 1) == ["two"]
        assert not server.commands.release.is_set()
        server.commands.release.set()
        assert await names(waiting, 1) == ["slow"]


async def test_who_led_in_between_leaves_nobody_behind() -> None:
    """Where many had to wait, several tasks take the lead one after the other; in the end one does, as before."""
    async with listening(max_connections=60) as server:
        (first,) = _at_once(server, "first")
        assert await names(first, 1) == ["first"]
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        streams = _at_once(server, *["slow"] * 20, *["quick"] * 20)
        waiting, quick = streams[:20], streams[20:]
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before + len(waiting)
        for stream in quick:
            assert await names(stream, 1) == ["quick"]
        server.commands.release.set()
        for stream in waiting:
            assert await names(stream, 1) == ["slow"]
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert await names(await _sent(server, "last"), 1) == ["last"]


async def test_a_peer_that_reads_late_gets_every_answer_whole() -> None:
    """What the system does not take of an answer leaves when the peer has read, and nobody else waits for that."""
    async with listening(max_request_bytes=20_000) as server:
        late = trio.socket.socket()
        late.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await late.connect(("127.0.0.1", server.port))
        stream = trio.SocketStream(late)
        server.opened.append(stream)
        asked = [f"c{number}" for number in range(2000)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"".join(frame(name, text="x" * 5000) for name in asked))
            await trio.testing.wait_all_tasks_blocked()
            assert len(server.commands.ran) < len(asked)
            assert await names(await _sent(server, "another"), 1) == ["another"]
            assert await names(stream, len(asked)) == asked


class Jumps(trio.abc.Instrument):
    """Sees how many commands ran between one step of a task and the next."""

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran
        self._before = len(ran)
        self.longest = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.longest = max(self.longest, len(self._ran) - self._before)
        self._before = len(self._ran)


async def test_who_leads_in_between_lets_other_tasks_run() -> None:
    """However much peers have sent in advance, no task runs command after command without an end."""
    many = [f"c{number}" for number in range(300)]
    async with listening() as server:
        jumps = Jumps(server.commands.ran)
        trio.lowlevel.add_instrument(jumps)
        _at_once(server, *["slow"] * 5)
        floods = _at_once(server, *[many] * 3)
        for stream in floods:
            assert await names(stream, len(many)) == many
        trio.lowlevel.remove_instrument(jumps)
    assert jumps.longest < 100


def _at_once(server: Listening, *sent: str | list[str]) -> list[trio.SocketStream]:
    """Connect for each command, or row of commands, and send it, so that the listener finds all when it looks."""
    streams = []
    for one in sent:
        sock = socket.create_connection(("127.0.0.1", server.port))
        sock.sendall(b"".join(map(frame, [one] if isinstance(one, str) else one)))
        sock.setblocking(False)
        streams.append(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
    server.opened.extend(streams)
    return streams


async def _sent(server: Listening, name: str) -> trio.SocketStream:
    stream = await server.connect()
    await stream.send_all(frame(name))
    return stream


async def test_what_a_waiting_peer_sends_keeps_nobody_awake() -> None:
    """What comes while a command waits is left where it is; then it runs."""
    async with listening() as server:
        stream = await server.connect()
        await stream.send_all(frame("slow"))
        with trio.fail_after(SECONDS):
            await server.commands.arrived.wait()
            for name in ("one", "two"):
                await stream.send_all(frame(name))
                await trio.testing.wait_all_tasks_blocked()
        assert server.commands.ran == ["slow"]
        server.commands.release.set()
        assert await names(stream, 3) == ["slow", "one", "two"]


class Steps(trio.abc.Instrument):
    """Counts how often a task that serves a connection had its turn."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += "serve" in task.name


@pytest.mark.parametrize("peers", [1, 2, 5])
async def test_a_flood_without_a_frame_gives_way_to_the_others(peers: int) -> None:
    """Peers whose bytes are always there, but never a frame, get one read a turn: the others have theirs."""
    reads, read_bytes = 12, 16_384
    async with listening() as server, trio.open_nursery() as nursery:
        streams = _at_once(server, *["first"] * peers)
        for stream in streams:
            assert await names(stream, 1) == ["first"]
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for stream in streams:
            nursery.start_soon(stream.send_all, b" " * reads * read_bytes + frame("second"))
        for stream in streams:
            assert await names(stream, 1) == ["second"]
        trio.lowlevel.remove_instrument(steps)
    assert steps.count >= reads


@pytest.mark.parametrize("others_wait", [False, True])
async def test_a_peer_that_comes_back_at_once(monkeypatch: pytest.MonkeyPatch, *, others_wait: bool) -> None:
    """After some short waits the leader looks around for a moment, unless a turn waits in a task of its own."""
    look, moments = FrameListener._look_for_a_moment, list[int]()

    def noted(listener: FrameListener) -> int:
        moments.append(look(listener))
        return moments[-1]

    monkeypatch.setattr(FrameListener, "_look_for_a_moment", noted)
    monkeypatch.setattr(tcp, "_MOMENT", 0.5)
    asked = [f"c{number}" for number in range(20)]

    def think_and_send(sock: socket.socket, name: str) -> int:
        time.sleep(0.002)  # longer than the server takes to look around once
        return sock.send(frame(name))

    def call(port: int) -> list[bytes]:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            return [sock.recv(65536) for name in asked if think_and_send(sock, name)]

    async with listening() as server:
        if others_wait:
            await _sent(server, "slow")
            await server.commands.arrived.wait()
        assert len(await trio.to_thread.run_sync(call, server.port)) == len(asked)
        assert any(moments) is not others_wait
        assert await names(await _sent(server, "last"), 1) == ["last"]
    assert server.commands.ran[-len(asked) - 1 :] == [*asked, "last"]
