"""Every input that a fuzzer ever broke something with, and the seeds it starts from, without the fuzzer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.hardening import fuzz
from scripts.hardening.fuzz_input import pieces

PINNED = sorted(path for path in fuzz.PINNED.glob("*/*") if path.is_file())
Check = Callable[[bytes], None]


def check_of(target: str) -> Check:
    """Return what a target does with an input."""
    check: Check = importlib.import_module(f"scripts.hardening.fuzz_{target}").check
    return check


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_pinned_input(path: Path) -> None:
    """An input that once broke a promise does not any more."""
    check_of(path.parent.name)(path.read_bytes())


@pytest.mark.parametrize("target", fuzz.GUIDED)
def test_the_seeds(target: str) -> None:
    """The inputs that a search starts from keep every promise, and so do all their beginnings of some lengths."""
    seeds = importlib.import_module(f"scripts.hardening.fuzz_{target}").seeds()
    assert seeds
    for seed in seeds:
        for end in {len(seed), len(seed) // 2, len(seed) - 1, 1, 0}:
            check_of(target)(seed[:end])


def test_pinned_inputs_belong_to_a_target() -> None:
    """No pinned input lies where no test finds it."""
    assert {path.parent.name for path in PINNED} <= set(fuzz.GUIDED)


def test_pieces_are_the_stream() -> None:
    """A stream that was cut is the same stream; different first bytes cut it differently."""
    cuts = {tuple(pieces(bytes((0, seed)) + b"0123456789")[1]) for seed in range(50)}
    assert {b"".join(cut) for cut in cuts} == {b"0123456789"}
    assert len(cuts) > 10


@pytest.mark.parametrize(
    ("target", "module", "name"),
    [
        ("frames", "fuzz_frames", "decode_request"),
        ("params", "fuzz_params", "decode_params"),
        ("http", "fuzz_http", "respond"),
        ("id_token", "fuzz_id_token", "validate_id_token"),
        ("rules", "fuzz_rules", "parse_scope_expression"),
    ],
)
def test_a_target_finds_what_it_looks_for(target: str, module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the code under test raised something else than it promises, the seeds alone would show it."""

    def broken(*arguments: object, **named: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(importlib.import_module(f"scripts.hardening.{module}"), name, broken)
    seeds = importlib.import_module(f"scripts.hardening.fuzz_{target}").seeds()
    with pytest.raises(ZeroDivisionError):
        for seed in seeds:
            check_of(target)(seed)
