"""Figures of the process, and room for many connections."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from oxd_server.process.figures import open_files, resident_kib

RAISE = (
    "from oxd_server.process.figures import raise_open_files as r; import resource; print(r(), *resource.getrlimit(7))"
)


def test_limit_of_open_files_is_raised() -> None:
    """A process that starts with a low soft limit of open files gets all that the hard one allows."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1024))

    assert resource.RLIMIT_NOFILE == 7
    done = subprocess.run([sys.executable, "-c", RAISE], preexec_fn=lower, capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["1024", "1024", "1024"]


def test_figures_of_this_process(tmp_path: Path) -> None:
    """Open files are counted one by one, memory is that of a Python process."""
    before = open_files()
    assert before is not None
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        assert open_files() == before + 2
    memory = resident_kib()
    assert memory is not None
    assert 1000 < memory < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024
