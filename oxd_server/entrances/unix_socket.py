"""The Unix socket that commands come in by: who may connect is decided by the file system.

The file has its mode and its group before the socket listens, so nobody gets in between. What an earlier server left
behind is replaced. Anything else that lies at the path stays, and stops the start.
"""

import errno
import fcntl
import grp
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["check_unix_socket", "open_unix_listener", "peer_credentials"]

_BACKLOG: Final = 1024
_CREDENTIALS: Final = struct.Struct("3i")


def open_unix_listener(path: Path, mode: int, group: str | None) -> socket.socket:
    """Listen at the path; ``group`` is a name, None leaves that of the process.

    Raises ``OSError``, which names the path, when something else lies there, a server listens there, or the folder
    cannot be used.
    """
    gid = _gid_of(group)
    with _named(path), _alone_in(path.parent):
        if _is_left_behind(path):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            _bind(listener, path, mode)
            if gid is not None:
                os.chown(path, -1, gid, follow_symlinks=False)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    return listener


def check_unix_socket(path: Path, group: str | None) -> None:
    """Find out whether a server could listen at the path, and change nothing. Raises ``OSError`` as above."""
    _gid_of(group)
    with _named(path), _alone_in(path.parent):
        _is_left_behind(path)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "the folder cannot be written")


def peer_credentials(connection: socket.socket) -> str:
    """Return the process, user and group at the other end, for the log: as they were when it connected (unix(7))."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(credentials)
    return f"unix pid={pid} uid={uid} gid={gid}"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say in an error where it was."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno or errno.EINVAL, f"cannot listen on {path}: {reason}") from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other servers that start from looking, removing and binding in the same folder meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise OSError(errno.EPERM, "everybody may replace what lies in the folder")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EAGAIN, "another server is starting there") from None
        yield
    finally:
        os.close(descriptor)


def _is_left_behind(path: Path) -> bool:
    """Tell whether a server that is gone left its socket here; False if nothing is here."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "there is something else")
    if found.st_uid != os.geteuid():
        raise OSError(errno.EEXIST, "the socket there belongs to another user")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except BlockingIOError:  # somebody listens there, and has much to do
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _bind(listener: socket.socket, path: Path, mode: int) -> None:
    """Bind; Linux gives the file the mode of the socket's descriptor, without what the umask takes away."""
    os.fchmod(listener.fileno(), mode)
    before = os.umask(0)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)


def _gid_of(group: str | None) -> int | None:
    try:
        return None if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f"unix_socket_group: there is no group {group}") from None
