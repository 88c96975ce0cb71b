"""What the log's library takes along, and need not."""

import json
import subprocess
import sys

import pytest

from oxd_server.log.absent import absent


def test_a_server_needs_no_rich() -> None:
    """With all that it imports, the library that only a progress bar needs is not there, and can still be had."""
    program = "import json, sys, oxd_server.cli, oxd_server.app; early = 'rich' in sys.modules; import rich"
    told = f"{program}; print(json.dumps([early, rich.__name__]))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [False, "rich"]


def test_what_was_imported_before_is_back_afterwards() -> None:
    """Inside the block there is no such module; afterwards there is the one that was there."""
    with absent("json"), pytest.raises(ModuleNotFoundError):
        import json as _inside  # noqa: F401
    assert sys.modules["json"] is json


def test_what_was_not_imported_can_be_afterwards() -> None:
    """Afterwards nothing of the block is left, also when it fails."""
    name = "this_module_does_not_exist"
    with pytest.raises(ZeroDivisionError), absent(name):
        raise ZeroDivisionError
    assert name not in sys.modules
