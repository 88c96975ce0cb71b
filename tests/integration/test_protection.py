"""Protected commands, through both entrances: who may run what, and that a refusal leaves no trace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from oxd_protocol.catalog import COMMANDS
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.reference import example_params
from oxd_server.sandbox import RunningSandbox
from oxd_server.sandbox.provider.model import Grant, Token
from tests.integration.faulty_op import REGISTRATION, Exchange, faulty_op, silent
from tests.integration.https_client import Front, envelope_of, running_front
from tests.integration.logins import data_of, error_of
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.stored import stored_rows

PROTECTED = {"protect_commands_with_access_token": True}
OPEN = {"protect_commands_with_access_token": False}
SITE: dict[str, Any] = {
    "authorization_redirect_uri": "https://app.example/cb",
    "scope": ["openid", "profile", "uma_protection"],
}


@dataclass(frozen=True)
class Setup:
    """What ``setup_client`` answered at one OP."""

    op: RunningSandbox
    data: dict[str, Any]

    def token(self, scope: str = "openid oxd", *, lifetime: float = 3600) -> str:
        """Have the OP issue a token of the setup client."""
        state, text, now = self.op.state, self.op.state.new_token(), self.op.state.seconds()
        token = Token(Grant(self.data["client_id"], None, scope), scope, now, int(now + lifetime))
        state.access_tokens.put(text, token, lifetime)
        return text

    def revoked_token(self) -> str:
        """Have the OP issue a token and take it back."""
        text = self.token()
        token = self.op.state.access_tokens.get(text)
        assert token is not None
        token.grant.revoked = True
        return text


async def set_up(front: Front, op: RunningSandbox, **params: Any) -> Setup:
    """Run ``setup_client``."""
    return Setup(op, data_of(await front.call("setup_client", op_host=op.issuer, **{**SITE, **params})))


async def call(front: Front, entrance: str, command: str, token: str | None, params: dict[str, Any]) -> dict[str, Any]:
    """Run a command through one of the entrances."""
    if entrance == "https":
        return envelope_of(await front.post(command, params, token=token))
    return await front.server.call(command, **params, **({} if token is None else {"protection_access_token": token}))


def clients_of(op: RunningSandbox) -> dict[str, Any]:
    """Return all that the OP has of its clients."""
    return {
        key: (client.metadata, client.secret, client.registration_access_token)
        for key, (_, client) in op.state.clients._entries.items()
    }


@asynccontextmanager
async def two_ops(folder: Path) -> AsyncIterator[tuple[Front, Setup, Setup, Setup]]:
    """Run a protected server; yield a setup client, another at the same OP, and one at another OP."""
    async with running_sandbox() as op, running_sandbox() as other_op, running_front(folder, PROTECTED) as front:
        yield front, await set_up(front, op), await set_up(front, op), await set_up(front, other_op)


GUARDED = [command for command in COMMANDS if command.protected]


def guarded(entrance: str) -> list[AnyCommand]:
    """Return the commands that are protected there; over HTTPS the newer ones speak another dialect."""
    return [command for command in GUARDED if entrance == "socket" or command.generation == 3]


@pytest.mark.parametrize("entrance", ["socket", "https"])
async def test_no_command_runs_with_a_bad_token(tmp_path: Path, entrance: str) -> None:
    """Whatever is wrong with the token, every protected command names it, and neither store nor OP has changed."""
    async with two_ops(tmp_path) as (front, ours, others, elsewhere):
        bad = {
            "another setup client": (others.token(), "invalid_protection_access_token"),
            "another OP": (elsewhere.token(), "inactive_protection_access_token"),
            "no scope": (ours.token("openid uma_protection"), "protection_access_token_insufficient_scope"),
            "expired": (ours.token(lifetime=-1), "inactive_protection_access_token"),
            "revoked": (ours.revoked_token(), "inactive_protection_access_token"),
            "the token of a user of the site": (
                Setup(ours.op, {"client_id": ours.data["client_id_of_oxd_id"]}).token(),
                "invalid_protection_access_token",
            ),
            "nonsense": ("no token", "inactive_protection_access_token"),
        }
        before = stored_rows(tmp_path), clients_of(ours.op), clients_of(elsewhere.op)
        for command in guarded(entrance):
            params = example_params(command) | {"oxd_id": ours.data["oxd_id"], "op_host": ours.op.issuer}
            if command.name == "register_site":
                del params["oxd_id"]
            for name, (token, code) in bad.items():
                if (command.name, code) == ("register_site", "invalid_protection_access_token"):
                    continue  # whose token it is, is what register_site finds out
                if entrance == "https" and " " in token:
                    continue  # no such header gets that far
                answer = await call(front, entrance, command.name, token, params)
                assert error_of(answer) == code, (command.name, name, answer)
        assert (stored_rows(tmp_path), clients_of(ours.op), clients_of(elsewhere.op)) == before


@pytest.mark.parametrize("entrance", ["socket", "https"])
async def test_every_command_runs_with_the_right_token_only(tmp_path: Path, entrance: str) -> None:
    """With the setup client's token no protection code is answered; without one, or with a blank one, always."""
    async with two_ops(tmp_path) as (front, ours, _, _):
        token = ours.token()
        for command in guarded(entrance):
            if command.name == "remove_site":
                continue
            params = example_params(command) | {"oxd_id": ours.data["oxd_id"], "op_host": ours.op.issuer}
            answer = await call(front, entrance, command.name, token, params)
            assert answer["status"] == "ok" or "protection" not in error_of(answer), (command.name, answer)
            if entrance == "https" and command.name == "register_site":
                continue  # without a token, it is of dialect 4
            for blank in (None, "", "null") if entrance == "socket" else (None,):
                refused = error_of(await call(front, entrance, command.name, blank, params))
                assert refused == ("403" if entrance == "https" else "blank_protection_access_token")
        removed = await call(front, entrance, "remove_site", token, {"oxd_id": ours.data["oxd_id"]})
        assert removed["status"] == "ok"


async def test_a_revoked_token_stops_working_at_once(tmp_path: Path) -> None:
    """The OP is asked every time: the call after a revocation is refused."""
    async with two_ops(tmp_path) as (front, ours, _, _):
        params = {"client_id": ours.data["client_id"], "client_secret": ours.data["client_secret"]}
        token = data_of(await front.call("get_client_token", op_host=ours.op.issuer, **params))["access_token"]
        oxd_id = ours.data["oxd_id"]
        data_of(await front.call("get_rp", token=token, oxd_id=oxd_id))
        async with httpx2.AsyncClient(trust_env=False) as client:
            credentials = (ours.data["client_id"], ours.data["client_secret"])
            answer = await client.post(f"{ours.op.issuer}/revoke", data={"token": token}, auth=credentials)
            assert answer.status_code == 200
        refused = await front.call("get_rp", token=token, oxd_id=oxd_id)
        assert error_of(refused) == "inactive_protection_access_token"


async def test_the_setup_clients_site_needs_its_token_as_well(tmp_path: Path) -> None:
    """A setup client belongs to itself: its own token changes it, another's does not."""
    async with two_ops(tmp_path) as (front, ours, others, _):
        params = {"oxd_id": ours.data["setup_client_oxd_id"], "client_name": "renamed"}
        assert error_of(await front.call("update_site", token=others.token(), **params)) == (
            "invalid_protection_access_token"
        )
        data_of(await front.call("update_site", token=ours.token(), **params))
        client = ours.op.state.clients.get(ours.data["client_id"])
        assert client is not None
        assert client.name == "renamed"


async def test_a_site_without_a_setup_client_is_closed(tmp_path: Path) -> None:
    """A site that was registered while commands were open cannot be used once they are protected."""
    async with running_sandbox() as op:
        async with running_front(tmp_path, OPEN) as front:
            oxd_id = data_of(await front.call("register_site", token="any", op_host=op.issuer, **SITE))["oxd_id"]
        async with running_front(tmp_path, PROTECTED) as front:
            setup = await set_up(front, op)
            refused = await front.call("remove_site", token=setup.token(), oxd_id=oxd_id)
            assert error_of(refused) == "no_setup_client_for_oxd_id"
            unknown = await front.call(
                "remove_site", token=setup.token(), oxd_id="6F9619FF-8B86-D011-B42D-00CF4FC964FF"
            )
            assert error_of(unknown) == "invalid_oxd_id"


async def test_a_registered_site_belongs_to_the_tokens_setup_client(tmp_path: Path) -> None:
    """Each setup client may use the sites registered with its tokens, lists them, and sees no others."""
    async with two_ops(tmp_path) as (front, ours, others, _):
        registered = [
            data_of(await front.call("register_site", token=setup.token(), op_host=ours.op.issuer, **SITE))["oxd_id"]
            for setup in (ours, others)
        ]
        for setup, own, foreign in ((ours, *registered), (others, *registered[::-1])):
            token = setup.token()
            data_of(await front.call("get_rp", token=token, oxd_id=own))
            refused = await front.call("get_rp", token=token, oxd_id=foreign)
            assert error_of(refused) == "invalid_protection_access_token"
            node = data_of(await front.call("get_rp", token=token, oxd_id=own, list=True))["node"]
            assert {site["oxd_id"] for site in node} == {own, setup.data["oxd_id"], setup.data["setup_client_oxd_id"]}
            assert all(site.keys() == {"oxd_id", "client_name"} for site in node)


async def test_a_list_without_an_oxd_id_asks_the_default_op_alone(tmp_path: Path) -> None:
    """A token is not shown to OPs that may not have issued it: without a default OP an oxd_id must be named."""
    async with running_sandbox() as op:
        async with running_front(tmp_path, PROTECTED) as front:
            setup = await set_up(front, op)
            refused = await front.call("get_rp", token=setup.token(), list=True)
            assert error_of(refused) == "no_setup_client_for_oxd_id"
        async with running_front(tmp_path, PROTECTED, {"op_host": op.issuer}) as front:
            node = data_of(await front.call("get_rp", token=setup.token(), list=True))["node"]
            assert len(node) == 2
            stranger = Setup(op, {"client_id": setup.data["client_id_of_oxd_id"]}).token()
            refused = await front.call("get_rp", token=stranger, list=True)
            assert error_of(refused) == "invalid_protection_access_token"


async def test_a_token_of_an_unknown_client_is_judged_by_the_new_one(tmp_path: Path) -> None:
    """Where the server knows no setup client, the registration stands or falls with what the new client is told."""
    async with (
        running_sandbox() as op,
        running_front(tmp_path / "known") as known,
        running_front(tmp_path / "new") as new,
    ):
        setup = await set_up(known, op)
        before = stored_rows(tmp_path / "new"), clients_of(op)
        for token, code in (
            (setup.token(lifetime=-1), "inactive_protection_access_token"),
            (setup.token("openid"), "protection_access_token_insufficient_scope"),
        ):
            assert error_of(await new.call("register_site", token=token, op_host=op.issuer, **SITE)) == code
        assert (stored_rows(tmp_path / "new"), clients_of(op)) == before
        oxd_id = data_of(await new.call("register_site", token=setup.token(), op_host=op.issuer, **SITE))["oxd_id"]
        data_of(await new.call("get_authorization_url", token=setup.token(), oxd_id=oxd_id))
        foreign = Setup(op, {"client_id": setup.data["client_id_of_oxd_id"]}).token()
        refused = await new.call("get_authorization_url", token=foreign, oxd_id=oxd_id)
        assert error_of(refused) == "invalid_protection_access_token"


async def test_a_client_brought_along_is_kept_only_with_a_good_token(tmp_path: Path) -> None:
    """Where no setup client is known, the client brought along asks about the token before its site is kept."""
    async with (
        running_sandbox() as op,
        running_front(tmp_path / "known") as known,
        running_front(tmp_path / "new") as new,
    ):
        setup = await set_up(known, op)
        client_id = setup.data["client_id_of_oxd_id"]
        client = op.state.clients.get(client_id)
        assert client is not None
        own = {"client_id": client_id, "client_secret": client.secret, "op_host": op.issuer, **SITE}
        before = stored_rows(tmp_path / "new"), clients_of(op)
        refused = await new.call("register_site", token=setup.revoked_token(), **own)
        assert error_of(refused) == "inactive_protection_access_token"
        wrong = await new.call("register_site", token=setup.token(), **{**own, "client_secret": "wrong"})
        assert error_of(wrong) == "http_status_401"
        assert (stored_rows(tmp_path / "new"), clients_of(op)) == before
        data_of(await new.call("register_site", token=setup.token(), **own))
        assert clients_of(op) == before[1]


async def test_get_rp_over_https_needs_a_token_even_where_commands_are_open(tmp_path: Path) -> None:
    """Stored secrets never leave over HTTPS without a token of the setup client; other commands need no header."""
    async with running_sandbox() as op, running_front(tmp_path, OPEN) as front:
        setup = await set_up(front, op)
        oxd_id = setup.data["oxd_id"]
        data_of(await front.call("get_authorization_url", token="anything", oxd_id=oxd_id))
        data_of(await front.call("get_authorization_url", oxd_id=oxd_id))
        assert error_of(await front.call("get_rp", oxd_id=oxd_id)) == "403"
        assert (
            error_of(await front.call("get_rp", token="anything", oxd_id=oxd_id)) == "inactive_protection_access_token"
        )
        assert data_of(await front.call("get_rp", token=setup.token(), oxd_id=oxd_id))["node"]["oxd_id"] == oxd_id
        assert data_of(await front.server.call("get_rp", oxd_id=oxd_id))["node"]["oxd_id"] == oxd_id


async def test_without_the_setting_https_is_protected_and_the_loopback_socket_open(tmp_path: Path) -> None:
    """Where protect_commands_with_access_token is absent, what other machines can reach is protected."""
    async with running_sandbox() as op, running_front(tmp_path) as front:
        setup = await set_up(front, op)
        oxd_id = setup.data["oxd_id"]
        refused = await front.call("get_logout_uri", token="anything", oxd_id=oxd_id)
        assert error_of(refused) == "inactive_protection_access_token"
        data_of(await front.server.call("get_logout_uri", oxd_id=oxd_id))


async def test_setup_client_registers_two_clients(tmp_path: Path) -> None:
    """The first can get tokens that protect commands; the second is as asked, plus what its PAT needs."""
    async with running_sandbox() as op, running_front(tmp_path) as front:
        setup = await set_up(front, op, setup_client_name="Setup", client_name="App")
        assert setup.data.keys() >= {"op_host", "setup_client_oxd_id", "client_registration_client_uri"}
        first = op.state.clients.get(setup.data["client_id"])
        second = op.state.clients.get(setup.data["client_id_of_oxd_id"])
        assert first is not None
        assert second is not None
        assert (first.name, second.name, len(op.state.clients)) == ("Setup", "App", 2)
        assert (
            first.listed("grant_types") == second.listed("grant_types") == ["authorization_code", "client_credentials"]
        )
        assert first.metadata["scope"].split() == ["openid", "profile", "uma_protection", "oxd"]
        assert second.metadata["scope"].split() == ["openid", "profile", "uma_protection"]
        plain = await set_up(front, op, scope=["openid"])
        client = op.state.clients.get(plain.data["client_id_of_oxd_id"])
        assert client is not None
        assert client.listed("grant_types") == ["authorization_code"]


async def test_setup_client_leaves_nothing_behind_when_the_second_registration_fails(tmp_path: Path) -> None:
    """Two clients or none: what the OP refuses for the second is taken back for the first."""
    async with running_sandbox() as op, running_front(tmp_path) as front:
        data_of(await front.server.call("get_rp", list=True))
        before = stored_rows(tmp_path)
        # A public client cannot have the grant client_credentials; the setup client is made confidential, so it is
        # the second registration that the OP refuses.
        params = {**SITE, "client_token_endpoint_auth_method": "none"}
        answer = await front.call("setup_client", op_host=op.issuer, **params)
        assert error_of(answer) == "http_status_400"
        assert (clients_of(op), stored_rows(tmp_path)) == ({}, before)


async def test_setup_client_takes_an_existing_client(tmp_path: Path) -> None:
    """With client_id and client_secret nothing is registered, and that client's tokens protect its sites."""
    async with running_sandbox() as op, running_front(tmp_path) as front:
        first = await set_up(front, op)
        before = clients_of(op)
        own = {"client_id": first.data["client_id"], "client_secret": first.data["client_secret"]}
        second = await set_up(front, op, **own)
        assert clients_of(op) == before
        assert second.data["client_id"] == second.data["client_id_of_oxd_id"] == first.data["client_id"]
        data_of(await front.call("get_rp", token=first.token(), oxd_id=second.data["oxd_id"]))


async def test_setup_client_never_tells_the_default_clients_secret(tmp_path: Path) -> None:
    """A client in the default site configuration is the operator's: an unprotected command must not show it."""
    default = {"client_id": "operator", "client_secret": "hidden-secret-of-the-operator"}
    async with running_sandbox() as op, running_front(tmp_path, None, default) as front:
        answer = await front.post("setup_client", {"op_host": op.issuer, **SITE})
        assert data_of(answer.json())["client_id"] != "operator"
        assert "hidden-secret" not in answer.text


async def test_get_client_token_always_asks_for_the_scope_of_protection(tmp_path: Path) -> None:
    """For a setup client of this server a token without the scope oxd would be of no use, so it is added."""
    async with running_sandbox() as op, running_front(tmp_path) as front:
        setup = await set_up(front, op)
        params = {
            "op_host": op.issuer,
            "client_id": setup.data["client_id"],
            "client_secret": setup.data["client_secret"],
        }
        for scope, expected in (([], "openid oxd"), (["openid"], "openid oxd"), (["oxd", "openid"], "oxd openid")):
            token = data_of(await front.call("get_client_token", scope=scope, **params))
            assert token["scope"] == expected
            data_of(await front.call("get_logout_uri", token=token["access_token"], oxd_id=setup.data["oxd_id"]))
        second = op.state.clients.get(setup.data["client_id_of_oxd_id"])
        assert second is not None
        plain = {**params, "client_id": second.client_id, "client_secret": second.secret}
        token = data_of(await front.call("get_client_token", scope=["uma_protection"], **plain))
        assert token["scope"] == "uma_protection"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_secret": "wrong"}, "http_status_401"),
        ({"client_secret": None}, "invalid_request"),
        ({"authentication_method": "magic"}, "invalid_request"),
        ({"authentication_method": "private_key_jwt"}, "invalid_algorithm"),
        ({"authentication_method": "private_key_jwt", "algorithm": "HS256"}, "invalid_algorithm"),
        ({"authentication_method": "private_key_jwt", "algorithm": "RS256"}, "invalid_request"),
        ({"authentication_method": "client_secret_jwt", "algorithm": "RS256"}, "invalid_algorithm"),
        ({"op_host": "https://op.example#"}, "invalid_op_host"),
        ({"op_host": "http://127.0.0.1:9"}, "no_connect_discovery_response"),
        ({"client_id": None}, "bad_request"),
    ],
)
async def test_get_client_token_names_what_is_wrong(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    """Wrong credentials, methods and algorithms are each told apart."""
    async with running_sandbox() as op, running_front(tmp_path) as front:
        setup = await set_up(front, op)
        params = {
            "op_host": op.issuer,
            "client_id": setup.data["client_id"],
            "client_secret": setup.data["client_secret"],
        }
        assert error_of(await front.call("get_client_token", **{**params, **changes})) == code


async def test_introspect_access_token_passes_the_answer_on(tmp_path: Path) -> None:
    """What the OP says of a token arrives whole, with the scopes as a list beside it."""
    async with running_sandbox() as op, running_front(tmp_path) as front:
        setup = await set_up(front, op)
        token = setup.token("openid oxd")
        params = {"oxd_id": setup.data["oxd_id"]}
        told = data_of(await front.call("introspect_access_token", token=token, access_token=token, **params))
        assert told["active"] is True
        assert told["scopes"] == ["openid", "oxd"]
        assert (told["client_id"], told["iss"]) == (setup.data["client_id"], op.issuer)
        told = data_of(await front.call("introspect_access_token", token=token, access_token="unknown", **params))
        assert told == {"active": False, "username": None, "sub": None, "jti": None, "acr_values": None}


@pytest.mark.parametrize("end", ["the second registration hangs", "the token is not good"])
async def test_an_abandoned_command_takes_its_clients_back(tmp_path: Path, end: str) -> None:
    """A command that is given up in the middle, or refused after a registration, leaves no client at the OP."""
    config = {"time_out_in_seconds": 3, "protect_commands_with_access_token": True}
    async with running_sandbox() as sandbox, faulty_op(sandbox) as op, running_front(tmp_path, config) as front:
        registrations = 0

        async def second_hangs(exchange: Exchange) -> None:
            nonlocal registrations
            registrations += exchange.head.method == b"POST"
            if registrations == 2 and exchange.head.method == b"POST":
                await silent(exchange)
            else:
                await exchange.reply(await exchange.forward())

        op.faults[REGISTRATION] = second_hangs
        if end == "the token is not good":
            answer = await front.call("register_site", token="bad", op_host=op.issuer, **SITE)
            assert error_of(answer) == "inactive_protection_access_token"
        else:
            answer = await front.call("setup_client", op_host=op.issuer, **SITE)
            assert error_of(answer) == "op_unreachable"
        assert clients_of(sandbox) == {}
        assert f"DELETE {REGISTRATION}" in op.requests
        assert stored_rows(tmp_path)["site"] == []
