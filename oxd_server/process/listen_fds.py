"""Sockets that another process opened for this one, by the convention of systemd's socket activation.

`LISTEN_FDS` says how many file descriptors were handed over, from 3 on, and `LISTEN_FDNAMES` what each is for, joined
with colons. `LISTEN_PID` is the process that they are meant for (sd_listen_fds(3)). systemd speaks it to
`oxd-server serve`, and so does the supervisor to its workers.
"""

import errno
import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import ExitStack
from typing import Final

import msgspec
from msgspec.structs import replace

from oxd_server.process import place_descriptors
from oxd_server.process.service_manager import NOBODY, ServiceManager, service_manager_from

__all__ = ["HTTPS", "LIFELINE", "METRICS", "SOCKET", "Inherited", "hand_over", "inherited_from", "listeners_of"]

SOCKET: Final = "oxd"
HTTPS: Final = "https"
METRICS: Final = "metrics"
LIFELINE: Final = "lifeline"
"""A pipe that ends with the supervisor: only a worker has one."""
READY: Final = "ready"
"""A pipe on which the process says that it serves: workers and successors have one."""
WORKER_NUMBER: Final = "WORKER_NUMBER"
"""The variable in which the supervisor tells a worker its number."""

_START: Final = 3
_MOST_DIGITS: Final = 4
_VARIABLES: Final = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID")


class Inherited(msgspec.Struct, frozen=True):
    """What was handed to this process: sockets that listen, a worker's lifeline and number, and whom to tell.

    ``ready`` is the pipe to say on that this process serves (see ``starting``).
    """

    command_sockets: tuple[int, ...] = ()
    https_sockets: tuple[int, ...] = ()
    lifeline: int | None = None
    ready: int | None = None
    manager: ServiceManager = NOBODY
    worker: int | None = None
    metrics_sockets: tuple[int, ...] = ()


def inherited_from(environment: MutableMapping[str, str], pid: int) -> Inherited:
    """Take what was handed to the process with this id; its children shall not take it for theirs.

    Raises:
        OSError: what was handed over is of no use here.
    """
    return replace(_descriptors_from(environment, pid), manager=service_manager_from(environment))


def _descriptors_from(environment: MutableMapping[str, str], pid: int) -> Inherited:
    count, names, meant_for = (environment.pop(name, None) for name in _VARIABLES)
    number = environment.pop(WORKER_NUMBER, None)
    if count is None or (meant_for is not None and meant_for != str(pid)):
        return Inherited()
    if not count.isdecimal() or len(count) > _MOST_DIGITS:
        raise OSError(errno.EINVAL, "LISTEN_FDS is no number")
    descriptors = range(_START, _START + int(count))
    # Without names there is one thing that the sockets can be for.
    known = names.split(":") if names else [SOCKET] * len(descriptors)
    if len(known) != len(descriptors) or not set(known) <= {SOCKET, HTTPS, METRICS, LIFELINE, READY}:
        raise OSError(errno.EINVAL, f"LISTEN_FDNAMES names {len(descriptors)} sockets {SOCKET}, {HTTPS} or {METRICS}")
    try:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
    except OSError:
        raise OSError(errno.EBADF, f"LISTEN_FDS names {count} file descriptors that are not all open") from None
    by_name = {name: tuple(fd for fd, its in zip(descriptors, known, strict=True) if its == name) for name in known}
    return Inherited(
        by_name.get(SOCKET, ()),
        by_name.get(HTTPS, ()),
        next(iter(by_name.get(LIFELINE, ())), None),
        next(iter(by_name.get(READY, ())), None),
        metrics_sockets=by_name.get(METRICS, ()),
        worker=int(number) if number is not None and number.isdecimal() else None,
    )


def listeners_of(descriptors: Sequence[int], *, unix: bool = False) -> list[socket.socket]:
    """Return the sockets, ready for use here. With ``unix``, they may be Unix sockets.

    Raises:
        OSError: one is no such socket that listens.
    """
    families = {socket.AF_INET, socket.AF_INET6} | ({socket.AF_UNIX} if unix else set())
    kind = "TCP or Unix" if unix else "TCP"
    with ExitStack() as opened:
        listeners = [opened.enter_context(socket.socket(fileno=descriptor)) for descriptor in descriptors]
        for listener in listeners:
            listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listener.family not in families or listener.type != socket.SOCK_STREAM or not listens:
                raise OSError(errno.EINVAL, f"the file descriptor {listener.fileno()} is no {kind} socket that listens")
            listener.setblocking(False)
            if listener.family != socket.AF_UNIX:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for the connections, which inherit it
        opened.pop_all()
    return listeners


def hand_over(command: Sequence[str], inherited: Inherited) -> tuple[list[str], dict[str, str], tuple[int, ...]]:
    """Return how to start `command` with these descriptors: what to run, what to add to its environment, what to pass.

    The program in between moves them to where the convention wants them, and becomes the command.
    """
    named = [(SOCKET, fd) for fd in inherited.command_sockets] + [(HTTPS, fd) for fd in inherited.https_sockets]
    named += [(METRICS, fd) for fd in inherited.metrics_sockets]
    named += [(name, fd) for name, fd in ((LIFELINE, inherited.lifeline), (READY, inherited.ready)) if fd is not None]
    descriptors = tuple(fd for _, fd in named)
    variables = {"LISTEN_FDS": str(len(named)), "LISTEN_FDNAMES": ":".join(name for name, _ in named)}
    if inherited.worker is not None:
        variables[WORKER_NUMBER] = str(inherited.worker)
    return place_descriptors.command(descriptors, command), variables, descriptors
