"""A Python 2.7 is used only if it really runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.python2 import find_python27


def _program(path: Path, exit_code: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {exit_code}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_shim_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `python2.7` on the PATH that fails is not taken; the version that pyenv holds is."""
    _program(tmp_path / "bin" / "python2.7", 127)
    real = _program(tmp_path / "pyenv" / "versions" / "2.7.18" / "bin" / "python2.7", 0)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert find_python27() == str(real)


def test_none_is_found_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Python 2.7 the answer is None, which a test turns into a skip that says why."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python27() is None
