"""Sockets that were handed over by the convention of systemd's socket activation."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from oxd_server.process.listen_fds import Inherited, hand_over, inherited_from, listeners_of

SHOW = """import json, os
print(json.dumps([dict(os.environ), os.getpid(), [os.fstat(number).st_ino for number in range(3, {end})]]))"""


@pytest.mark.parametrize(
    "environment", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "12"}, {"LISTEN_PID": "11"}, {"LISTEN_FDS": "0"}]
)
def test_nothing_was_handed_over(environment: dict[str, str]) -> None:
    """Without the variables, or with those of another process, there is nothing; and no child finds them."""
    assert inherited_from(environment, 11) == Inherited()
    assert environment == {}


@pytest.mark.parametrize(
    "environment",
    [
        {"LISTEN_FDS": "two"},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "oxd:https"},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "oxd-server.socket"},
    ],
)
def test_what_is_of_no_use(environment: dict[str, str]) -> None:
    """A count that is none, too many names and a name that nobody knows stop the start with a sentence."""
    with pytest.raises(OSError, match="LISTEN_FD"):
        inherited_from(environment, 11)


def test_only_sockets_that_listen() -> None:
    """A socket that does not listen is refused, one that does is made ready."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="no TCP socket that listens"):
            listeners_of([os.dup(bound.fileno())])
        bound.listen()
        (ready,) = listeners_of([os.dup(bound.fileno())])
        with ready:
            assert ready.getsockname() == bound.getsockname()
            assert ready.getblocking() is False


def test_handing_over() -> None:
    """The new program has the descriptors from 3 on in the order of their names, and nothing else of ours."""
    with socket.socket() as one, socket.socket() as two:
        read_end, write_end = os.pipe()
        inherited = Inherited((one.fileno(),), (two.fileno(),), read_end)
        show = [sys.executable, "-c", SHOW.format(end=6)]
        command, variables, descriptors = hand_over(show, inherited)
        done = subprocess.run(
            command, env={**os.environ, **variables}, pass_fds=descriptors, capture_output=True, check=True
        )
        environment, pid, inodes = json.loads(done.stdout)
        assert inodes == [os.fstat(number).st_ino for number in descriptors]
        os.close(read_end)
        os.close(write_end)
    assert environment["LISTEN_FDNAMES"] == "oxd:https:lifeline"
    assert environment["LISTEN_PID"] == str(pid)


def test_descriptors_that_stand_in_each_others_places() -> None:
    """Descriptors 4 and 3 become 3 and 4: each is where it belongs, none is lost."""
    first, second = os.pipe()
    show = [sys.executable, "-c", SHOW.format(end=5)]
    command, variables, _ = hand_over(show, Inherited((4,), (3,)))
    shell = ["bash", "-c", f'exec "$@" 3<&{first} 4>&{second}', "bash", *command]
    done = subprocess.run(
        shell, env={**os.environ, **variables}, pass_fds=(first, second), capture_output=True, check=True
    )
    assert json.loads(done.stdout)[2] == [os.fstat(second).st_ino, os.fstat(first).st_ino]
    os.close(first)
    os.close(second)
