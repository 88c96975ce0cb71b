"""Who needs a token where; what a handler sees of it; and that no command is left unprotected by forgetting."""

from __future__ import annotations

from typing import Any

import pytest

from oxd_protocol.catalog import COMMANDS, find_command
from oxd_protocol.errors import CommandError
from oxd_protocol.params import AnyCommand, Command, Params, Result, decode_params
from oxd_protocol.site import RegisterSiteParams
from oxd_server.dispatch.guard import Entrance, Guard, is_protected, without_token

UNPROTECTED = {"setup_client", "get_client_token", "get_jwks", "get_discovery", "get_issuer", "get_rp_jwks"}
UNPROTECTED |= {"get_request_object", "backchannel_logout"}
RETURN_SECRETS = {"get_rp"}


class NoServices:
    """Services that nothing may be asked of."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


def command(name: str) -> AnyCommand:
    """Return the command of this name."""
    found = find_command(name)
    assert found is not None
    return found


def guard(setting: bool | None) -> Guard:
    """Return a guard that must decide without asking anybody."""
    return Guard(NoServices(), setting)  # type: ignore[arg-type]


def test_a_command_is_protected_unless_it_is_named_here() -> None:
    """Two commands give the tokens and so cannot need one; the others that need none do not exist any more."""
    assert {each.name for each in COMMANDS if not each.protected and each.unsupported is None} == UNPROTECTED
    assert {each.name for each in COMMANDS if each.returns_secrets} == RETURN_SECRETS
    assert Command("new", Params, Result, "A command that nobody thought about.").protected


def test_every_protected_command_takes_a_token() -> None:
    """A protected command whose params had no token could never run where commands are protected."""
    for each in COMMANDS:
        if each.protected:
            assert "protection_access_token" in each.params.__struct_fields__, each.name


@pytest.mark.parametrize(
    ("setting", "protected"),
    [
        (None, {Entrance.EXPOSED_SOCKET, Entrance.HTTPS}),
        (True, set(Entrance)),
        (False, set()),
    ],
)
def test_the_setting_decides_where_a_token_is_needed(setting: bool | None, protected: set[Entrance]) -> None:
    """Absent: where other machines can reach us. And what returns secrets always needs one over HTTPS."""
    for each in COMMANDS:
        needed = {entrance for entrance in Entrance if is_protected(each, setting, entrance)}
        if not each.protected:
            assert needed == set()
        elif each.returns_secrets:
            assert needed == protected | {Entrance.HTTPS}
        else:
            assert needed == protected


def test_where_commands_are_open_the_handler_sees_no_token() -> None:
    """A token that was not checked must not look as if it had been."""
    params = decode_params(command("register_site"), {"protection_access_token": "t", "client_name": "n"})
    assert not guard(False).protects(command("register_site"), Entrance.HTTPS, RegisterSiteParams())
    seen = without_token(params)
    assert seen.protection_access_token is None  # type: ignore[attr-defined]
    assert seen.client_name == "n"  # type: ignore[attr-defined]
    assert without_token(seen) is seen


@pytest.mark.parametrize("token", [None, "", "  ", "null"])
async def test_a_blank_token_is_refused_before_anything_is_asked(token: str | None) -> None:
    """Every protected command without a token is refused; neither store nor OP hears of it."""
    for each in COMMANDS:
        if not each.protected:
            continue
        raw: dict[str, Any] = dict.fromkeys(each.fields.required, "x") | {"protection_access_token": token}
        if each.name == "uma_rs_protect":
            raw["resources"] = [{"path": "/"}]
        with pytest.raises(CommandError) as refused:
            await guard(True).check(decode_params(each, raw))
        assert refused.value.code == "blank_protection_access_token"


async def test_params_that_name_no_site_are_refused() -> None:
    """A command that says neither site nor OP cannot say whose token it needs: denied, whatever the token."""

    class Nameless(command("validate").params):  # type: ignore[misc]
        oxd_id: str | None = None

    params = Nameless(oxd_id=None, code="c", state="s", id_token="i", protection_access_token="t")
    with pytest.raises(CommandError) as refused:
        await guard(True).check(params)
    assert refused.value.code == "no_setup_client_for_oxd_id"
