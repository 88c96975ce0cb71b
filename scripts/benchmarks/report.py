"""What was measured as tables, as JSON, and as a picture; and beside it what is aimed at."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from oxd_server import __version__

Row = dict[str, Any]


def machine() -> Row:
    """Return what the figures depend on."""
    return {
        "oxd_server": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def targets(rows: Iterable[Row]) -> list[Row]:
    """Return what is aimed at, what was measured, and whether that is enough. What was not measured is left out."""
    return [target for target in _targets(list(rows)) if target["measured"] is not None]


def _targets(rows: list[Row]) -> Iterable[Row]:
    url = [row for row in rows if row["case"] == "get_authorization_url" and row["over"] == "socket"]
    kept = _kept(rows, "get_authorization_url")
    one_shot = next((row for row in url if row["one_connection_per_command"]), {})
    access = {row["over"]: row for row in rows if row["case"] == "uma_rs_check_access"}
    gateway = {row["case"]: row for row in rows if row.get("over") == "HTTPS, dialect 4"}
    resumed = next((row for row in rows if row.get("over") == "HTTPS, resumed"), {})
    anew = next((row for row in rows if row.get("over") == "HTTPS" and row["one_connection_per_command"]), {})
    sizes = [row for row in rows if row["case"] == "stored sites"]
    few, many = (sizes[0], sizes[-1]) if sizes else ({}, {})
    # The start is judged with 100,000 sites, or with the most there are.
    stocked = max((row for row in sizes if row["sites"] <= 100_000), key=lambda row: int(row["sites"]), default={})
    slow = next((row for row in rows if row["case"] == "writers" and row["disk"] != "this disk"), {})
    seen = next((row for row in rows if row["case"] == "being seen"), {})
    idle = next((row for row in rows if row["case"] == "idle connections"), {})
    workers = next((row for row in rows if row["case"] == "workers"), {})
    yield _target("8 kept connections: throughput / control", kept.get(8, {}).get("throughput_ratio"), at_least=0.65)
    for case in ("get_authorization_url", "get_rp"):
        for connections, most in ((1, 1.2), (8, 0.75), (32, 0.75)):
            ratio = _kept(rows, case).get(connections, {}).get("cpu_ratio")
            yield _target(f"{case}, {connections} kept: CPU per command / control", ratio, at_most=most)
    slowest = kept[32]["p99_ms"] / kept[32]["p50_ms"] if 32 in kept else None
    yield _target("get_authorization_url, 32 kept: p99 / median", slowest, at_most=2)
    yield _target("workers: CPU per command / one worker", workers.get("cost_ratio"), at_most=1.1)
    yield _target("workers: commands per CPU second of the busiest / one", workers.get("capacity_ratio"), at_least=1.7)
    yield _target("one connection per command: throughput / control", one_shot.get("throughput_ratio"), at_least=0.85)
    for over in ("socket", "socket, TLS to the OP"):
        ratio = access.get(over, {}).get("client_ratio")
        yield _target(f"uma_rs_check_access, {over}: CPU / a bare call of httpx2's client", ratio, at_most=0.8)
        ratio = access.get(over, {}).get("pool_ratio")
        yield _target(f"a request to the OP ({over}): CPU over our pool / over httpx2's", ratio, at_most=0.4)
    for case in ("introspect-access-token", "uma-rs-check-access"):
        own = gateway.get(case, {}).get("own_cpu_us")
        yield _target(f"gateway, {case}: CPU beyond the bare calls, us", own, at_most=350)
    saved = resumed["best_cpu_us"] / anew["best_cpu_us"] if resumed and anew else None
    yield _target("HTTPS, one connection per command: CPU resumed / with a whole handshake", saved, at_most=0.95)
    yield _target(f"start with {few.get('sites')} sites, s", few.get("start_seconds"), at_most=0.8)
    yield _target(f"start with {stocked.get('sites')} sites, s", stocked.get("start_seconds"), at_most=0.8)
    yield _target(
        "memory after start per stored site, KiB",
        (stocked["memory_kib"] - few["memory_kib"]) / (stocked["sites"] - few["sites"]) if sizes else None,
        at_most=1,
    )
    for name, key in (("look-up", "look_up_cpu_us"), ("register_site", "register_cpu_us")):
        growth = many[key] / few[key] if sizes else None
        yield _target(f"{name}: CPU with {many.get('sites')} sites / with {few.get('sites')}", growth, at_most=1.25)
    yield _target("get_authorization_url: CPU with its line in the log / without", seen.get("log_ratio"), at_most=1.15)
    yield _target("64 writers / one writer, commits of 5 ms", slow.get("ratio"), at_least=10)
    yield _target("an idle connection, KiB", idle.get("kib_each"), at_most=16)
    crowd = f"{idle.get('connections')} idle connections"
    yield _target(f"{crowd}: CPU of the others' commands / without them", idle.get("cost_ratio"), at_most=1.1)
    yield _target(f"{crowd}: memory in all, MB", idle.get("megabytes_with_them"), at_most=90)
    megabytes = few["memory_kib"] * 1024 / 1e6 if sizes else None
    yield _target(f"memory after start with {few.get('sites')} sites, MB", megabytes, at_most=60)


def _kept(rows: Iterable[Row], case: str) -> dict[int, Row]:
    """Return the rows of a command over kept connections to the socket, by their number."""
    return {
        row["connections"]: row
        for row in rows
        if row["case"] == case and row["over"] == "socket" and not row["one_connection_per_command"]
    }


def _target(what: str, measured: float | None, *, at_least: float | None = None, at_most: float | None = None) -> Row:
    met = (
        measured is not None and (at_least is None or measured >= at_least) and (at_most is None or measured <= at_most)
    )
    wanted = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    return {"target": what, "wanted": wanted, "measured": measured, "met": met}


def as_text(rows: Sequence[Row], aims: Sequence[Row]) -> str:
    """Return everything as Markdown tables."""
    commands = [row for row in rows if "throughput" in row]
    sizes = [row for row in rows if row["case"] == "stored sites"]
    parts = [
        _table(
            "Commands (CPU is the server's, per command; x: in relation to the control in the same run)",
            ("case", "over", "connections", "per s", "x", "p50 ms", "p99 ms", "CPU us", "x", "MiB"),
            [_command_cells(row) for row in commands],
        ),
        _table(
            "By number of stored sites",
            ("sites", "start s", "MiB", "first look-up us", "look-up us", "register_site us", "look-up p50 ms"),
            [_size_cells(row) for row in sizes],
        ),
        _table(
            "Sites registered per second",
            ("disk", "one writer", "64 writers", "x"),
            [
                (row["disk"], _number(row["one_per_second"]), _number(row["many_per_second"]), _number(row["ratio"]))
                for row in rows
                if row["case"] == "writers"
            ],
        ),
        _table(
            "Targets",
            ("target", "wanted", "measured", ""),
            [_target_cells(aim) for aim in aims],
        ),
    ]
    return "\n".join(parts)


def _target_cells(aim: Row) -> tuple[str, ...]:
    return aim["target"], aim["wanted"], _number(aim["measured"]), "met" if aim["met"] else "NOT MET"


def _command_cells(row: Row) -> tuple[str, ...]:
    way = "one per command" if row["one_connection_per_command"] else str(row["connections"])
    keys = ("throughput", "throughput_ratio", "p50_ms", "p99_ms", "cpu_us", "cpu_ratio", "memory_mib")
    return row["case"], row["over"], way, *(_number(row.get(key)) for key in keys)


def _size_cells(row: Row) -> tuple[str, ...]:
    keys = ("first_look_up_cpu_us", "look_up_cpu_us", "register_cpu_us", "look_up_p50_ms")
    start, memory = _number(row["start_seconds"]), _number(row["memory_kib"] / 1024)
    return f"{row['sites']:,}", start, memory, *(_number(row[key]) for key in keys)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([f"## {title}", "", line(header), rule, *map(line, rows), ""])


# The picture


_WIDTH, _BAR, _LEFT, _RIGHT = 900, 20, 330, 130
_TLS = ("HTTPS", True)
_OURS, _CONTROL, _INK, _FAINT = "#2563a8", "#b9c4d0", "#1c2733", "#5c6b7a"


def as_picture(rows: Sequence[Row], about: Row) -> str:
    """Return an SVG: CPU time per command beside the control, and what grows with the number of sites."""
    # A TLS handshake takes so long that nothing else could be seen beside it; the table has it.
    bars = [row for row in rows if "control_cpu_us" in row and (row["over"], row["one_connection_per_command"]) != _TLS]
    sizes = [row for row in rows if row["case"] == "stored sites"]
    top = 70 + len(bars) * (2 * _BAR + 12) + 60
    drawn = [*_bars(bars, 70), *_curves(sizes, top)]
    height = top + 300
    title = f"CPU time of the server per command, microseconds (oxd-server {about['oxd_server']})"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif">',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            _label(30, 36, title, size=18),
            *drawn,
            "</svg>",
            "",
        ]
    )


def _bars(rows: Sequence[Row], top: int) -> Iterable[str]:
    longest = max((max(row["cpu_us"], row["control_cpu_us"]) for row in rows), default=1.0)
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    for number, row in enumerate(rows):
        y = top + number * (2 * _BAR + 12)
        way = "one per command" if row["one_connection_per_command"] else f"{row['connections']} kept"
        yield _label(_LEFT - 10, y + _BAR + 5, f"{row['case']}, {row['over']}, {way}", anchor="end")
        for offset, key, colour, name in ((0, "cpu_us", _OURS, ""), (_BAR, "control_cpu_us", _CONTROL, " control")):
            width = row[key] * scale
            yield f'<rect x="{_LEFT}" y="{y + offset}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>'
            yield _label(_LEFT + width + 6, y + offset + 14, f"{row[key]:.0f}{name}", size=12, colour=_FAINT)


def _curves(rows: Sequence[Row], top: int) -> Iterable[str]:
    if not rows:
        return
    yield _label(30, top - 20, "CPU time per command by number of stored sites, microseconds", size=18)
    curves = (("look_up_cpu_us", "look-up", _OURS), ("register_cpu_us", "register_site", "#b45309"))
    highest = max(row[key] for row in rows for key, _, _ in curves) * 1.1
    step = (_WIDTH - 300) / max(len(rows) - 1, 1)
    yield f'<line x1="80" y1="{top + 220}" x2="{_WIDTH - 180}" y2="{top + 220}" stroke="{_CONTROL}"/>'
    for number, row in enumerate(rows):
        yield _label(100 + number * step, top + 242, f"{row['sites']:,}", size=12, anchor="middle", colour=_FAINT)
    for key, name, colour in curves:
        points = [(100 + n * step, top + 220 - row[key] / highest * 200) for n, row in enumerate(rows)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="3"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points)
        mean = statistics.fmean(row[key] for row in rows)
        yield _label(points[-1][0] + 12, points[-1][1] + 5, f"{name} ({mean:.0f})", colour=colour)


def _label(x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
