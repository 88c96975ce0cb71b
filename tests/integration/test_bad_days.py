"""The short version of the OP's bad days; ./scripts/bad_days runs all of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.hardening

SCRIPT = Path(__file__).parents[2] / "scripts" / "bad_days"


def test_every_command_at_an_op_that_fails() -> None:
    """Each command answers in time with the right code, others go on, and all is well when the OP is back."""
    done = subprocess.run([SCRIPT, "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    summary = re.search(r"^(\d+) commands on bad days, 0 problems$", done.stdout, re.MULTILINE)
    assert summary, done.stdout
    assert int(summary.group(1)) > 250
