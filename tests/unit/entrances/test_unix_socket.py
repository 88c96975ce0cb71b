"""The Unix socket: its file, what may lie in its place, and who is at the other end."""

import errno
import fcntl
import grp
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from oxd_server.entrances.sockets import peer_name
from oxd_server.entrances.unix_socket import check_unix_socket, open_unix_listener

Refusal = Callable[..., OSError]
GROUP = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oxd.sock"


@pytest.fixture(params=[open_unix_listener, check_unix_socket])
def refusal(request: pytest.FixtureRequest, path: Path) -> Refusal:
    """Try to listen, or only ask whether one could: both refuse alike. Return the error."""

    def attempt(group: str | None = None) -> OSError:
        arguments = (path, 0o600, group) if request.param is open_unix_listener else (path, group)
        with pytest.raises(OSError, match=r".") as caught:
            request.param(*arguments)
        assert "\n" not in str(caught.value)
        return caught.value

    return attempt


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0, 0o077])
def test_it_has_its_mode_and_group_whatever_the_umask(path: Path, mode: int, umask: int) -> None:
    """The file is as it shall be, and the umask as it was."""
    before = os.umask(umask)
    try:
        with open_unix_listener(path, mode, GROUP) as listener:
            found = path.stat()
            assert stat.S_IMODE(found.st_mode) == mode
            assert found.st_gid == os.getgid()
            assert listener.getsockname() == str(path)
    finally:
        assert os.umask(before) == umask


def test_the_mode_comes_before_anybody_can_connect(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the group is set, the mode is right already and nobody is let in yet."""
    seen: list[int] = []

    def chown(target: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        seen.append(stat.S_IMODE(target.stat().st_mode))
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(target))
        assert (uid, gid, follow_symlinks) == (-1, os.getgid(), False)

    monkeypatch.setattr(os, "chown", chown)
    open_unix_listener(path, 0o640, GROUP).close()
    assert seen == [0o640]


def test_what_a_dead_server_left_is_replaced(path: Path) -> None:
    """The socket of a server that is gone makes room, and the new one answers."""
    open_unix_listener(path, 0o600, None).close()
    left = path.stat().st_ino
    check_unix_socket(path, None)
    assert path.stat().st_ino == left
    with open_unix_listener(path, 0o600, None), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_one_is_not_replaced(path: Path, refusal: Refusal) -> None:
    """Whoever listens there goes on, also with a full queue."""
    with open_unix_listener(path, 0o600, None) as listener, socket.socket(socket.AF_UNIX) as client:
        error = refusal()
        assert error.errno == errno.EADDRINUSE
        assert str(path) in str(error)
        listener.listen(0)
        listener.accept()[0].close()  # the one that had looked whether anybody is there
        client.connect(str(path))
        assert refusal().errno == errno.EADDRINUSE


@pytest.mark.parametrize("kind", ["file", "link to a file", "link to a socket", "dangling link", "folder"])
def test_anything_else_stays(path: Path, tmp_path: Path, kind: str, refusal: Refusal) -> None:
    """A file, a folder or a link in the place of the socket stops the start, and is as it was afterwards."""
    target = tmp_path / "target"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        if kind == "link to a file":
            target.write_text("precious")
        elif kind == "link to a socket":
            open_unix_listener(target, 0o600, None).close()
        path.symlink_to(target)
    before = path.lstat()
    error = refusal()
    assert "there is something else" in str(error)
    assert path.lstat() == before
    if kind.endswith("file"):
        assert path.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_socket_of_another_user_stays(path: Path, refusal: Refusal) -> None:
    """What somebody else left there is not ours to remove."""
    open_unix_listener(path, 0o600, None).close()
    os.chown(path, 65534, -1)
    assert "belongs to another user" in str(refusal())


def test_folders(path: Path, tmp_path: Path, refusal: Refusal) -> None:
    """A folder where everybody may replace the socket is refused, one with the sticky bit is not; one at a time."""
    tmp_path.chmod(0o777)
    assert "everybody may replace" in str(refusal())
    tmp_path.chmod(0o1777)
    open_unix_listener(path, 0o600, None).close()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert "another server is starting there" in str(refusal())
    os.close(descriptor)
    assert "no group no-such-group" in str(refusal("no-such-group"))


def test_what_cannot_be_bound(tmp_path: Path) -> None:
    """A folder that is not there, and a path that is too long, are named."""
    for path, words in ((tmp_path / "none" / "s", "No such file"), (tmp_path / ("s" * 200), "too long")):
        with pytest.raises(OSError, match=words) as caught:
            open_unix_listener(path, 0o600, None)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(path: Path, tmp_path: Path) -> None:
    """The question is answered before anything is tried."""
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot be written"):
        check_unix_socket(path, None)


def test_who_is_at_the_other_end(path: Path) -> None:
    """The kernel says which process, user and group it is."""
    with open_unix_listener(path, 0o600, None) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        connection, _ = listener.accept()
        with connection:
            assert peer_name(connection) == f"unix pid={os.getpid()} uid={os.getuid()} gid={os.getgid()}"
