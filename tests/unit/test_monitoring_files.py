"""The dashboard and the alerts in conf/: every figure that they name is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from oxd_protocol.errors import ERROR_CODES
from oxd_server.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "conf/grafana/oxd-server.json"
RULES = ROOT / "conf/prometheus/oxd-server.rules.yml"
PAGE = ROOT / "docs/reference/metrics.md"
_NAME = re.compile(r"\boxd_[a-z_]+")
_SELECTOR = re.compile(r"(oxd_[a-z_]+)\{([^}]*)\}")


def figures() -> dict[str, set[str]]:
    """Return the labels of every figure, by the names of its samples."""
    found: dict[str, set[str]] = {}
    for metric, names in Metrics()._registry._collector_to_names.items():
        labels: Any = getattr(metric, "_labelnames", ())
        for name in names:
            found[name] = set(labels)
    return found


def expressions() -> Iterator[str]:
    """Yield every expression of dashboard and alerts."""
    board = json.loads(DASHBOARD.read_text())
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])
    yield from (variable["query"] for variable in board["templating"]["list"] if variable["type"] == "query")
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_every_figure_that_is_named_is_there() -> None:
    """With the labels that are asked for, and codes that exist."""
    known = figures()
    for expression in expressions():
        assert set(_NAME.findall(expression)) <= {"oxd_id", *known}, expression
        for name, selector in _SELECTOR.findall(expression):
            labels = set(re.findall(r"(\w+)(?:=|!)", selector))
            assert labels <= {"instance", "le", *known[name]}, expression
        for code in re.findall(r'outcome="([^"]*)"', expression):
            assert code in ERROR_CODES, expression
        for labels_by in re.findall(r"by \(([^)]*)\)", expression):
            named = set().union(*(known[name] for name in _NAME.findall(expression) if name in known))
            assert set(re.split(r", ", labels_by)) <= {"instance", "le", *named}, expression
        assert expression.count("(") == expression.count(")"), expression


def test_every_figure_is_shown_and_described() -> None:
    """On the dashboard (but for the version, which chooses the servers) and on the page of the metrics."""
    shown = " ".join(expressions())
    page = PAGE.read_text("utf-8")
    families = {re.sub(r"_(?:created|bucket|count|sum)$", "", name) for name in figures()}
    for name in sorted(families & {name for name in families if f"{name}_total" not in families}):
        assert name in shown, name
        assert f"`{name}`" in page, name


def test_panels_do_not_lie_on_each_other() -> None:
    """Every panel has a place and an id of its own."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))


def test_alerts_tell_what_to_do() -> None:
    """Each has a severity, a summary and a description."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} == rule["annotations"].keys()
