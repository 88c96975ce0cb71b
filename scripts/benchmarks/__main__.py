"""Measures the server beside a control that does nothing but JSON, and writes table, JSON and picture."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.benchmarks import report
from scripts.benchmarks.commands import measure_commands, measure_https, measure_op_commands, running_world
from scripts.benchmarks.crowds import measure_idle, measure_workers
from scripts.benchmarks.gateway import measure_gateway
from scripts.benchmarks.microseconds import measure_parts, picture_of
from scripts.benchmarks.processes import WrongAnswer
from scripts.benchmarks.scale import FULL, QUICK, Scale
from scripts.benchmarks.seen import measure_seen
from scripts.benchmarks.stores import measure_sizes, measure_writers

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 0 if everything could be measured, whatever came out."""
    options = _parser().parse_args(arguments)
    scale = _scale(options)
    started = time.monotonic()
    rows = []
    try:
        if options.picture is not None:
            return _draw(options.picture, scale)
        with tempfile.TemporaryDirectory(prefix="oxd-bench-") as folder:
            for row in _measure(Path(folder), dict(options.config), scale):
                rows.append(row)
                print(f"{time.monotonic() - started:5.0f} s  {_progress(row)}", file=sys.stderr)
    except WrongAnswer as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _write(options.output, rows)
    return 0


def _draw(picture: Path, scale: Scale) -> int:
    """Measure nothing but where the time goes, and draw that."""
    with tempfile.TemporaryDirectory(prefix="oxd-bench-") as folder:
        parts = measure_parts(Path(folder), scale)
    picture.write_text(picture_of(parts))
    for one in parts:
        print(f"{one.command}, microseconds: " + ", ".join(f"{part} {us:.1f}" for part, us in one.microseconds.items()))
    print(f"Drawn to {picture}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests, rounds and sites: under a minute")
    parser.add_argument("--requests", type=int, metavar="N", help="requests per run over kept-open connections")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often server and control are run in turn")
    parser.add_argument("--sites", type=int, metavar="N", help="the largest number of stored sites")
    parser.add_argument(
        "--config",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="a key of oxd-conf.json for the server that is measured; may be repeated",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        nargs="?",
        const=Path("docs/pictures/microseconds.svg"),
        metavar="FILE",
        help="only draw where a command's microseconds go, to this SVG; default: %(const)s",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/bench"),
        metavar="FOLDER",
        help="where bench.md, bench.json and bench.svg go; default: %(default)s",
    )
    return parser


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not JSON") from None


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else FULL
    given = {name: getattr(options, name) for name in ("requests", "rounds", "sites")}
    return replace(scale, **{name: number for name, number in given.items() if number is not None})


def _measure(folder: Path, settings: dict[str, Any], scale: Scale) -> Iterator[Row]:
    with running_world(folder / "world", settings) as world:
        yield from measure_commands(world, scale)
        yield from measure_https(world, scale)
        yield from measure_op_commands(world, scale)
        yield from measure_gateway(world, settings, scale)
        yield from measure_seen(world, settings, scale)
        yield measure_idle(world, scale)
        yield from measure_workers(folder / "workers", world.issuer, settings, scale)
        yield from measure_writers(folder / "writers", world.issuer, settings, scale)
        yield from measure_sizes(folder / "sizes", world.issuer, settings, scale)


def _progress(row: Row) -> str:
    numbers = {key: value for key, value in row.items() if isinstance(value, (int, float)) and "control" not in key}
    return f"{row['case']}: " + ", ".join(f"{key} {value:.4g}" for key, value in numbers.items() if value is not False)


def _write(output: Path, rows: list[Row]) -> None:
    about, aims = report.machine(), report.targets(rows)
    text = report.as_text(rows, aims)
    output.mkdir(parents=True, exist_ok=True)
    (output / "bench.md").write_text(text)
    (output / "bench.json").write_text(json.dumps({"about": about, "rows": rows, "targets": aims}, indent=2) + "\n")
    (output / "bench.svg").write_text(report.as_picture(rows, about))
    print(text)
    print(f"Written to {output}: bench.md, bench.json, bench.svg")


if __name__ == "__main__":
    sys.exit(main())
