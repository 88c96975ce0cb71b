"""The number in shared memory that says whether somebody has committed."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from oxd_server.store import StoreError, StoreUnavailable, open_file_store
from oxd_server.store.commit_mark import CommitMark, mark_path


def test_what_one_says_all_see(tmp_path: Path) -> None:
    """Another number each time, in this process and in others, for nobody but the file's owner."""
    store = tmp_path / "oxd.sqlite"
    ours, theirs = CommitMark(store), CommitMark(store)
    assert mark_path(store).stat().st_mode & 0o777 == 0o600
    seen = {ours.numbers[0]}
    for mark in (ours, theirs, ours):
        mark.renew()
        assert ours.numbers[0] == theirs.numbers[0]
        seen.add(ours.numbers[0])
    program = f"""
from pathlib import Path
from oxd_server.store.commit_mark import CommitMark
CommitMark(Path({str(store)!r})).renew()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    seen.add(ours.numbers[0])
    assert ours.numbers[0] == theirs.numbers[0]
    assert len(seen) == 5
    ours.close()
    theirs.close()


def test_the_last_one_removes_it(tmp_path: Path) -> None:
    """Not before; and one that a killed process has left behind is used again."""
    store = tmp_path / "oxd.sqlite"
    first, second = CommitMark(store), CommitMark(store)
    first.close()
    second.renew()
    third = CommitMark(store)
    assert third.numbers[0] == second.numbers[0]
    second.close()
    assert mark_path(store).exists()
    third.close()
    assert not mark_path(store).exists()


def test_one_that_goes_while_it_is_opened_is_made_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes while the last one leaves does not use the file that nobody else will find."""
    store = tmp_path / "oxd.sqlite"
    leaving = CommitMark(store)
    original = fcntl.flock

    def flock(number: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", original)
        original(number, operation)
        mark_path(store).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    late = CommitMark(store)
    another = CommitMark(store)
    late.renew()
    assert another.numbers[0] == late.numbers[0]
    for mark in (late, another, leaving):
        mark.close()


async def test_one_that_cannot_be_made(tmp_path: Path) -> None:
    """A store says so in one line."""
    path = tmp_path / "oxd.sqlite"
    mark_path(path).mkdir()
    with pytest.raises(StoreError, match="commit mark"):
        async with open_file_store(path):
            pass


async def test_one_that_is_removed_under_a_store(tmp_path: Path) -> None:
    """Then nobody could be told of a commit: nothing is written any more."""
    path = tmp_path / "oxd.sqlite"
    async with open_file_store(path) as store:
        mark_path(path).unlink()
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            await store.unspend(b"token")
