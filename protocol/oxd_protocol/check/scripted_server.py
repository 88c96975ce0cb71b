"""A server that answers every command as a scenario says, and keeps what it was sent."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from oxd_protocol.check.scenarios import Scenario
from oxd_protocol.check.sent import MAX_SENT_BYTES, frames_of, request_of

__all__ = ["ScriptedServer", "running"]

_RECEIVE_BYTES: Final = 65_536
_MORE_SECONDS: Final = 0.1
"""Copies of a frame are in flight when the first is here; they are waited for."""
_MAX_CONNECTIONS: Final = 20


class ScriptedServer:
    """Serves each connection in a thread of its own, one frame after the other."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent: list[bytes] = []
        """What came over each connection."""
        if not scenario.listens:
            self._listener.close()

    def serve(self) -> None:
        """Serve until the listener closes."""
        with suppress(OSError):  # it was closed
            for number in range(_MAX_CONNECTIONS):
                connection, _ = self._listener.accept()
                self.sent.append(b"")
                threading.Thread(target=self._serve_one, args=(connection, number), daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):  # nobody was to listen
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve_one(self, connection: socket.socket, number: int) -> None:
        answered = 0
        with connection, suppress(OSError):  # the program may leave when it likes
            while self._receive(connection, number):
                if len(frames_of(self.sent[number])) > answered:
                    self._receive_more(connection, number)
                    bodies = frames_of(self.sent[number])
                    for body in list(dict.fromkeys(bodies[answered:])):
                        if self._scenario.pieces is None:
                            return
                        self._answer(connection, body)
                    answered = len(bodies)

    def _receive(self, connection: socket.socket, number: int) -> bool:
        """Keep what comes next; return False when there is no more, or when it is enough."""
        data = connection.recv(_RECEIVE_BYTES)
        self.sent[number] += data
        return bool(data) and len(self.sent[number]) < MAX_SENT_BYTES

    def _receive_more(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(_MORE_SECONDS)
        more = True
        with suppress(TimeoutError):
            while more:
                more = self._receive(connection, number)
        connection.settimeout(None)

    def _answer(self, connection: socket.socket, body: bytes) -> None:
        assert self._scenario.pieces is not None
        request = request_of(body)
        for piece, pause in self._scenario.pieces("" if request is None else request.command):
            connection.sendall(piece)
            time.sleep(pause)


@contextmanager
def running(scenario: Scenario) -> Iterator[ScriptedServer]:
    """Run a server for a scenario on a free port of 127.0.0.1."""
    server = ScriptedServer(scenario)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
