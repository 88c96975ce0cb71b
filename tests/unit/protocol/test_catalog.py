"""The wire surface as one list: each command's parameters and answer keys, and the names it goes by."""

import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from oxd_protocol.catalog import ALIASES, COMMANDS, find_command
from oxd_protocol.errors import ERROR_CODES, CommandError
from oxd_protocol.params import AnyCommand, Params, Result

OXD_ID = ("oxd_id",)

# command: required params, answer keys
EXPECTED: dict[str, tuple[tuple[str, ...], str]] = {
    "setup_client": (
        (),
        "oxd_id client_id_of_oxd_id op_host setup_client_oxd_id client_id client_secret "
        "client_registration_access_token client_registration_client_uri client_id_issued_at client_secret_expires_at",
    ),
    "get_client_token": (("client_id", "op_host"), "access_token expires_in refresh_token scope"),
    "introspect_access_token": ((*OXD_ID, "access_token"), "active scopes"),
    "register_site": ((), "oxd_id op_host"),
    "update_site": (OXD_ID, "oxd_id"),
    "remove_site": (OXD_ID, "oxd_id"),
    "get_authorization_url": (OXD_ID, "authorization_url"),
    "get_tokens_by_code": (
        (*OXD_ID, "code", "state"),
        "access_token expires_in id_token refresh_token id_token_claims authorization_details",
    ),
    "get_access_token_by_refresh_token": (
        (*OXD_ID, "refresh_token"),
        "access_token expires_in refresh_token scope authorization_details",
    ),
    "get_user_info": ((*OXD_ID, "access_token"), "claims refresh_token access_token"),
    "get_logout_uri": (OXD_ID, "uri"),
    "uma_rs_protect": ((*OXD_ID, "resources"), "oxd_id"),
    "uma_rs_modify": ((*OXD_ID, "path", "http_method"), "oxd_id"),
    "uma_rs_check_access": ((*OXD_ID, "path", "http_method"), "access ticket www-authenticate_header"),
    "introspect_rpt": ((*OXD_ID, "rpt"), "active exp iat nbf permissions client_id sub aud iss jti"),
    "uma_rp_get_rpt": ((*OXD_ID, "ticket"), "access_token token_type pct updated"),
    "uma_rp_get_claims_gathering_url": ((*OXD_ID, "ticket", "claims_redirect_uri"), "url state"),
    "get_rp": ((), "node"),
    "validate": ((*OXD_ID, "code", "state", "id_token"), ""),
    "get_request_object_uri": (OXD_ID, "request_uri"),
    "get_request_object": (("request_object_id",), "request_object"),
    "initiate_third_party_login": ((*OXD_ID, "iss"), "authorization_url"),
    "get_jwks": ((), "keys"),
    "get_discovery": ((), "issuer"),
    "get_issuer": (("resource",), "subject links"),
    "get_rp_jwks": ((), "keys"),
    "backchannel_logout": ((*OXD_ID, "logout_token"), ""),
    "session_status": (OXD_ID, "active logged_out_at"),
    "wait_for_logout": (OXD_ID, "active logged_out_at"),
    "get_frontchannel_logout_page": (OXD_ID, "page headers"),
    "start_device_login": (
        OXD_ID,
        "device_code user_code verification_uri verification_uri_complete expires_in interval",
    ),
    "poll_device_login": (
        (*OXD_ID, "device_code"),
        "status interval access_token expires_in id_token refresh_token",
    ),
    "get_site_token": (OXD_ID, "access_token token_type expires_in scope"),
    "exchange_token": (
        (*OXD_ID, "subject_token"),
        "access_token issued_token_type token_type expires_in refresh_token scope",
    ),
    "get_dpop_proof": ((*OXD_ID, "http_method", "url"), "dpop"),
    "revoke_token": ((*OXD_ID, "token"), ""),
    "id_token_status": ((*OXD_ID, "id_token"), "active expires_at issued_at claims"),
    "access_token_status": ((*OXD_ID, "id_token", "access_token"), "active expires_at issued_at"),
}
GONE = {
    "get_authorization_code",
    "authorization_code_flow",
    "implicit_flow",
    "license_status",
    "uma_rp_authorize_rpt",
    "uma_rp_get_gat",
}
each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def _keys(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def test_every_command_is_there_once() -> None:
    """The catalogue holds the documented commands and the ones that are no more, each once."""
    names = [command.name for command in COMMANDS]
    assert set(names) == EXPECTED.keys() | GONE
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", EXPECTED)
def test_required_params_and_answer(name: str) -> None:
    """A command requires the documented params, and its answer has the documented keys and no others."""
    command = find_command(name)
    assert command is not None
    required, keys = EXPECTED[name]
    assert set(command.fields.required) == set(required)
    assert _keys(command.result) == set(keys.split())


@pytest.mark.parametrize("name", sorted(GONE))
def test_commands_that_are_no_more(name: str) -> None:
    """An old command is known, needs nothing, and says in a sentence what to use instead (row 26)."""
    command = find_command(name)
    assert command is not None
    assert command.unsupported
    assert command.unsupported.endswith(".")
    assert not command.fields.readers
    assert not command.protected


def test_protected_commands() -> None:
    """All commands but those that get the first token take a protection_access_token."""
    for command in COMMANDS:
        if command.unsupported is None:
            open_ones = {"setup_client", "get_client_token", "get_jwks", "get_discovery", "get_issuer", "get_rp_jwks"}
            open_ones |= {"get_request_object", "backchannel_logout"}
            assert command.protected is (command.name not in open_ones)
            assert not command.protected or "protection_access_token" in command.fields.readers


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("get_user_info", "get_user_info"),
        ("GET_USER_INFO", "get_user_info"),
        ("Get_User_Info", "get_user_info"),
        (" get_user_info\n", "get_user_info"),
        ("update_site_registration", "update_site"),
        ("UPDATE_SITE_REGISTRATION", "update_site"),
        ("License_Status", "license_status"),
    ],
)
def test_names_in_any_letter_case(name: str, command: str) -> None:
    """A command is found in any letter case, an old name of it too (row 26)."""
    found = find_command(name)
    assert found is not None
    assert found.name == command


@pytest.mark.parametrize(
    "name", ["", "get-user-info", "get_user_info2", "no_such_command", "\u0131ntrospect_rpt", "x" * 9999]
)
def test_unknown_names(name: str) -> None:
    """Any other name is no command."""
    assert find_command(name) is None


def test_aliases_hide_nothing() -> None:
    """No alias, of a command or of a parameter, is the name of another, and each leads to one that exists."""
    names = {command.name for command in COMMANDS}
    assert not ALIASES.keys() & names
    assert set(ALIASES.values()) <= names
    for command in COMMANDS:
        fields = _keys(command.params)
        assert not command.aliases.keys() & fields
        assert set(command.aliases.values()) <= fields


@each_command
def test_error_codes_for_what_is_missing(command: AnyCommand) -> None:
    """The code for a missing parameter is in the table, and the parameter is a required one."""
    assert command.missing.keys() <= set(command.fields.required)
    assert set(command.missing.values()) <= ERROR_CODES.keys()


@each_command
def test_structs_are_discreet(command: AnyCommand) -> None:
    """Params and results are of the kinds whose representation shows no values; every command has a summary."""
    assert issubclass(command.params, Params)
    assert issubclass(command.result, Result)
    assert command.summary.endswith(".")


@each_command
def test_what_may_be_left_out_is_in_the_answer(command: AnyCommand) -> None:
    """A key that a long answer leaves out is one of the answer's keys."""
    assert command.recomputable is None or command.recomputable in _keys(command.result)


def _metas(hint: Any) -> Iterator[msgspec.Meta]:
    for note in getattr(hint, "__metadata__", ()):
        if isinstance(note, msgspec.Meta):
            yield note
    for argument in typing.get_args(hint):
        yield from _metas(argument)


@each_command
def test_descriptions_are_sentences(command: AnyCommand) -> None:
    """What the catalogue says about a parameter ends with a full stop."""
    for hint in typing.get_type_hints(command.params, include_extras=True).values():
        for meta in _metas(hint):
            assert meta.description
            assert meta.description.endswith(".")


@pytest.mark.parametrize("code", ERROR_CODES)
def test_every_code_has_a_sentence(code: str) -> None:
    """An error without a description of its own gets the code's, which is a sentence for a person."""
    error = CommandError(code)
    assert error.description == ERROR_CODES[code]
    assert error.description[-1] in ".?"
    assert str(error) == f"{code}: {error.description}"
    assert CommandError(code, "Other.").description == "Other."
