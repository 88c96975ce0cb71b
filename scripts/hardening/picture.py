"""Curves as an SVG picture: one panel below the other over the same time, each from zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["Panel", "draw"]

_WIDTH, _HEIGHT, _GAP = 900, 110, 46
_LEFT, _RIGHT, _TOP = 90, 30, 60
_COLOURS = ("#1f5fa8", "#c2571a")


@dataclass(frozen=True)
class Panel:
    """One panel: ``curves`` are names and their values, one for every time."""

    title: str
    unit: str
    curves: Sequence[tuple[str, Sequence[float]]]


def draw(path: Path, title: str, minutes: Sequence[float], marks: Sequence[float], panels: Sequence[Panel]) -> None:
    """Write the picture; ``marks`` are times (in minutes) with a thin line through all panels."""
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="26" font-size="17" font-weight="bold">{escape(title)}</text>'
    ]
    end = max(minutes, default=0.0) or 1.0
    for number, panel in enumerate(panels):
        parts.append(_panel(panel, _TOP + number * (_HEIGHT + _GAP), minutes, marks, end))
    path.write_text("".join([*parts, "</svg>\n"]), encoding="utf-8")


def _panel(panel: Panel, top: float, minutes: Sequence[float], marks: Sequence[float], end: float) -> str:
    highest = max((value for _, values in panel.curves for value in values), default=0.0) * 1.1 or 1.0
    width = _WIDTH - _LEFT - _RIGHT
    bottom = top + _HEIGHT

    def x(minute: float) -> float:
        return _LEFT + width * minute / end

    parts = [
        f'<text x="{_LEFT}" y="{top - 7}" font-weight="bold">{escape(panel.title)}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{width}" height="{_HEIGHT}" fill="#f7f7f5" stroke="#bbb"/>',
    ]
    parts += [f'<path d="M{x(mark):.1f} {top}V{bottom}" stroke="#ddd"/>' for mark in marks]
    for share in (0.0, 0.5, 1.0):
        y = bottom - _HEIGHT * share
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{highest * share:.4g} {panel.unit}</text>')
    for number, (name, values) in enumerate(panel.curves):
        points = " ".join(
            f"{x(minute):.1f},{bottom - _HEIGHT * value / highest:.1f}"
            for minute, value in zip(minutes, values, strict=True)
        )
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        at = _WIDTH - _RIGHT - 130 * (len(panel.curves) - 1 - number)
        parts.append(f'<text x="{at}" y="{top - 7}" fill="{colour}" text-anchor="end">{escape(name)}</text>')
    parts += [
        f'<text x="{x(end * share):.1f}" y="{bottom + 15}" text-anchor="middle">{end * share:.3g} min</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return "".join(parts)
