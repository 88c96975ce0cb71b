"""`oxd-protocol check` on real libraries: what is known of them is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oxd_protocol.check.runner import check
from tests.integration.python2 import NO_PYTHON27, OXDPYTHON_FOLDER, find_python27

SECONDS = 20
COPIES = Path(__file__).with_name("copies.php")
BODY = json.dumps({"command": "get_rp", "params": {"oxd_id": "x"}}, separators=(",", ":"))
OXDPYTHON = """
import os, sys
sys.path.insert(0, sys.argv[1])
from oxdpython import Client
with open(sys.argv[2], "w") as config:
    config.write('''[oxd]
host = 127.0.0.1
port = %s
[client]
op_host = https://op.example.org
authorization_redirect_uri = https://app.example.org/cb
scope = openid
''' % os.environ["OXD_PORT"])
print(Client(sys.argv[2]).register_site())
"""


def test_oxdpython(tmp_path: Path) -> None:
    """The Python library breaks no rule."""
    python = find_python27()
    if python is None:
        pytest.skip(NO_PYTHON27)
    (tmp_path / "register.py").write_text(OXDPYTHON)
    command = [python, str(tmp_path / "register.py"), str(OXDPYTHON_FOLDER), str(tmp_path / "oxd.cfg")]
    verdicts = list(check(command, SECONDS))
    assert [verdict for verdict in verdicts if verdict.outcome != "kept"] == []


@pytest.mark.php
def test_what_php_does() -> None:
    """A frame that is written twice is seen, and so is an answer that is read once only."""
    verdicts = list(check(["php", str(COPIES), "{port}", "1", "2", BODY], SECONDS))
    broken = {verdict.name: verdict.reason for verdict in verdicts if verdict.outcome == "broken"}
    assert broken["sent once"] == "the first frame came 2 times"
    assert "no answer" in broken  # it ends with 0 whatever happens
    assert "four digits" not in broken
