"""From a result or an error to a frame that every library can read."""

import json
from typing import Any

import pytest

from oxd_protocol.connect import GetTokensByCodeResult, GetUserInfoResult
from oxd_protocol.errors import ERROR_CODES, CommandError, FramingError, ParamsError
from oxd_protocol.framing import PREFERRED_RESPONSE_BYTES
from oxd_protocol.messages import (
    Response,
    check_fits,
    claims_as_lists,
    encode_body,
    encode_response,
    error_response,
)
from oxd_protocol.oxd_id import OxdIdResult
from oxd_protocol.uma import IntrospectRptResult, Permission, UmaRsCheckAccessResult


def _parsed(frame: bytes) -> Any:
    """Return a frame's envelope after checking all that every answer must be."""
    header, body = frame[:4], frame[4:]
    assert header.isdigit()
    assert int(header) == len(body) <= 9999
    assert body.isascii()
    assert header not in body
    envelope = json.loads(body)
    assert envelope.keys() == {"status", "data"}
    assert envelope["status"] in ("ok", "error")
    assert isinstance(envelope["data"], dict)
    return envelope


def test_an_ok_answer() -> None:
    """An ok answer holds the keys of its result and no others."""
    frame = encode_response(Response("ok", OxdIdResult(oxd_id="id")))
    assert frame == b'0038{"status":"ok","data":{"oxd_id":"id"}}'


def test_keys_that_are_left_out() -> None:
    """An exp or iat that nobody sent is left out, as is a ticket that could not be had; other keys are null."""
    result = IntrospectRptResult(active=True, permissions=(Permission(resource_id="r", resource_scopes=("s",)),))
    assert _parsed(encode_response(Response("ok", result)))["data"] == {
        "active": True,
        "permissions": [{"resource_id": "r", "resource_scopes": ["s"]}],
        **dict.fromkeys(("nbf", "client_id", "sub", "aud", "iss", "jti")),
    }
    denied = UmaRsCheckAccessResult(access="denied", ticket="t", www_authenticate_header="UMA")
    assert _parsed(encode_response(Response("ok", denied)))["data"] == {
        "access": "denied", "ticket": "t", "www-authenticate_header": "UMA",
    }  # fmt: skip
    assert encode_body(Response("ok", UmaRsCheckAccessResult(access="granted"))).endswith(b'{"access":"granted"}}')


def test_an_error_answer() -> None:
    """An error holds error, error_description and details, which is null if there are none."""
    data = _parsed(encode_response(error_response(CommandError("invalid_oxd_id"))))["data"]
    assert data == {"error": "invalid_oxd_id", "error_description": ERROR_CODES["invalid_oxd_id"], "details": None}
    need_info = CommandError(
        "need_info", "More.", {"ticket": "t", "required_claims": [], "redirect_user": "https://op"}
    )
    assert _parsed(encode_response(error_response(need_info)))["data"] == {
        "error": "need_info",
        "error_description": "More.",
        "details": {"ticket": "t", "required_claims": [], "redirect_user": "https://op"},
    }


def test_a_framing_error_is_answered_like_any_other() -> None:
    """The last frame of a broken connection is an error envelope."""
    response = error_response(FramingError("Too long.", code="request_too_long"))
    assert _parsed(encode_response(response)) == {
        "status": "error",
        "data": {"error": "request_too_long", "error_description": "Too long.", "details": None},
    }
    assert response.error_code == "request_too_long"
    assert Response("ok", {}).error_code is None


def test_what_is_malformed() -> None:
    """An error says whether the request itself was malformed, as a wrong type is, or only refused."""
    errors = (ParamsError("x"), FramingError("x"), CommandError("bad_request"))
    assert [error_response(error).malformed for error in errors] == [True, True, False]


def test_the_body_is_ascii() -> None:
    """Characters beyond ASCII are escaped, so that characters and bytes are the same number."""
    body = encode_body(Response("ok", {"n": 'J\u00f6rg \u0416 \U0001f600 "\\" \x00\x7f\u2028'}))
    assert body == (
        rb'{"status":"ok","data":{"n":"J\u00f6rg \u0416 \ud83d\ude00 \"\\\" \u0000' + b"\x7f" + rb'\u2028"}}'
    )


def test_half_a_surrogate_pair_goes_out_as_a_replacement() -> None:
    """Text that no encoding can express becomes U+FFFD, in structs, keys and details alike."""
    claims = claims_as_lists({"a\ud800": "\udfff", "o": {"k": "\ud800"}})
    data = _parsed(encode_response(Response("ok", GetUserInfoResult(claims=claims))))["data"]
    assert data["claims"] == {"a\ufffd": ["\ufffd"], "o": ['{"k":"\ufffd"}']}
    error = error_response(CommandError("http_status_400", "\ud800", {"error": ("\ud800", 1)}))
    assert _parsed(encode_response(error))["data"]["details"] == {"error": ["\ufffd", 1]}


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def test_data_that_is_nested_too_deeply() -> None:
    """An OP's data that no encoder can follow is an error answer, never a crash of the connection."""
    data = _parsed(encode_response(error_response(CommandError("http_status_400", None, {"x": _deep(5000)}))))["data"]
    assert data["error"] == "op_invalid_response"
    with pytest.raises(CommandError) as caught:
        claims_as_lists({"x": {"y": _deep(5000)}})
    assert caught.value.code == "op_invalid_response"


def _tokens(claims: dict[str, list[str]], id_token: str) -> Response:
    result = GetTokensByCodeResult(
        access_token="at", expires_in=1, id_token=id_token, refresh_token=None, id_token_claims=claims
    )
    return Response("ok", result, "id_token_claims")


def test_recomputable_claims_are_left_out() -> None:
    """Beyond 8188 bytes id_token_claims is left out: the id_token has them. A shorter answer keeps them."""
    short = _parsed(encode_response(_tokens({"c": ["x" * 3000]}, "y" * 3000)))["data"]
    assert short["id_token_claims"] == {"c": ["x" * 3000]}
    long = _parsed(encode_response(_tokens({"c": ["x" * 5000]}, "y" * 5000)))["data"]
    assert long == {"access_token": "at", "expires_in": 1, "id_token": "y" * 5000, "refresh_token": None}


def test_an_answer_between_the_limits_goes_out() -> None:
    """What cannot be shortened goes out whole up to 9999 bytes."""
    frame = encode_response(Response("ok", {"x": "y" * (PREFERRED_RESPONSE_BYTES + 500)}))
    assert len(_parsed(frame)["data"]["x"]) == PREFERRED_RESPONSE_BYTES + 500


def test_an_answer_that_is_too_long() -> None:
    """An ok answer beyond 9999 bytes becomes response_too_long, which names the size and the way out."""
    for response in (Response("ok", {"x": "y" * 10_000}), _tokens({}, "y" * 10_000)):
        data = _parsed(encode_response(response))["data"]
        assert data["error"] == "response_too_long"
        assert "The answer has 100" in data["error_description"]
        assert "HTTPS" in data["error_description"]


def test_whether_an_answer_fits_is_known_before_it_is_sent() -> None:
    """What can be shortened fits, and what would be refused is refused with the same words."""
    check_fits(Response("ok", {"x": "y" * 9000}))
    check_fits(_tokens({"groups": ["y" * 9000]}, "t"))
    response = Response("ok", {"x": "y" * 10_000})
    with pytest.raises(CommandError) as refused:
        check_fits(response)
    told = _parsed(encode_response(response))["data"]
    assert (told["error"], told["error_description"]) == (refused.value.code, refused.value.description)


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600", "\x01"])
@pytest.mark.parametrize("details", [None, {"body": "z" * 20_000}])
def test_a_long_error_keeps_its_code(character: str, details: Any) -> None:
    """An error that is too long is shortened: first its description, then its details; its code stays."""
    error = CommandError("http_status_400", character * 20_000, details)
    data = _parsed(encode_response(error_response(error)))["data"]
    assert data == {"error": "http_status_400", "error_description": character * 500, "details": None}


def test_a_long_description_leaves_the_details() -> None:
    """Details that fit stay when the description is shortened."""
    error = CommandError("http_status_400", "x" * 20_000, {"error": "invalid_grant"})
    assert _parsed(encode_response(error_response(error)))["data"]["details"] == {"error": "invalid_grant"}


def test_the_body_for_https_is_whole() -> None:
    """Without a frame there is no limit: the body holds everything."""
    assert len(encode_body(_tokens({"c": ["x" * 20_000]}, "y"))) > 20_000


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("alice", ["alice"]),
        ("", [""]),
        (1511281970, ["1511281970"]),
        (1.5, ["1.5"]),
        (2**70, ["1180591620717411303424"]),
        (True, ["true"]),
        (False, ["false"]),
        (["a", 1, True, None, "b"], ["a", "1", "true", "b"]),
        ([], []),
        ({"street": "x", "n": [1, None]}, ['{"street":"x","n":[1,null]}']),
        ([{"a": 1}, [1, "x"]], ['{"a":1}', '[1,"x"]']),
    ],
)
def test_claims_are_lists_of_texts(claim: Any, expected: list[str]) -> None:
    """A claim is a list of texts: items one by one, digits, true or false, JSON text of what is nested."""
    assert claims_as_lists({"c": claim}) == {"c": expected}


def test_null_claims_are_left_out() -> None:
    """A claim that is null says nothing, and is not there."""
    assert claims_as_lists({"a": None, "sub": "s"}) == {"sub": ["s"]}
