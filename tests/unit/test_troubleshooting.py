"""The page on trouble has an entry for every error code, and says what to do."""

import re
from pathlib import Path

from oxd_protocol.errors import ERROR_CODES, HTTP_STATUS_PREFIX

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "troubleshooting.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \|$", PAGE.partition("## By error code")[2], re.MULTILINE)


def test_every_error_code_has_an_entry() -> None:
    """Each code once, the OP's own statuses as a family, and no code that does not exist."""
    codes = [code for code, _, _ in ROWS]
    assert sorted(codes) == sorted([*ERROR_CODES, f"{HTTP_STATUS_PREFIX}<N>"])


def test_an_entry_says_what_to_do() -> None:
    """What cannot happen any more says so; everything else has both an explanation and an advice."""
    for code, happened, advice in ROWS:
        assert happened.endswith("."), code
        assert advice.endswith(".") or (advice == "-" and "does not send it" in happened), code
