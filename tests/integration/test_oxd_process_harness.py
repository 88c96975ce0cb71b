"""The checks that every answer goes through find each way in which an answer can break a client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oxd_process import check_answer, encode_command, write_config
from tests.integration.user_agent import parse_forms

GOOD_ERROR = {"error": "bad_request", "error_description": "why", "details": None}


def _answer(data: Any, *, status: str = "ok", **more: Any) -> tuple[bytes, bytes]:
    body = json.dumps({"status": status, "data": data, **more}).encode()
    return b"%04d" % len(body), body


def test_good_answers_pass() -> None:
    """An ok answer, an error answer and one padded with spaces are returned as they are."""
    assert check_answer(*_answer({"oxd_id": "x"}))["data"] == {"oxd_id": "x"}
    assert check_answer(*_answer(GOOD_ERROR, status="error"))["status"] == "error"
    header, body = _answer({"claims": {"sub": ["alice"]}, "expires_in": 5})
    assert check_answer(b"%04d" % (int(header) + 3), body + b"   ")["data"]["expires_in"] == 5


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"48", b"{}"),
        (b"0003", b"{}"),
        _answer({}, status="OK"),
        _answer({}, extra=1),
        _answer([]),
        _answer(None),
        _answer({"error": "x", "error_description": "y"}, status="error"),
        _answer({**GOOD_ERROR, "ticket": "t"}, status="error"),
        _answer({**GOOD_ERROR, "error_description": None}, status="error"),
        _answer({**GOOD_ERROR, "details": "text"}, status="error"),
        _answer({"expires_in": None}),
        _answer({"expires_in": "300"}),
        _answer({"client_id_issued_at": 1.5}),
        _answer({"claims": {"sub": "alice"}}),
        _answer({"id_token_claims": {"exp": [1511281970]}}),
        (b"0039", '{"status": "ok", "data": {"x": "é...."}}'.encode()[:39]),
        (b"0047", b'{"status": "ok", "data": {"x": "acct-0047-abc"}}'[:47]),
    ],
)
def test_a_broken_answer_is_found(header: bytes, body: bytes) -> None:
    """Each broken answer fails an assertion of the check (or cannot even be parsed)."""
    with pytest.raises((AssertionError, ValueError)):
        check_answer(header, body)


def test_the_digits_of_the_length_must_not_occur_in_the_body() -> None:
    """An answer that is right in all else fails when its own length is in its text."""
    body = b'{"status": "ok", "data": {"x": "acct-0048-abcd"}}'
    body = body.replace(b"abcd", b"abc")
    with pytest.raises(AssertionError, match="deletes"):
        check_answer(b"%04d" % len(body), body)


def test_a_command_is_a_frame_with_its_length() -> None:
    """The header counts the bytes of the body."""
    frame = encode_command("get_rp", {"oxd_id": "x"})
    assert int(frame[:4]) == len(frame) - 4
    assert json.loads(frame[4:]) == {"command": "get_rp", "params": {"oxd_id": "x"}}


def test_the_config_of_a_test_wins_over_the_defaults(tmp_path: Path) -> None:
    """Both config files lie side by side, and what a test asks for replaces the harness's own choice."""
    path = write_config(tmp_path, {"storage": "memory"}, {"op_host": "https://op.example.org"})
    assert json.loads(path.read_text("utf-8"))["storage"] == "memory"
    assert json.loads(path.read_text("utf-8"))["port"] == 0
    beside = path.parent / "oxd-default-site-config.json"
    assert json.loads(beside.read_text("utf-8")) == {"op_host": "https://op.example.org"}


def test_forms_are_read_as_a_browser_reads_them() -> None:
    """Hidden fields are kept, buttons outside a form belong to the one they name, unticked boxes send nothing."""
    page = """<form id="f" method="POST" action="/go"><input type="hidden" name="xsrf" value="1&amp;2">
    <input name="login"><input type="checkbox" name="off"><input type="checkbox" name="on" value="1" checked></form>
    <button form="f" name="logout" value="yes">Yes</button><button form="f" name="logout" value="no">No</button>"""
    (form,) = parse_forms(page)
    assert (form.method, form.action) == ("post", "/go")
    assert form.submission({"login": "ada"}) == {"xsrf": "1&2", "login": "ada", "on": "1", "logout": "yes"}
    assert form.submission({"logout": "no"})["logout"] == "no"
