"""Callers who are strangers to each other, at one server: nobody acts as another's client, and nobody is in the way."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from oxd_server.op.key_store import new_key_store
from oxd_server.sandbox import RunningSandbox
from tests.integration.faulty_op import TOKEN, Exchange, FaultyOp, faulty_op
from tests.integration.https_client import Front, running_front
from tests.integration.logins import data_of, error_of
from tests.integration.oxd_process import running_server
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.stored import stored_rows
from tests.integration.test_protection import PROTECTED, SITE, Setup, clients_of, set_up

INTROSPECTION = "/introspect"
SIGNED: dict[str, Any] = {
    "client_token_endpoint_auth_method": "private_key_jwt",
    "client_token_endpoint_auth_signing_alg": "RS256",
    "grant_types": ["authorization_code", "client_credentials"],
}
ASKS_TO_SIGN = {"authentication_method": "private_key_jwt", "algorithm": "RS256"}


@asynccontextmanager
async def signing_front(folder: Path) -> AsyncIterator[tuple[FaultyOp, Front]]:
    """Run an OP and a protected front whose server has a key of its own."""
    folder.mkdir(exist_ok=True)
    new_key_store(folder / "keys.json")
    config = {**PROTECTED, "crypt_provider_key_store_path": str(folder / "keys.json")}
    async with running_sandbox() as sandbox, faulty_op(sandbox) as op, running_front(folder, config) as front:
        yield op, front


async def set_up_at(front: Front, op: FaultyOp, **params: Any) -> Setup:
    """Run ``setup_client`` at an OP that can misbehave."""
    return Setup(op.sandbox, data_of(await front.call("setup_client", op_host=op.issuer, **SITE, **params)))


async def test_the_servers_key_signs_for_nobody_who_only_knows_a_client_id(tmp_path: Path) -> None:
    """A token for a private_key_jwt client is refused where callers are strangers; the OP is not even asked."""
    async with signing_front(tmp_path) as (op, front):
        setup = await set_up_at(front, op, **SIGNED)
        client_ids = (setup.data["client_id"], setup.data["client_id_of_oxd_id"], "unknown")
        for client_id in client_ids:
            for params in (ASKS_TO_SIGN, {**ASKS_TO_SIGN, "client_secret": "made up"}):
                refused = await front.call("get_client_token", op_host=op.issuer, client_id=client_id, **params)
                assert error_of(refused) == "invalid_request"
        for client_id in client_ids[:1]:  # its registered way is to sign
            assert error_of(await front.call("get_client_token", op_host=op.issuer, client_id=client_id)) in (
                "invalid_request",
                "http_status_401",
            )
        assert f"POST {TOKEN}" not in op.requests


async def test_on_the_open_socket_the_servers_key_signs(tmp_path: Path) -> None:
    """Applications that share an open socket are one party: there private_key_jwt works as it always did."""
    new_key_store(tmp_path / "keys.json")
    config = {"crypt_provider_key_store_path": str(tmp_path / "keys.json")}
    async with running_sandbox() as op, running_server(tmp_path, config) as server:
        setup = data_of(await server.call("setup_client", op_host=op.issuer, **SITE, **SIGNED))
        asked = {"op_host": op.issuer, "client_id": setup["client_id"], **ASKS_TO_SIGN}
        assert data_of(await server.call("get_client_token", **asked))["access_token"]


async def test_a_foreign_client_id_cannot_be_brought_along(tmp_path: Path) -> None:
    """Neither a site nor a setup client is made for another's client; with its registration token it is."""
    async with signing_front(tmp_path) as (op, front):
        victim, eve = await set_up_at(front, op, **SIGNED), await set_up_at(front, op)
        stolen = {**SITE, **SIGNED, "op_host": op.issuer, "client_id": victim.data["client_id_of_oxd_id"]}
        before, asked = stored_rows(tmp_path)["site"], op.requests.count(f"POST {TOKEN}")
        for secret in ({}, {"client_secret": "made up"}):
            for command, token in (("register_site", eve.token()), ("setup_client", None)):
                assert error_of(await front.call(command, token=token, **stolen, **secret)) == "invalid_request"
        unsigned = {**SITE, "op_host": op.issuer, "client_id": victim.data["client_id"], "client_secret": "made up"}
        for command, token in (("register_site", eve.token()), ("setup_client", None)):
            assert error_of(await front.call(command, token=token, **unsigned)) == "http_status_401"
        assert stored_rows(tmp_path)["site"] == before
        assert op.requests.count(f"POST {TOKEN}") == asked + 2  # the made-up secret, and nothing signed
        shown = {
            "client_id": victim.data["client_id"],
            "client_registration_access_token": victim.data["client_registration_access_token"],
            "client_registration_client_uri": victim.data["client_registration_client_uri"],
        }
        data_of(await front.call("setup_client", **{**stolen, **shown}))


async def test_an_owner_brings_a_client_along_again(tmp_path: Path) -> None:
    """The setup client's owner, and whoever has the same secret, may have another site with the same client."""
    async with signing_front(tmp_path) as (op, front):
        ours, others = await set_up_at(front, op, **SIGNED), await set_up_at(front, op)
        again = {**SITE, **SIGNED, "op_host": op.issuer, "client_id": ours.data["client_id_of_oxd_id"]}
        data_of(await front.call("register_site", token=ours.token(), **again))
        own = {"client_id": others.data["client_id"], "client_secret": others.data["client_secret"]}
        data_of(await front.call("register_site", token=ours.token(), **SITE, op_host=op.issuer, **own))


async def test_the_default_client_goes_to_its_own_op_only(tmp_path: Path) -> None:
    """A site at another OP gets a client of its own there; the default site's secret is not sent and not stored."""
    async with running_sandbox() as honest, running_sandbox() as sandbox, faulty_op(sandbox) as other:
        secret = "corp-secret-0123456789"
        default = {"op_host": honest.issuer, "client_id": "corp-app", "client_secret": secret}
        seen: list[bytes] = []

        async def listen(exchange: Exchange) -> None:
            seen.append(repr(exchange.head.headers).encode() + exchange.body)
            await exchange.reply(await exchange.forward())

        other.faults.update(dict.fromkeys(("/register", TOKEN, INTROSPECTION), listen))
        async with running_server(tmp_path, {}, default) as server:
            oxd_id = data_of(await server.call("register_site", op_host=other.issuer, **SITE))["oxd_id"]
            node = data_of(await server.call("get_rp", oxd_id=oxd_id))["node"]
            await server.call("uma_rs_check_access", oxd_id=oxd_id, path="/", http_method="GET", rpt="x")
            at_home = data_of(await server.call("register_site", **SITE))["oxd_id"]
            assert data_of(await server.call("get_rp", oxd_id=at_home))["node"]["client_id"] == "corp-app"
        assert node["client_id"] != "corp-app"
        pair = base64.b64encode(f"corp-app:{secret}".encode())
        assert seen
        assert not any(secret.encode() in each or pair in each for each in seen)


def tells_its_own_clients_only(sandbox: RunningSandbox) -> Any:
    """Return an introspection endpoint that tells a client nothing about the tokens of others (RFC 7662, 2.2)."""

    async def answer(exchange: Exchange) -> None:
        status, headers, body = await exchange.forward()
        basic = dict(exchange.head.headers).get(b"authorization", b"").partition(b" ")[2]
        asking = base64.b64decode(basic).decode().partition(":")[0] or parse_qs(exchange.body.decode())["client_id"][0]
        if status == 200 and json.loads(body).get("client_id") != asking:
            body = b'{"active": false}'
        await exchange.reply((status, headers, body))

    return answer


async def test_inactive_from_another_client_is_no_verdict(tmp_path: Path) -> None:
    """However many set up clients later, the owner of a token that was got here registers and lists sites."""
    async with running_sandbox() as sandbox, faulty_op(sandbox) as op:
        op.faults[INTROSPECTION] = tells_its_own_clients_only(sandbox)
        async with running_front(tmp_path, PROTECTED, {"op_host": op.issuer}) as front:
            victim = await set_up_at(front, op)
            for _ in range(7):
                await set_up_at(front, op)
            own = {name: victim.data[name] for name in ("client_id", "client_secret")}
            token = data_of(await front.call("get_client_token", op_host=op.issuer, **own))["access_token"]
            before = clients_of(sandbox).keys()
            oxd_id = data_of(await front.call("register_site", token=token, **SITE))["oxd_id"]
            listed = data_of(await front.call("get_rp", token=token, list=True))["node"]
            assert oxd_id in {site["oxd_id"] for site in listed}
            assert len(listed) == 3
            assert len(clients_of(sandbox).keys() - before) == 1
            asked = op.requests.count(f"POST {INTROSPECTION}")
            refused = await front.call("register_site", token="nobodys-token", **SITE)
            assert error_of(refused) == "inactive_protection_access_token"
            assert op.requests.count(f"POST {INTROSPECTION}") == asked + 5  # so many are asked, and no more


async def test_setup_clients_made_up_by_others_are_never_kept(tmp_path: Path) -> None:
    """A client_id with a wrong secret is refused before it is kept, and blocks nobody."""
    async with running_sandbox() as op, running_front(tmp_path, PROTECTED, {"op_host": op.issuer}) as front:
        victim = await set_up(front, op)
        before = stored_rows(tmp_path), clients_of(op)
        for made_up in ({"client_id": "made-up"}, {"client_id": victim.data["client_id"]}):
            refused = await front.call("setup_client", op_host=op.issuer, **SITE, **made_up, client_secret="x" * 40)
            assert error_of(refused) == "http_status_401"
        assert (stored_rows(tmp_path), clients_of(op)) == before
        data_of(await front.call("register_site", token=victim.token(), **SITE))


async def test_the_same_client_id_at_two_ops_is_two_clients(tmp_path: Path) -> None:
    """A setup client lists the sites at its own OP only, though another OP has a client of the same name."""
    async with running_sandbox() as op, running_sandbox() as other:
        default = {"op_host": op.issuer}
        async with running_front(tmp_path, PROTECTED, default) as front:
            ours = await set_up(front, op)
            client = op.state.clients.get(ours.data["client_id"])
            assert client is not None
            other.state.clients.put(client.client_id, client)
            own = {"client_id": client.client_id, "client_secret": client.secret}
            theirs = Setup(other, data_of(await front.call("setup_client", op_host=other.issuer, **SITE, **own)))
            site = data_of(await front.call("register_site", token=theirs.token(), op_host=other.issuer, **SITE))
            listed = data_of(await front.call("get_rp", token=ours.token(), list=True))["node"]
            ids = {entry["oxd_id"] for entry in listed}
            assert ids == {ours.data["oxd_id"], ours.data["setup_client_oxd_id"]}
            assert site["oxd_id"] not in ids
            refused = await front.call("get_rp", token=ours.token(), oxd_id=site["oxd_id"])
            assert error_of(refused) == "inactive_protection_access_token"


async def test_nobody_reads_other_servers_answers_through_this_one(tmp_path: Path) -> None:
    """What a host answers is told to whoever has shown a good token, and to nobody else; the code of OAuth stays."""

    async def inner(exchange: Exchange) -> None:
        body = b'{"error": "invalid_client", "error_description": "inner secret", "more": "inner secret"}'
        await exchange.reply((403, [(b"content-type", b"application/json")], body))

    async with running_sandbox() as sandbox, faulty_op(sandbox) as op, running_front(tmp_path, PROTECTED) as front:
        setup = await set_up_at(front, op)
        own = {name: setup.data[name] for name in ("client_id", "client_secret")}
        op.faults.update(dict.fromkeys(("/register", TOKEN, INTROSPECTION, "/userinfo"), inner))
        for command, token, params in (
            ("setup_client", None, {**SITE, "op_host": op.issuer}),
            ("get_client_token", None, {**own, "op_host": op.issuer}),
            ("get_user_info", "any", {"oxd_id": setup.data["oxd_id"], "access_token": "t"}),
        ):
            answer = await front.call(command, token=token, **params)
            assert error_of(answer) == "http_status_403"
            assert answer["data"]["details"] == {"error": "invalid_client"}
            assert "inner secret" not in json.dumps(answer)
        del op.faults[INTROSPECTION]
        params = {"oxd_id": setup.data["oxd_id"], "access_token": "t"}
        answer = await front.call("get_user_info", token=setup.token(), **params)
        assert "inner secret" in answer["data"]["error_description"]


async def test_an_address_has_its_share_of_the_disk(tmp_path: Path) -> None:
    """Without a token so many sites are kept, however long ago they came; removing one makes room."""
    async with running_sandbox() as op:
        config = {**PROTECTED, "max_sites_without_token": 3}
        async with running_front(tmp_path, config) as front:
            setup = await set_up(front, op)
            await set_up(front, op)
        async with running_front(tmp_path, config) as front:
            before = stored_rows(tmp_path)["site"], clients_of(op)
            assert error_of(await front.call("setup_client", op_host=op.issuer, **SITE)) == "server_busy"
            assert (stored_rows(tmp_path)["site"], clients_of(op)) == before
            data_of(await front.call("register_site", token=setup.token(), op_host=op.issuer, **SITE))
            for name in ("oxd_id", "setup_client_oxd_id"):
                node = data_of(await front.call("get_rp", token=setup.token(), oxd_id=setup.data[name]))["node"]
                assert "registered_from" not in node
            data_of(await front.call("remove_site", token=setup.token(), oxd_id=setup.data["oxd_id"]))
            token = setup.token()
            data_of(await front.call("remove_site", token=token, oxd_id=setup.data["setup_client_oxd_id"]))
            await set_up(front, op)


async def test_an_address_has_its_share_of_registrations(tmp_path: Path) -> None:
    """Without a token so many clients are registered in an hour and no more; with a token it does not count."""
    config = {**PROTECTED, "open_registrations_per_hour": 2}
    async with running_sandbox() as op, running_front(tmp_path, config) as front:
        setup = await set_up(front, op)
        await set_up(front, op)
        before = stored_rows(tmp_path)["site"], clients_of(op)
        assert error_of(await front.call("setup_client", op_host=op.issuer, **SITE)) == "server_busy"
        assert (stored_rows(tmp_path)["site"], clients_of(op)) == before
        for _ in range(3):
            data_of(await front.call("register_site", token=setup.token(), op_host=op.issuer, **SITE))
