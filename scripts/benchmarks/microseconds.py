"""A picture of where a command's microseconds go, over kept connections to the socket."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.benchmarks.commands import OWN_CLIENT, SITE
from scripts.benchmarks.processes import HERE, Plan, apply_load, call, frame, running_sandbox, running_server
from scripts.benchmarks.sampled import SAMPLES
from scripts.benchmarks.scale import Scale

__all__ = ["Parts", "measure_parts", "picture_of"]

_COMMANDS: Final = ("get_authorization_url", "get_rp")
_CONNECTIONS: Final = 8
_RUNS: Final = 25
"""The system looks at a clock 250 times a second: it takes many commands until the picture is sharp."""


@dataclass(frozen=True)
class Parts:
    """What one command costs in microseconds of processor time, by part of the program."""

    command: str
    microseconds: dict[str, float]

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.microseconds.values())


def measure_parts(folder: Path, scale: Scale) -> list[Parts]:
    """Run commands on servers that look at their own stacks; return what each command costs."""
    with running_sandbox(folder / "sandbox") as issuer:
        return [_parts_of(folder / command, issuer, command, scale) for command in _COMMANDS]


def _parts_of(home: Path, issuer: str, command: str, scale: Scale) -> Parts:
    with running_server(home, {}, launcher=HERE / "sampled.py") as server:
        oxd_id = call(server.port, "register_site", op_host=issuer, **SITE, **OWN_CLIENT)["oxd_id"]
        request = frame(command, {"oxd_id": oxd_id})
        plan = Plan(requests=[request], count=scale.requests, connections=_CONNECTIONS)
        apply_load(server, plan)  # to warm up
        server.process.send_signal(signal.SIGALRM)
        best = min(apply_load(server, plan).cpu_per_command for _ in range(_RUNS))
    counts: dict[str, int] = json.loads((home / SAMPLES).read_text())
    microseconds = best * 1e6 / sum(counts.values())
    return Parts(command, {part: count * microseconds for part, count in sorted(counts.items(), key=_count)})


def _count(item: tuple[str, int]) -> int:
    return -item[1]


_WIDTH, _LEFT, _BAR, _LINE = 900, 30, 44, 24
_COLOURS = (
    "#2563a8", "#b45309", "#3f7d58", "#7c4d9e", "#b9384f", "#4a8fa3", "#8a7a2d", "#5c6b7a", "#c98a9b", "#1c2733",
)  # fmt: skip


def picture_of(parts: Sequence[Parts]) -> str:
    """Return an SVG with a bar for each command, drawn to one scale, and what its pieces stand for."""
    names = list(dict.fromkeys(name for one in parts for name in one.microseconds))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    scale = (_WIDTH - 2 * _LEFT) / max(one.total for one in parts)
    top = 80 + len(parts) * (_BAR + 50)
    height = top + len(names) * _LINE + 20
    title = f"Where a command's microseconds go ({_CONNECTIONS} kept connections, with its line in the log)"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif">',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            _text(_LEFT, 36, title, 18),
            *_bars(parts, colours, scale),
            *_legend(parts, colours, top),
            "</svg>",
            "",
        ]
    )


def _bars(parts: Iterable[Parts], colours: dict[str, str], scale: float) -> Iterable[str]:
    for number, one in enumerate(parts):
        x, y = float(_LEFT), 86 + number * (_BAR + 50)
        yield _text(x, y - 8, f"{one.command}: {one.total:.0f} microseconds", 14)
        for name, microseconds in one.microseconds.items():
            width = microseconds * scale
            yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colours[name]}"/>'
            if width > 30:
                yield _text(x + 6, y + 27, f"{microseconds:.1f}", 13, "white")
            x += width


def _legend(parts: Sequence[Parts], colours: dict[str, str], top: int) -> Iterable[str]:
    for number, (name, colour) in enumerate(colours.items()):
        y = top + number * _LINE
        figures = " / ".join(f"{one.microseconds.get(name, 0.0):.1f}" for one in parts)
        yield f'<rect x="{_LEFT}" y="{y - 12}" width="16" height="16" fill="{colour}"/>'
        yield _text(_LEFT + 26, y + 1, f"{name}: {figures}", 14)


def _text(x: float, y: float, text: str, size: int, colour: str = "#1c2733") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}">{text}</text>'
