"""One fuzz target under atheris, which mutates inputs and keeps those that reach new code.

``python -m scripts.hardening.fuzz_guided TARGET [LIBFUZZER-ARGUMENT...] CORPUS``; ``fuzz.py`` starts it.
"""

from __future__ import annotations

import importlib
import sys

import atheris  # type: ignore[import-untyped]

INSTRUMENTED = ["oxd_protocol", "oxd_server", "h11", "joserfc"]


def main() -> None:
    """Run until the limits that the arguments set, or a finding."""
    target = sys.argv.pop(1)
    with atheris.instrument_imports(include=INSTRUMENTED):
        check = importlib.import_module(f"scripts.hardening.fuzz_{target}").check
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
