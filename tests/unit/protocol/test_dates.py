"""Dates are read in one way, wherever they come from."""

from __future__ import annotations

from typing import Any

import pytest

from oxd_protocol.dates import read_date

DATES: list[tuple[Any, int | None]] = [
    (1528965984000, 1528965984000),
    (" 1528965984000 ", 1528965984000),
    (1528965984000.9, 1528965984000),
    ("2018-06-14T08:46:24Z", 1528965984000),
    ("2018-06-14T10:46:24.001+02:00", 1528965984001),
    ("2018-06-14T08:46:24", 1528965984000),
    ("0001-01-01T00:00:00Z", 0),
    ("0001-01-01T00:00:00", 0),
    (0, 0),
    (-5, 0),
    ("-5", 0),
    (True, None),
    (None, None),
    (float("inf"), None),
    (float("nan"), None),
    ("", None),
    ("--5", None),
    ("٥", None),
    ("9" * 21, None),
    ("9" * 5000, None),
    ([], None),
    ("tomorrow", None),
    ({}, None),
]


@pytest.mark.parametrize(("value", "expected"), DATES)
def test_a_date(value: Any, expected: int | None) -> None:
    """A number, its digits or ISO 8601 is a date; what lies before 1970 is 0; anything else is none."""
    assert read_date(value, 1000) == expected


def test_seconds() -> None:
    """Without a unit a date counts seconds, whatever it is written as."""
    assert read_date("2018-06-14T08:46:24Z") == read_date("1528965984") == read_date(1528965984) == 1528965984
