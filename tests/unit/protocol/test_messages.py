"""From a frame's body to a command and its raw params, and what stays out of texts."""

import pytest

from oxd_protocol.errors import CommandError, FramingError, ParamsError
from oxd_protocol.json_text import decode_object
from oxd_protocol.messages import Request, Response, decode_request
from oxd_protocol.oxd_id import OxdIdResult
from tests.unit.protocol.decoding import decoded, refused


@pytest.mark.parametrize(
    "body",
    [
        b'{"command":"get_rp","params":{"list":true}}',
        b'{"params":{"list":true},"command":"get_rp"}',
        b'{"x":[1],"params":{"list":true},"y":null,"command":"get_rp","z":{}}',
        b'{"command":"old","command":"get_rp","params":{"list":true}}',
    ],
)
def test_keys_come_in_any_order(body: bytes) -> None:
    """Command and params are found in any order; other keys are ignored, and the last of equal ones counts (row 8)."""
    request = decode_request(body)
    assert (request.command, request.params) == ("get_rp", {"list": True})


@pytest.mark.parametrize("params", [b"", b',"params":null', b',"params":[]', b',"params":{}'])
def test_no_params(params: bytes) -> None:
    """Absent, null and empty params are the same, and so is the [] that PHP makes of an empty map (rows 9 and 12)."""
    assert decode_request(b'{"command":"get_rp"' + params + b"}").params == {}


@pytest.mark.parametrize("command", [b"", b'"command":null,', b'"command":"",', b'"command":" ",', b'"command":5,'])
def test_no_command(command: bytes) -> None:
    """An object without a command is a bad request; the connection can stay open."""
    with pytest.raises(CommandError, match='has no "command"') as caught:
        decode_request(b"{" + command + b'"params":{}}')
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize("params", [b'"x"', b"[1]", b"5", b"true", b'""'])
def test_params_that_are_no_object(params: bytes) -> None:
    """Params of another type are a bad request; the connection can stay open."""
    with pytest.raises(ParamsError, match="must be a JSON object"):
        decode_request(b'{"command":"get_rp","params":' + params + b"}")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"x"', b"5", b"null", b"{", b"{]}", b"{'a':1}", b'{"a":1}x', b'{"a":\x00}', b'{"a":"\n"}']
)
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    """A body that is no JSON object breaks the stream: the connection closes."""
    with pytest.raises(FramingError, match="not a JSON object") as caught:
        decode_request(body)
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"9" * 5000, b"01", b"+1", b".5"])
def test_numbers_that_are_none(number: bytes) -> None:
    """What JSON does not know as a number, or nobody can mean, is refused."""
    with pytest.raises(FramingError, match="not a JSON object") as caught:
        decode_object(b'{"a":' + number + b"}")
    assert "sys." not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"J\xf6rg", "J\ufffdrg"),
        ("JÃ¶rg".encode(), "JÃ¶rg"),
        (b"\\ud83d\\ude00", "\U0001f600"),
        (b"\\ud83d", "\ufffd"),
        (b"\\ude00\\ud83d", "\ufffd\ufffd"),
        (b"\xed\xa0\xbd", "\ufffd\ufffd\ufffd"),
        (b"\\u0000\x7f", "\0\x7f"),
        (b"\\u003ca\\u0026b\\u003e \\/", "<a&b> /"),
    ],
    ids=["Latin-1", "encoded twice", "surrogate pair", "half a pair", "wrong halves", "CESU-8", "control", "escapes"],
)
def test_mangled_text_is_only_text(text: bytes, expected: str) -> None:
    """Text in a wrong encoding is accepted; what is no character becomes U+FFFD (row 7), in keys as well."""
    assert decode_object(b'{"a":["' + text + b'"]}') == {"a": [expected]}
    assert decode_object(b'{"' + text + b'":1}') == {expected: 1}


def test_large_numbers() -> None:
    """Numbers beyond 64 bits, or beyond all floats, are numbers."""
    assert decode_object(b'{"a":99999999999999999999,"b":1e999}') == {"a": 99999999999999999999, "b": float("inf")}


def test_nesting_has_a_limit() -> None:
    """A hundred levels are accepted; more are a bad request, never a crash, and the connection can stay open."""
    lists, objects = b"[" * 99 + b"]" * 99, b'{"a":' * 99 + b"1" + b"}" * 99
    assert decode_object(b'{"a":' + lists + b"}")
    assert decode_object(b'{"a":' + objects + b"}")
    wide = b"[" + b"{}," * 1000 + b"{}]"
    assert len(decode_object(b'{"a":' + wide + b"}")["a"]) == 1001
    for deep in (b"[" + lists + b"]", b'{"a":' + objects + b"}", b"[" * 30_000 + b"]" * 30_000):
        with pytest.raises(ParamsError, match="nested deeper than 100 levels"):
            decode_object(b'{"a":' + deep + b"}")
        with pytest.raises(ParamsError, match="nested deeper than 100 levels"):
            decode_object(b'{"b":"\xff","a":' + deep + b"}")


def test_secrets_stay_out_of_representations() -> None:
    """What is printed by accident shows no params, no results and no data of an answer."""
    secret = "s3cret"
    shown = [
        repr(Request("get_user_info", {"access_token": secret})),
        repr(decoded("introspect_access_token", access_token=secret)),
        repr(OxdIdResult(oxd_id=secret)),
        repr(Response("ok", {"client_secret": secret})),
    ]
    assert secret not in "".join(shown)
    assert shown[0] == "Request(command='get_user_info')"


def test_a_wrong_type_is_named_without_its_value() -> None:
    """The error for a wrong type names the parameter and both types, not the value: it may be a secret."""
    error = refused("register_site", client_secret={"s3cret": 1})
    assert isinstance(error, ParamsError)
    assert str(error) == "invalid_request: 'client_secret' must be a text, not an object."
