"""Mixed commands for a while. The long run is ``./scripts/soak``; here the same code runs for some seconds."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.hardening.soak import Plan, growths, picture, soak_run

pytestmark = pytest.mark.hardening


async def test_mixed_commands_for_a_while(tmp_path: Path) -> None:
    """The provider restarts and changes its keys, and no command fails but while it is away; nothing piles up."""
    plan = Plan(seconds=8.0, sample_every=1.0, restart_every=3.0, rotate_every=5.0, calibration=1.0)
    outcome = await soak_run(tmp_path, plan, show=False)
    assert outcome.exit_code == 0
    assert outcome.traffic.unexpected == {}
    assert outcome.traffic.logins > 0
    assert outcome.restarts
    assert outcome.rotations
    assert len(outcome.samples) >= 3
    assert {one.name for one in growths(outcome.samples) if not one.is_fine} <= {
        "latency / control's", "CPU per command, ms", "store, KiB",
    }  # fmt: skip
    drawn = tmp_path / "curves.svg"
    picture(outcome, drawn)
    assert len(ElementTree.parse(drawn).findall(".//{*}polyline")) == 7
