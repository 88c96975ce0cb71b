"""The TCP entrance: sockets in, frames through ``oxd_protocol.connection``, commands to the dispatcher.

Theory of operation. Most commands are answered from memory, in less time than the event loop needs to wake a task. So
connections have no tasks of their own. One task leads: it waits for all peers at once, and serves whoever has sent
something.

- The leader looks around: it asks the selector which sockets can be read, and reads once from each. The selector holds
  those of the peers, and the one where new peers connect.
- A peer that has sent a whole frame stands in line. Each turn runs one command of one peer. A peer that has sent more
  stands in line again, behind the others.
- The answers of some turns leave together, after the last of them. To send is to walk through the whole network stack,
  and the receiver's half of it too: a processor that has been there has to fetch the program of the next command anew.
- When everybody has had a turn, the leader looks around again at once. After a look in vain it waits until a socket can
  be read, and other tasks run meanwhile. After ``_ROUND`` turns it lets them run in any case, and after each look that
  brought bytes but no command.
- To fall asleep and wake up costs more than a command. So where the last waits were shorter than that, the leader goes
  on to look around for such a moment before it waits: a peer that sends one command after the other is served without
  a wait. One moment in vain, and the leader waits again. While a turn waits in a task of its own, it waits at once.
- A turn that need not wait (for an OP, the disk, a peer that does not read) is as good as a function call. One that
  has to wait is finished in the task where it began, for trio knows it by that task. But before it waits, it hands the
  lead to a new task. When it is done, its task ends.
- Where turn after turn has to wait, each gets its task in the same round of the event loop: the lead goes to several
  new tasks at once. They take it one after the other. The last of them goes on to look around, and those for whom no
  turn is left end.
- From when it stands in line to the end of its turn, a peer is busy, and nothing is read from it. Mostly it sends
  nothing meanwhile. If it does, the next leader takes it out of the selector, and the end of the turn puts it back.

This is the pattern of leader and followers. There is one path for every command, and a command may do what it likes: it
does not matter who runs it, and nothing is handed from task to task but the lead.

Every read and write is bounded in size and time. When the server drains, connections that wait for their peer's next
frame close at once, and the others after their answer.
"""

import contextvars
import math
import selectors
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
import trio

from oxd_protocol.connection import CLOSED, Wait
from oxd_protocol.errors import CommandError, FramingError
from oxd_protocol.messages import Response, decode_request, encode_response, error_response
from oxd_server.entrances.deadlines import Deadlines
from oxd_server.entrances.refusals import Refusals
from oxd_server.entrances.sockets import accept_waiting
from oxd_server.entrances.tcp_peer import ListenerLimits, Peer
from oxd_server.observe.call import Caller
from oxd_server.sync.first_wait import finish, run_to_first_wait

__all__ = ["CommandHandler", "FrameListener"]

CommandHandler = Callable[[str, dict[str, object], Caller], Awaitable[Response]]
"""Takes a command's name, its raw params and who sends it; answers whatever happens (only cancellation is raised)."""

_ROUND: Final = 64
_TOGETHER: Final = 16
_MOMENT: Final = 200e-6
"""Seconds that the leader looks around for before it waits. To wait costs about as much."""
_SHORT_WAITS: Final = 3
_FULL_SECONDS: Final = 0.1
_FIRST_FRAME_SECONDS: Final = 1.0


class _Rest(msgspec.Struct, frozen=True):
    """What a peer has still to take of its answer."""

    unsent: bytes


class FrameListener:
    """Serves frames on connections until ``drain`` is called."""

    def __init__(self, handle: CommandHandler, limits: ListenerLimits, refusals: Refusals | None = None) -> None:
        """``refusals`` is told of what is refused before there is a command."""
        self._handle = handle
        self._limits = limits
        self._refusals = refusals or Refusals()
        self._connections = 0
        self._selector = selectors.DefaultSelector()
        self._deadlines = Deadlines()
        self._line: deque[tuple[Peer, bytes | Exception | _Rest]] = deque()
        self._answers: list[tuple[Peer, bytes]] = []
        self._full = trio.Event()
        self._to_begin = 0  # tasks that will lead
        self._waiting = 0  # turns that wait, in tasks of their own
        self._waits_in_a_row = 0  # turns that had to wait, since one that had not
        self._short_waits = 0  # of the leader, since a long one
        self._draining = False
        self._drained_at = math.inf
        self._log = structlog.get_logger("oxd_server.entrances.tcp")

    @property
    def connections(self) -> int:
        """How many connections are being served."""
        return self._connections

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Serve everybody who connects, in tasks of the nursery; when cancelled, take no more and close the listener.

        Those who have connected are served until ``drain``, or until the nursery is cancelled.
        """
        self._nursery, self._context = nursery, contextvars.copy_context()
        self._hand_on()
        with listener:
            while True:
                self._selector.register(listener, selectors.EVENT_READ)
                try:
                    await self._full.wait()
                finally:
                    self._selector.unregister(listener)
                self._full = trio.Event()
                await trio.sleep(_FULL_SECONDS)

    def use(self, limits: ListenerLimits) -> None:
        """Hold those who connect from now on to other limits."""
        self._limits = limits

    def drain(self) -> None:
        """Close every connection that waits for its peer, and the others after their answer.

        What has been read is answered. Whoever has just connected has a moment to send the frame that it came for.
        """
        if not self._draining:
            self._draining, self._drained_at = True, time.monotonic() + _FIRST_FRAME_SECONDS
        for key in tuple(self._selector.get_map().values()):
            if key.data is not None and not key.data.busy:
                self._go_on(key.data, time.monotonic())
        self._wake_leader()

    def _give_up(self) -> None:
        """Close every connection now: nobody serves them any more."""
        self._draining = True
        at_rest = {key.data for key in self._selector.get_map().values() if key.data is not None and not key.data.busy}
        for peer in at_rest | {peer for peer, _ in (*self._line, *self._answers)}:
            self._close(peer)
        self._line.clear()
        self._answers.clear()

    def _hand_on(self) -> None:
        """Have somebody else lead. If turns had to wait of late, the next ones get a task each, all of them at once."""
        wanted = min(len(self._line), self._waits_in_a_row, _TOGETHER)
        while self._to_begin < max(wanted, 1):
            self._to_begin += 1
            # In a context of its own: a command that hands the lead on has noted its secrets in that of its task.
            self._context.run(self._nursery.start_soon, self._serve)

    def _wake_leader(self) -> None:
        """End its wait, if it waits: somebody stands in line, or the listener drains."""
        trio.lowlevel.notify_closing(self._selector.fileno())

    async def _serve(self) -> None:
        """Lead, until a turn has to wait; then finish that turn."""
        try:
            await self._lead()
        except trio.Cancelled:
            self._give_up()
            raise
        # At the end of its turn, this task may have put something there, or closed the last connection of all.
        if self._line or self._draining:
            self._wake_leader()

    async def _lead(self) -> None:
        self._to_begin -= 1
        turns = 0  # since other tasks could run
        while self._has_work():
            if self._to_begin:  # the last to begin looks around
                if turns >= _ROUND or not self._line:
                    return
            else:
                if turns >= _ROUND:
                    turns = 0
                    await trio.lowlevel.checkpoint()
                found = self._look_around()
                if not found and not self._line and not self._waiting and self._short_waits >= _SHORT_WAITS:
                    found = self._look_for_a_moment()
                    turns += _ROUND // 4  # other tasks wait for that too
                if not self._line:
                    turns = 0
                    if found:  # bytes, but no command: that is no reason to look for a moment
                        self._short_waits = 0
                        await trio.lowlevel.checkpoint()
                    elif self._has_work():  # it may have ended since: nothing would end the wait
                        await self._wait()
            for _ in range(min(len(self._line), _TOGETHER)):
                turns += 1
                peer, event = self._line.popleft()
                turn = self._take_turn(peer, event)
                trap = run_to_first_wait(turn)
                if trap is not None:
                    self._send_answers()
                    peer.away = True
                    self._waits_in_a_row += 1
                    self._hand_on()
                    self._waiting += 1
                    try:
                        await finish(turn, trap)
                    finally:
                        self._waiting -= 1
                    self._send_answers()
                    return
                self._waits_in_a_row = 0
            self._send_answers()

    def _has_work(self) -> bool:
        """Whether somebody is served, or may come."""
        return bool(not self._draining or self._line or self._connections or self._selector.get_map())

    def _look_for_a_moment(self) -> int:
        """Look around again and again until a socket can be read, or the moment is over."""
        until = time.monotonic() + _MOMENT
        while time.monotonic() < until:
            if found := self._look_around():
                return found
        self._short_waits = 0
        return 0

    def _look_around(self) -> int:
        """Read from those who have sent something, accept those who connect, and see whose time is over.

        Return how many sockets could be read.
        """
        now = time.monotonic()
        readable = self._selector.select(0)
        for key, _ in readable:
            peer = key.data
            if peer is None:
                self._accept(key.fileobj, now)  # type: ignore[arg-type]
            elif not peer.busy:
                self._read(peer, now)
            elif peer.away:
                self._unwatch(peer)
        peers = self._selector.get_map()
        for number in self._deadlines.pop_passed(now):
            if number in peers and not peers[number].data.busy:
                self._go_on(peers[number].data, now)
        return len(readable)

    async def _wait(self) -> None:
        """Wait until a socket can be read, or a deadline passes."""
        began, until = time.monotonic(), self._deadlines.earliest()
        try:
            if until == math.inf:
                await trio.lowlevel.wait_readable(self._selector.fileno())
            else:
                with trio.move_on_after(max(until - began, 0)):
                    await trio.lowlevel.wait_readable(self._selector.fileno())
        except trio.ClosedResourceError:
            pass  # see ``_wake_leader``
        self._short_waits = self._short_waits + 1 if time.monotonic() - began < _MOMENT else 0

    def _accept(self, listener: socket.socket, now: float) -> None:
        try:
            for connection in accept_waiting(listener):
                peer = Peer(connection, self._limits)
                if self._connections < self._limits.max_connections:
                    peer.admitted = True
                    self._connections += 1
                    self._read(peer, now)  # mostly its first frame is here
                else:
                    self._refusals.connection(peer.caller.peer, "max_connections")
                    self._put_in_line(peer, CommandError("server_busy"))
        except OSError as error:
            if not self._full.is_set():
                self._log.error("no_connection_accepted", reason=str(error))
                self._full.set()

    def _read(self, peer: Peer, now: float) -> None:
        try:
            data = peer.read()
        except OSError:  # the peer has gone
            self._close(peer)
            return
        if data is not None:
            peer.connection.receive_data(data)
        self._go_on(peer, now)

    def _go_on(self, peer: Peer, now: float) -> None:
        """Find out what is next for this peer: its turn, a wait, or the end."""
        try:
            event = CLOSED if self._draining and self._is_over(peer, now) else peer.connection.next_event(now)
        except FramingError as error:
            self._put_in_line(peer, error)
            return
        if isinstance(event, bytes):
            self._put_in_line(peer, event)
        elif isinstance(event, Wait):
            until = min(event.until or math.inf, self._drained_at) if self._draining else event.until
            self._deadlines.set(peer.number, until)
            if not peer.watched:
                peer.watched = True
                self._selector.register(peer.socket, selectors.EVENT_READ, peer)
        else:
            self._close(peer)

    def _is_over(self, peer: Peer, now: float) -> bool:
        return peer.answered or now >= self._drained_at

    def _put_in_line(self, peer: Peer, event: bytes | Exception | _Rest) -> None:
        peer.busy = True
        self._line.append((peer, event))

    async def _take_turn(self, peer: Peer, event: bytes | Exception | _Rest) -> None:
        """Run the command of this frame, or send the rest of its answer, or tell the peer what was wrong.

        The answer is for ``_send_answers``. A turn that ends without one ends the connection.
        """
        answer: bytes | None = None
        try:
            try:
                if isinstance(event, bytes):
                    peer.frame_bytes = len(event)
                    answer = encode_response(await self._run(peer, event))
                elif isinstance(event, Exception):
                    raise event
                else:
                    await peer.send(event.unsent)
                    answer = b""
            except (CommandError, FramingError) as error:
                if peer.admitted:
                    self._refusals.frame(peer.caller.peer, error.code, str(error))
                await peer.send(encode_response(error_response(error)))
                await peer.linger()
        except (OSError, trio.TooSlowError):
            pass  # one-shot libraries leave as soon as they have their answer, and some without reading it
        except Exception as error:
            self._log.error("connection_failed", exc_info=error)
        finally:
            if answer is None:
                self._close(peer)
            else:
                self._answers.append((peer, answer))

    def _send_answers(self) -> None:
        """Send what the turns up to now came to. Those who got their whole answer may go on."""
        if not self._answers:
            return
        answers, self._answers = self._answers, []
        now = time.monotonic()
        for peer, answer in answers:
            try:
                if not peer.answered and peer.connection.expects_copies:
                    peer.receive_waiting(2 * peer.frame_bytes)
                sent = peer.write(answer) if answer else 0
            except OSError:  # one-shot libraries leave as soon as they have their answer
                self._close(peer)
                continue
            peer.answered, peer.busy, peer.away = True, False, False
            if sent < len(answer):
                self._put_in_line(peer, _Rest(answer[sent:]))
            else:
                self._go_on(peer, now)

    def _run(self, peer: Peer, frame: bytes) -> Awaitable[Response]:
        """Return what the frame's command comes to. Raises ``FramingError`` for a frame that holds no JSON object."""
        try:
            request = decode_request(frame)
        except CommandError as error:
            self._refusals.frame(peer.caller.peer, error.code, str(error))
            return _ready(error_response(error))
        return self._handle(request.command, request.params, peer.caller)

    def _unwatch(self, peer: Peer) -> None:
        if peer.watched:
            peer.watched = False
            self._selector.unregister(peer.socket)

    def _close(self, peer: Peer) -> None:
        self._unwatch(peer)
        self._deadlines.set(peer.number, None)
        self._connections -= peer.admitted
        peer.socket.close()


async def _ready(response: Response) -> Response:
    return response
