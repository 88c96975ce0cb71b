"""From raw params to typed ones: each disguise that the libraries use."""

from typing import Any

import msgspec
import pytest

from oxd_protocol.connect import GET_AUTHORIZATION_URL
from oxd_protocol.errors import CommandError, ParamsError
from oxd_protocol.params import decode_params
from oxd_protocol.site import REGISTER_SITE
from oxd_protocol.uma import Condition, Resource
from tests.unit.protocol.decoding import decoded, fields_of, refused

# Absent, in every disguise


@pytest.mark.parametrize("blank", [None, "", " ", "\t", [], [""], [None], [None, "", " "]], ids=repr)
def test_blank_is_absent(blank: Any) -> None:
    """Null, blank text and lists of nothing else are absent, whatever the parameter's type (rows 9, 10 and 11)."""
    nothing = fields_of(decoded("register_site"))
    assert fields_of(decoded("register_site", **dict.fromkeys(nothing, blank))) == nothing
    assert decoded("get_authorization_url", custom_parameters=blank).custom_parameters == {}
    assert decoded("update_site", client_secret_expires_at=blank).client_secret_expires_at == 0


@pytest.mark.parametrize(
    "name",
    ["client_id", "client_secret", "op_discovery_path", "protection_access_token", "post_logout_redirect_uri"],
)
def test_blank_scalars_of_the_libraries(name: str) -> None:
    """The scalars that libraries are known to send blank are absent then (row 10)."""
    assert getattr(decoded("register_site", **{name: ""}), name) is None


def test_blank_items_are_dropped() -> None:
    """Blank and null items of a list are dropped, the others kept as they are (row 11)."""
    assert decoded("register_site", contacts=["", "a@b", None, " c "]).contacts == ("a@b", " c ")
    assert decoded("register_site", acr_values=["", "basic"]).acr_values == ("basic",)


def test_blank_protected_resources() -> None:
    """Null, "" and [] are absent within UMA resources and conditions too (row 21)."""
    blanks: tuple[Any, ...] = (None, "", [])
    for blank in blanks:
        condition = {"httpMethods": ["GET"], "scopes": blank, "ticketScopes": blank, "scope_expression": blank}
        params = decoded("uma_rs_protect", resources=[{"path": "/p", "conditions": [condition]}])
        assert params.resources == (Resource(path="/p", conditions=(Condition(http_methods=("GET",)),)),)
        params = decoded("uma_rs_protect", resources=[{"path": "/p", "conditions": blank}, blank or None])
        assert params.resources == (Resource(path="/p"),)
    params = decoded("uma_rs_protect", resources=[{"path": "/p", "conditions": [{"scope_expression": {}}]}])
    assert params.resources[0].conditions == (Condition(),)


@pytest.mark.parametrize("rpt", [None, "", "null"])
def test_no_rpt_was_sent(rpt: str | None) -> None:
    """A null or blank rpt in uma_rs_check_access says that the request had none (row 22)."""
    assert decoded("uma_rs_check_access", rpt=rpt).rpt is None


def test_the_token_null() -> None:
    """The text "null" is no token (row 23), but it is a text like any other elsewhere."""
    assert decoded("register_site", protection_access_token="null").protection_access_token is None
    assert refused("get_user_info", access_token="null").code == "bad_request"
    assert decoded("register_site", client_name="null").client_name == "null"


def test_no_protection_token_is_needed_to_decode() -> None:
    """The decoder leaves it to others whether a command needs a protection_access_token (row 24)."""
    assert decoded("introspect_access_token").protection_access_token is None
    assert decoded("introspect_rpt", rpt="r").protection_access_token is None


# What is spelt or typed differently


def test_unknown_keys_are_ignored() -> None:
    """A client's own settings among the params do no harm, of whatever type they are (row 25)."""
    assert decoded("remove_site", host="127.0.0.1", port=8099, https_extension=True, x={"y": []}).oxd_id == "id"


@pytest.mark.parametrize("empty", [[], {}, None, ""], ids=repr)
def test_custom_parameters_empty(empty: Any) -> None:
    """An empty list is an empty map (row 12)."""
    assert decoded("get_authorization_url", custom_parameters=empty).custom_parameters == {}


def test_custom_parameters() -> None:
    """Values become text: digits of a number, true or false, the JSON text of the rest; null is left out."""
    custom = {"t": "a b", "n": 1, "f": 1.5, "b": True, "l": [1, "x"], "o": {"k": None}, "z": None, "e": ""}
    assert decoded("get_authorization_url", custom_parameters=custom).custom_parameters == {
        "t": "a b", "n": "1", "f": "1.5", "b": "true", "l": '[1,"x"]', "o": '{"k":null}', "e": "",
    }  # fmt: skip


def test_custom_parameters_as_go_spells_them() -> None:
    """CustomParameters is custom_parameters (row 13), in get_authorization_url."""
    assert decoded("get_authorization_url", CustomParameters={"a": "b"}).custom_parameters == {"a": "b"}


def test_rpt_as_access_token() -> None:
    """access_token means rpt in uma_rp_get_rpt (row 14) and nowhere else."""
    assert decoded("uma_rp_get_rpt", access_token="old").rpt == "old"
    assert decoded("uma_rs_check_access", access_token="old").rpt is None


@pytest.mark.parametrize(
    ("scope", "expected"),
    [("a b", ("a", "b")), (" a\t\nb  ", ("a", "b")), ("a", ("a",)), (["a", "b"], ("a", "b")), (["a b"], ("a b",))],
)
def test_scope_as_text(scope: Any, expected: tuple[str, ...]) -> None:
    """A scope that comes as one text is split at white space (row 15)."""
    for command in ("register_site", "get_client_token", "get_authorization_url", "uma_rp_get_rpt"):
        assert decoded(command, scope=scope).scope == expected


@pytest.mark.parametrize("value", ["https://s", ["https://s"], ["", "https://s", "https://t"]])
def test_sector_identifier_as_list(value: Any) -> None:
    """Of a list of sector identifiers the first counts (row 16)."""
    assert decoded("update_site", client_sector_identifier_uri=value).client_sector_identifier_uri == "https://s"


@pytest.mark.parametrize("command", ["register_site", "setup_client", "update_site"])
def test_response_type(command: str) -> None:
    """response_type is response_types (row 17)."""
    assert decoded(command, response_type=["code"]).response_types == ("code",)
    assert decoded(command, response_type="code").response_types == ("code",)


@pytest.mark.parametrize("command", ["register_site", "setup_client", "update_site"])
def test_client_logout_uris(command: str) -> None:
    """client_logout_uris is client_frontchannel_logout_uris, and one text is a list of one (row 18)."""
    assert decoded(command, client_logout_uris=["https://l"]).client_frontchannel_logout_uris == ("https://l",)
    assert decoded(command, client_logout_uris="https://l").client_frontchannel_logout_uris == ("https://l",)


def test_a_name_goes_before_its_alias() -> None:
    """Where both a parameter and its alias are given, the alias is ignored, unless the other is blank."""
    both = {"client_logout_uris": ["https://a"], "client_frontchannel_logout_uris": ["https://n"]}
    for raw in (both, dict(reversed(both.items()))):
        assert decoded("register_site", **raw).client_frontchannel_logout_uris == ("https://n",)
    for raw in (both, dict(reversed(both.items()))):
        blank = raw | {"client_frontchannel_logout_uris": [""]}
        assert decoded("register_site", **blank).client_frontchannel_logout_uris == ("https://a",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1511367370000, 1511367370000),
        (1511367370000.0, 1511367370000),
        ("1511367370000", 1511367370000),
        ("2017-11-22T16:16:10Z", 1511367370000),
        ("2017-11-22T16:16:10.5+00:00", 1511367370500),
        ("2017-11-22 16:16:10", 1511367370000),
        (0, 0),
        (None, 0),
        ("0001-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00+14:00", 0),
        ("9999-12-31T23:59:59-14:00", 253402351199000),
        (-1, 0),
        ("-1", 0),
        ("--5", 0),
        ("-" * 30 + "5", 0),
        (" " * 30 + "5", 5),
        ("5" * 5000, 0),
        (2**80, 0),
        (1e300, 0),
        (float("inf"), 0),
        (True, 0),
        ({}, 0),
        ([[]], 0),
        ("soon", 0),
    ],
)
def test_client_secret_expires_at(value: Any, expected: int) -> None:
    """Milliseconds and dates are read; 0, zero dates and whatever else mean "unknown", never an error (row 19)."""
    assert decoded("update_site", client_secret_expires_at=value).client_secret_expires_at == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in (True, "true", " TRUE ", "1", 1)),
        *((value, False) for value in (False, "false", "0", 0)),
        *((value, None) for value in (None, "", " ")),
    ],
)
def test_overwrite(value: Any, expected: bool | None) -> None:
    """A truth value may come as text or number, and null is absent (row 20)."""
    assert decoded("uma_rs_protect", overwrite=value).overwrite is expected


@pytest.mark.parametrize("value", ["yes", 2, 1.0, {}, [True]])
def test_no_truth_value(value: Any) -> None:
    """What is neither true nor false is a wrong type."""
    assert "'overwrite' must be true or false" in str(refused("uma_rs_protect", overwrite=value))


@pytest.mark.parametrize("language", ["python", "GO", "Perl 5 & more", None, ""])
def test_accepted_without_effect(language: str | None) -> None:
    """redirect_uris, trusted_client and any oxd_rp_programming_language are accepted (row 27)."""
    params = decoded(
        "register_site",
        authorization_redirect_uri="https://rp/cb",
        redirect_uris=["https://rp/cb", "https://rp/cb2"],
        trusted_client=False,
        oxd_rp_programming_language=language,
    )
    assert params.redirect_uris == ("https://rp/cb", "https://rp/cb2")
    assert params.trusted_client is False
    assert params.oxd_rp_programming_language == (language or None)


# What is missing or wrong


@pytest.mark.parametrize(
    ("command", "name", "code"),
    [
        ("update_site", "oxd_id", "bad_request"),
        ("remove_site", "oxd_id", "bad_request"),
        ("introspect_access_token", "access_token", "bad_request"),
        ("get_client_token", "client_id", "bad_request"),
        ("get_tokens_by_code", "code", "bad_request"),
        ("uma_rs_protect", "resources", "invalid_uma_request"),
        ("uma_rs_check_access", "path", "invalid_path_parameter"),
        ("uma_rs_check_access", "http_method", "invalid_http_method"),
        ("uma_rp_get_rpt", "ticket", "invalid_ticket_parameter"),
        ("uma_rp_get_claims_gathering_url", "ticket", "invalid_ticket_parameter"),
        ("introspect_rpt", "rpt", "invalid_rpt_parameter"),
    ],
)
@pytest.mark.parametrize("blank", [None, "", []], ids=repr)
def test_a_required_parameter_is_missing(command: str, name: str, code: str, blank: Any) -> None:
    """A required parameter that is absent, null or blank has the error code of its command, which names it."""
    error = refused(command, **{name: blank})
    assert error.code == code
    assert not isinstance(error, ParamsError)
    assert error.description == f"'{name}' is missing or blank."
    assert error.details == {"check": "missing_parameter", "parameter": name}


def test_the_last_required_parameter() -> None:
    """A missing claims_redirect_uri has a code of its own."""
    error = refused("uma_rp_get_claims_gathering_url", ticket="t")
    assert error.code == "invalid_claims_redirect_uri_parameter"


@pytest.mark.parametrize(
    ("command", "raw", "sentence"),
    [
        ("remove_site", {"oxd_id": 5}, "'oxd_id' must be a text, not a number."),
        ("remove_site", {"oxd_id": ["id"]}, "'oxd_id' must be a text, not a list."),
        ("remove_site", {"oxd_id": True}, "'oxd_id' must be a text, not a truth value."),
        ("register_site", {"contacts": {}}, "'contacts' must be a list of texts, not an object."),
        ("register_site", {"contacts": [1.5]}, "'contacts' must be a text, not a number."),
        ("register_site", {"contacts": [[]]}, "'contacts' must be a text, not a list."),
        ("register_site", {"scope": 5}, "'scope' must be a list of texts, not a number."),
        ("register_site", {"client_logout_uris": 5}, "'client_logout_uris' must be a list of texts, not a number."),
        ("get_authorization_url", {"custom_parameters": "a=b"}, "'custom_parameters' must be an object, not a text."),
        ("uma_rs_protect", {"resources": "/p"}, "'resources' must be a list of objects, not a text."),
        ("uma_rs_protect", {"resources": [5]}, "'resources[0]' must be an object, not a number."),
        ("uma_rs_protect", {"resources": [{"path": "/p"}, {}]}, "'resources[1].path' is missing or blank."),
        (
            "uma_rs_protect",
            {"resources": [{"path": "/p", "conditions": [{}, {"httpMethods": 5}]}]},
            "'resources[0].conditions[1].httpMethods' must be a list of texts, not a number.",
        ),
    ],
)
def test_a_wrong_type(command: str, raw: dict[str, Any], sentence: str) -> None:
    """A parameter of a wrong type is refused with its name and what was expected, as deep inside as it is."""
    error = refused(command, **raw)
    assert isinstance(error, ParamsError)
    assert error.description == sentence


def test_one_resource_needs_no_list() -> None:
    """A single resource or condition is a list of one."""
    params = decoded("uma_rs_protect", resources={"path": "/p", "conditions": {"httpMethods": "GET", "scopes": "a b"}})
    assert params.resources == (
        Resource(path="/p", conditions=(Condition(http_methods=("GET",), scopes=("a", "b")),)),
    )  # fmt: skip


def test_only_blank_resources_are_none() -> None:
    """A list of blank resources protects nothing."""
    assert refused("uma_rs_protect", resources=[None, ""]).code == "invalid_uma_request"


def test_a_scope_expression_is_kept_as_it_is() -> None:
    """Any JSON is handed on for a scope expression."""
    expression = {"rule": {"and": [{"var": 0}, None, ""]}, "data": ["s"]}
    params = decoded(
        "uma_rs_protect", resources=[{"path": "/p", "conditions": [{"scope_expression": expression}]}]
    )  # fmt: skip
    assert params.resources[0].conditions[0].scope_expression == expression


def test_an_http_status_is_a_code() -> None:
    """http_status_<three digits> is an error code; anything else beyond the table is a mistake of the program."""
    assert CommandError("http_status_401").description == "The OP answered with this HTTP status."
    for code in ("http_status_", "http_status_40", "http_status_4000", "http_status_²²²", "http_status_٤٠١", "oops"):
        with pytest.raises(ValueError, match="not an error code"):
            CommandError(code)


def test_params_cannot_be_changed() -> None:
    """Typed params are read-only."""
    with pytest.raises(AttributeError):
        decoded("remove_site").oxd_id = "other"
    assert isinstance(decoded("remove_site"), msgspec.Struct)


def _registration(**params: Any) -> Any:
    return decode_params(REGISTER_SITE, params)


@pytest.mark.parametrize("value", [{"keys": [{"kty": "RSA"}]}, '{"keys": [{"kty": "RSA"}]}'])
def test_an_object_may_come_as_its_text(value: object) -> None:
    """A client's keys are an object, or the JSON text of one as the 4.x libraries send it."""
    assert _registration(jwks=value).jwks == {"keys": [{"kty": "RSA"}]}
    assert _registration(jwks={}).jwks is None


@pytest.mark.parametrize("value", ["{", "[]", 5, ["x"]])
def test_what_is_no_object(value: object) -> None:
    """Anything else is refused, and is not shown."""
    with pytest.raises(ParamsError, match="'jwks' must be an object"):
        _registration(jwks=value)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (3600, 3600), ("3600", 3600), (" ", None), (None, None)])
def test_whole_numbers(value: object, expected: int | None) -> None:
    """A number may come as its digits; blank is absent."""
    assert _registration(default_max_age=value).default_max_age == expected


@pytest.mark.parametrize("value", [True, 1.5, "soon", [5], "9" * 20])
def test_what_is_no_whole_number(value: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ParamsError, match="'default_max_age' must be a whole number"):
        _registration(default_max_age=value)


def test_text_may_come_as_a_number() -> None:
    """Where a dialect reads leniently, a number or a truth value stands for its text, and only where text is due."""
    fields = GET_AUTHORIZATION_URL.fields
    sent = {"state": 5, "nonce": True, "scope": ["a"], "unknown": 1}
    assert fields.lenient(sent) == {"state": "5", "nonce": "true", "scope": ["a"], "unknown": 1}


def test_a_dialect_that_there_is_none_of_is_refused() -> None:
    """``register_site`` takes the dialects that there are; with one, the site protects itself."""
    assert decode_params(REGISTER_SITE, {"dialect": "4"}).protects_itself
    assert not decode_params(REGISTER_SITE, {}).protects_itself
    with pytest.raises(CommandError, match="dialect must be one of 4, 4-beta"):
        decode_params(REGISTER_SITE, {"dialect": "5"})
