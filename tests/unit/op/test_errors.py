"""The errors: what they show, and that they show it safely."""

import pytest

from oxd_server.op.errors import (
    ClientSecretExpired,
    IdTokenCheck,
    IdTokenError,
    OpErrorResponse,
    OpInvalidResponse,
    OpMetadataMissing,
    OpUnreachable,
    shown,
)


def bottomless():
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), ("text", "text"), (7, "7"), (["a"], "['a']"), ("x" * 300, "x" * 200 + "..."),
        (10**5000, "a int"), (bottomless(), "a list"),
    ],
    ids=["none", "text", "number", "list", "long", "huge number", "bottomless"],
)  # fmt: skip
def test_values_are_shown_briefly(value, expected):
    """A value of any kind and size becomes a short text, without an exception."""
    assert shown(value) == expected


def test_id_token_error_text():
    """The text names the check, and expected and actual where they may be shown."""
    assert str(IdTokenError(IdTokenCheck.BAD_ISSUER, "a", "b")) == "bad_issuer: expected a, got b"
    assert str(IdTokenError(IdTokenCheck.MALFORMED)) == "malformed"


def test_errors_say_where_and_when():
    """Host and step are in the text of what happened on the way."""
    assert str(OpUnreachable("op:443", "discovery", "no connection")) == "discovery at op:443: no connection"
    assert str(OpInvalidResponse("op", "userinfo", "no sub")) == "userinfo at op: no sub"
    assert str(OpErrorResponse("op", "userinfo", 500)) == "userinfo at op: HTTP status 500"
    assert str(OpMetadataMissing("jwks_uri")) == "the OP publishes no jwks_uri"
    assert str(ClientSecretExpired("c", 5)) == "the secret of client c expired at 5"


@pytest.mark.parametrize("code", [7, None, ["x"]])
def test_oauth_error_is_a_text_or_nothing(code):
    """An error code of another type counts as none."""
    assert OpErrorResponse("op", "s", 400, "{}", {"error": code}).oauth_error is None
