"""The params of `call`, as they are typed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from oxd_server.cli.errors import CliError
from oxd_server.cli.params import read_params, read_secret, secrets_typed


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], {}),
        (["a=1", "b="], {"a": "1", "b": ""}),
        (["a:=1", 'b:=["x"]', "c:=null"], {"a": 1, "b": ["x"], "c": None}),
        (["url=https://op.example.org/?a=b:=c"], {"url": "https://op.example.org/?a=b:=c"}),
        (['{"a": {"b": 1}}', "c=2"], {"a": {"b": 1}, "c": "2"}),
        (["a=1", "a=2"], {"a": "2"}),
        (["-", "b=2"], {"from": "standard input", "b": "2"}),
        (["text=a\nb"], {"text": "a\nb"}),
    ],
)
def test_forms(words: list[str], params: dict[str, Any]) -> None:
    """Texts, JSON, an object and standard input, in any order; what comes later counts more."""
    assert read_params(words, io.BytesIO(b'{"from": "standard input"}')) == params


def test_files(tmp_path: Path) -> None:
    """A file holds all params, one text without the end of its last line, or one JSON value."""
    (tmp_path / "all").write_text('\ufeff{"a": 1, "b": 2}\n', "utf-8")
    (tmp_path / "text").write_text("two\nlines\n")
    (tmp_path / "json").write_text("[1]\n")
    words = [f"@{tmp_path / 'all'}", f"b=@{tmp_path / 'text'}", f"c:=@{tmp_path / 'json'}"]
    assert read_params(words, io.BytesIO()) == {"a": 1, "b": "two\nlines", "c": [1]}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("{", "PARAMS is not JSON"),
        ("[1]", "PARAMS is no JSON object"),
        ("word", "key=value, key:=JSON"),
        ("a:=word", "a is not JSON"),
        ("a:=NaN", "NaN is no number in JSON"),
        ("-", "standard input is not UTF-8 text"),
        ("@none", "none cannot be read: No such file"),
        ("a=@none", "none cannot be read: No such file"),
        ("a:=" + "[" * 100_000, "a is not JSON"),
    ],
)
def test_what_is_wrong_is_said(word: str, reason: str) -> None:
    """The error names the word or its file, and what would be right."""
    with pytest.raises(CliError) as caught:
        read_params([word], io.BytesIO(b"\xff"))
    assert reason in str(caught.value)


def test_files_are_bounded(tmp_path: Path) -> None:
    """A file that fits into no frame is not read to its end."""
    (tmp_path / "long").write_bytes(b" " * 1_000_001)
    with pytest.raises(CliError, match="longer than 1000000 bytes"):
        read_params([f"a=@{tmp_path / 'long'}"], io.BytesIO())


def test_secrets_on_the_command_line_are_found() -> None:
    """Only those whose value stands there; a file or standard input keeps it off."""
    words = ["client_secret=x", "code:=1", "op_host=x", "access_token=@file", "-", "@file", '{"refresh_token": "x"}']
    assert secrets_typed(words) == ["client_secret", "code", "refresh_token"]


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    """It is one line; an empty file, a second line and what no header can hold are refused."""
    path = tmp_path / "token"
    path.write_text("s3same\n")
    assert read_secret(path) == "s3same"
    for text in ("", "\n", "two\nlines", json.loads('"t\\u00f6ken"')):
        path.write_text(text, "utf-8")
        with pytest.raises(CliError, match="holds no token"):
            read_secret(path)
