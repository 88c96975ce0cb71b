"""Loads that the server has to bear. The long run is ``./scripts/load``; here the same code runs with small numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.hardening.load import MOST_MIB, Figures, Sizes, load_run

pytestmark = pytest.mark.hardening

TINY = Sizes(
    idle=300,
    dribblers=30,
    dribble_seconds=4.0,
    flood_seconds=1.0,
    deaf=5,
    logins=60,
    provider_delay=0.2,
    probes=20,
    config={"op_max_requests_per_host": 5, "max_commands_in_flight": 40},
)


async def test_every_load_is_borne(tmp_path: Path) -> None:
    """Idle, slow, deaf and many clients: memory stays bounded, every login succeeds, overload is told as such."""
    told: list[Figures] = []
    figures = await load_run(tmp_path, TINY, told.append)
    assert figures == told
    assert [one.problems for one in figures] == [()] * 5
    assert all(one.resident_mib <= MOST_MIB for one in figures)
    notes = [one.notes for one in figures]
    assert "+0 bytes" in notes[2]
    assert notes[4].startswith("60 of 60 logged in")
    assert "; 0 times server_busy" not in notes[4]
