"""A type checker sees whether the function behind a command takes its params and returns its result."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IMPORTS = """
from oxd_protocol.connect import GET_AUTHORIZATION_URL, GET_USER_INFO, VALIDATE, GetUserInfoParams, GetUserInfoResult
from oxd_protocol.connect import EmptyResult
from oxd_protocol.site import GET_RP, INTROSPECT_ACCESS_TOKEN
from oxd_server.dispatch.dispatcher import on, on_behalf, pass_through
from oxd_server.handlers.connect import get_user_info
from oxd_server.handlers.setup import introspect_access_token
from oxd_server.handlers.site import get_rp
from oxd_server.handlers.status import validate
from oxd_server.rp.services import Services

async def other_params(services: Services, params: str) -> GetUserInfoResult: ...  # type: ignore[empty-body]
async def other_result(services: Services, params: GetUserInfoParams) -> EmptyResult: ...  # type: ignore[empty-body]
"""
FITTING = [
    "on(GET_USER_INFO, get_user_info)",
    "on(VALIDATE, validate)",
    "on_behalf(GET_RP, get_rp)",
    "pass_through(INTROSPECT_ACCESS_TOKEN, introspect_access_token)",
]
WRONG = [
    "on(GET_USER_INFO, validate)",
    "on(GET_USER_INFO, other_params)",
    "on(GET_USER_INFO, other_result)",
    "on(GET_RP, get_rp)",
    "on_behalf(GET_USER_INFO, get_user_info)",
    "on(INTROSPECT_ACCESS_TOKEN, introspect_access_token)",
    "pass_through(GET_USER_INFO, get_user_info)",
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the lines of the table that mypy refuses."""
    source = (IMPORTS + "\n".join([*FITTING, *WRONG])).splitlines()
    table = tmp_path_factory.mktemp("table") / "table.py"
    table.write_text("\n".join(source) + "\n", "utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "setup.cfg"), str(table)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    numbers = re.findall(r"^\S*table\.py:(\d+): error: ", checked.stdout, re.MULTILINE)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    return {source[int(number) - 1] for number in numbers}


@pytest.mark.parametrize("line", FITTING)
def test_what_fits_passes(refused: set[str], line: str) -> None:
    """A handler behind its own command is no error."""
    assert line not in refused


@pytest.mark.parametrize("line", WRONG)
def test_what_does_not_fit_is_refused(refused: set[str], line: str) -> None:
    """A handler with other params, another result or no use for a caller is an error behind that command."""
    assert line in refused


def test_nothing_else_is_refused(refused: set[str]) -> None:
    """The table is all that the type checker minds."""
    assert refused <= {*FITTING, *WRONG}
