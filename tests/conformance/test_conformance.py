"""The table of `cases.py`, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oxd_server.op.key_store import new_key_store
from oxd_server.sandbox.provider.faults import FAULTS
from tests.conformance.cases import CASES, FRONT, Case, run_case
from tests.integration.background import Background, background


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server for all rows; each has an OP of its own."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    new_key_store(folder / "keys.json")
    with background(folder, {"crypt_provider_key_store_path": str(folder / "keys.json"), "https": FRONT}) as both:
        yield both


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_case(running: Background, case: Case) -> None:
    """The row's outcome comes back; after a refusal nothing is stored and the next login succeeds."""
    await run_case(case, running.server, running.folder)


def test_names_are_unique() -> None:
    """No two rows of the report can be mistaken for each other."""
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_fault_has_a_row() -> None:
    """A way to misbehave that is added to the sandbox needs a row here (those of UMA have tests of their own)."""
    assert {fault for case in CASES for fault in case.faults} == {
        name for name in FAULTS if not name.startswith("uma_")
    }
