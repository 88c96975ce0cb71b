"""All the traffic in which secrets change hands, and a witness who writes down every one of them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from scripts.hardening.fault_proxy import Fault, FaultProxy
from tests.integration.https_client import Front
from tests.integration.logins import REDIRECT_URI, data_of
from tests.integration.real_provider import callback_params, log_in

MEMBERS = {
    "access_token", "refresh_token", "id_token", "client_secret", "registration_access_token", "state", "nonce",
    "client_registration_access_token", "code", "code_verifier", "client_assertion", "ticket", "rpt", "pct", "pat",
    "token", "claim_token", "protection_access_token", "pat_refresh_token", "id_token_hint",
}  # fmt: skip
SHORTEST = 16
CLAIMS_URI = "http://127.0.0.1:9/claims"
RESOURCES = [
    {"path": "/open", "conditions": [{"httpMethods": ["GET"], "scopes": ["https://photos.example/scopes/view"]}]},
    {"path": "/city", "conditions": [{"httpMethods": ["GET"], "scopes": ["https://photos.example/new-yorkers"]}]},
]
UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"


@dataclass
class Witness:
    """Every secret by what it is, and every error answer with its code."""

    secrets: dict[str | bytes, str] = field(default_factory=dict, repr=False)
    errors: list[tuple[str, str]] = field(default_factory=list, repr=False)

    def note(self, name: str, secret: str | bytes | None) -> None:
        """Write down one secret; what is too short to be one is left out."""
        if secret is not None and len(secret) >= SHORTEST:
            self.secrets.setdefault(secret, name)

    def note_answer(self, command: str, envelope: Mapping[str, Any]) -> None:
        """Write down what an answer of the server holds."""
        if envelope["status"] == "error":
            self.errors.append((envelope["data"]["error"], json.dumps(envelope)))
        for name, value in _members(envelope["data"]):
            if name in MEMBERS:
                self.note(f"{name} in the answer to {command}", value)
            elif value.startswith("http"):
                self._note_query(f"{name} in the answer to {command}", urlsplit(value).query)

    def note_op_traffic(self, messages: list[bytes]) -> None:
        """Write down what went between the server and the OP: headers, forms and JSON."""
        for message in messages:
            head, _, body = message.decode("utf-8", "replace").partition("\r\n\r\n")
            for scheme, value in re.findall(r"(?im)^authorization: (\w+) (\S+)", head):
                self.note(f"Authorization: {scheme}", value)
            if body.startswith("{"):
                for name, value in _members(json.loads(body)):
                    if name in MEMBERS:
                        self.note(f"{name} from the OP", value)
            else:
                self._note_query("to the OP", body)

    def kinds(self) -> set[str]:
        """What the secrets are, without where they were seen."""
        return {name.split()[0] for name in self.secrets.values()}

    def _note_query(self, where: str, query: str) -> None:
        for name, value in parse_qsl(query):
            if name in MEMBERS:
                self.note(f"{name} {where}", value)


def _members(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _members(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _members(inner, name)
    elif isinstance(value, str):
        yield name, value


@dataclass
class Traffic:
    """A server with both entrances, an OP behind a proxy, and the witness of it all."""

    front: Front
    proxy: FaultProxy
    witness: Witness

    async def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Run a command through the socket and write down its answer."""
        for name, value in _members(params):
            if name in MEMBERS:
                self.witness.note(f"{name} in a call of {command}", value)
        envelope = await self.front.server.call(command, **params)
        self.witness.note_answer(command, envelope)
        return envelope

    async def ok(self, command: str, **params: Any) -> dict[str, Any]:
        """The same, for a command that must succeed; return its data."""
        return data_of(await self.call(command, **params))

    async def refused(self, command: str, **params: Any) -> None:
        """The same, for a command that must fail."""
        assert (await self.call(command, **params))["status"] == "error", command

    async def https(self, command: str, token: str | None, **params: Any) -> dict[str, Any]:
        """Run a command through the HTTPS front and write down its answer."""
        envelope = await self.front.call(command, token=token, **params)
        self.witness.note_answer(command, envelope)
        return envelope

    async def register(self, **params: Any) -> str:
        """Register a site; return its oxd_id. What is stored of it is written down."""
        metadata: dict[str, Any] = {
            "op_host": self.proxy.url,
            "authorization_redirect_uri": REDIRECT_URI,
            "claims_redirect_uri": [CLAIMS_URI],
            "scope": ["openid", "profile", "uma_protection"],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials", UMA_TICKET],
            **params,
        }
        oxd_id = str((await self.ok("register_site", **metadata))["oxd_id"])
        await self.ok("get_rp", oxd_id=oxd_id)
        return oxd_id

    async def code(self, oxd_id: str) -> dict[str, str]:
        """Log a person in; return code and state as params."""
        url = (await self.ok("get_authorization_url", oxd_id=oxd_id))["authorization_url"]
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        self.witness.note("code in the redirect", callback["code"])
        return {"oxd_id": oxd_id, "code": callback["code"], "state": callback["state"]}


async def logins(traffic: Traffic, oxd_id: str) -> dict[str, Any]:
    """A login, its tokens used in every way, and what goes wrong with them; return the tokens."""
    login = await traffic.code(oxd_id)
    tokens = await traffic.ok("get_tokens_by_code", **login)
    await traffic.refused("get_tokens_by_code", **login)
    held = {name: tokens[name] for name in ("access_token", "refresh_token", "id_token")}
    site = {"oxd_id": oxd_id}
    await traffic.ok("get_user_info", **site, access_token=held["access_token"])
    await traffic.ok("introspect_access_token", **site, access_token=held["access_token"])
    await traffic.ok("validate", **login, id_token=held["id_token"])
    await traffic.refused("validate", **login, id_token=held["id_token"] + "x")
    await traffic.refused("validate", **login, id_token=held["id_token"], nonce="a-nonce-of-somebody-else")
    await traffic.ok("id_token_status", **site, id_token=held["id_token"])
    await traffic.ok("access_token_status", **site, id_token=held["id_token"], access_token=held["access_token"])
    fresh = await traffic.ok("get_access_token_by_refresh_token", **site, refresh_token=held["refresh_token"])
    await traffic.refused("get_access_token_by_refresh_token", **site, refresh_token=held["refresh_token"])
    await traffic.refused("get_user_info", **site, access_token="a-token-with a space-in-it")
    await traffic.ok("get_logout_uri", **site, state="a-state-of-the-application")
    await traffic.ok("update_site", **site, client_name="Renamed")
    return held | {"access_token": fresh["access_token"]}


async def uma(traffic: Traffic, oxd_id: str) -> None:
    """Resources, tickets, RPTs, claims: granted, and refused for want of claims."""
    await traffic.ok("uma_rs_protect", oxd_id=oxd_id, resources=RESOURCES)
    request = {"oxd_id": oxd_id, "http_method": "GET"}
    ticket = (await traffic.ok("uma_rs_check_access", **request, path="/open"))["ticket"]
    granted = await traffic.ok("uma_rp_get_rpt", oxd_id=oxd_id, ticket=ticket)
    rpt = granted["access_token"]
    assert (await traffic.ok("uma_rs_check_access", **request, path="/open", rpt=rpt))["access"] == "granted"
    await traffic.ok("introspect_rpt", oxd_id=oxd_id, rpt=rpt)
    await traffic.refused("uma_rp_get_rpt", oxd_id=oxd_id, ticket=ticket)
    ticket = await _city_ticket(traffic, request)
    need_info = await traffic.call("uma_rp_get_rpt", oxd_id=oxd_id, ticket=ticket)
    assert need_info["data"]["error"] == "need_info", need_info
    claims = base64.urlsafe_b64encode(b'{"country": "US", "city": "NY"}').rstrip(b"=").decode()
    pushed = {"claim_token": claims, "claim_token_format": "urn:ietf:params:oauth:token-type:jwt"}
    ticket = need_info["data"]["details"]["ticket"]
    pct = (await traffic.ok("uma_rp_get_rpt", oxd_id=oxd_id, ticket=ticket, **pushed))["pct"]
    ticket = await _city_ticket(traffic, request)
    await traffic.ok("uma_rp_get_rpt", oxd_id=oxd_id, ticket=ticket, pct=pct, rpt=rpt)
    await traffic.ok(
        "uma_rp_get_claims_gathering_url",
        oxd_id=oxd_id,
        ticket=await _city_ticket(traffic, request),
        claims_redirect_uri=CLAIMS_URI,
    )
    await traffic.ok("get_rp", oxd_id=oxd_id)  # the PAT is in it


async def _city_ticket(traffic: Traffic, request: Mapping[str, str]) -> str:
    return str((await traffic.ok("uma_rs_check_access", **request, path="/city"))["ticket"])


async def protected(traffic: Traffic) -> None:
    """The HTTPS front, where commands need a protection token."""
    setup = data_of(
        await traffic.https(
            "setup_client",
            None,
            op_host=traffic.proxy.url,
            authorization_redirect_uri=REDIRECT_URI,
            scope=["openid", "uma_protection"],
        )
    )
    client = {name: setup[name] for name in ("client_id", "client_secret")}
    token = data_of(await traffic.https("get_client_token", None, op_host=traffic.proxy.url, **client))["access_token"]
    await traffic.https("get_rp", token, oxd_id=setup["oxd_id"])
    await traffic.https("get_authorization_url", token, oxd_id=setup["oxd_id"])
    await traffic.https("get_rp", "a-token-of-somebody-else", oxd_id=setup["oxd_id"])
    await traffic.https("get_client_token", None, op_host=traffic.proxy.url, **{**client, "client_secret": "w" * 40})
    await traffic.https("get_tokens_by_code", token, oxd_id=setup["oxd_id"], code="c" * 32, state="s" * 54)


async def bad_days(traffic: Traffic, oxd_id: str, tokens: Mapping[str, Any]) -> None:
    """Commands with secrets in them, at an OP that fails in every way in which it says something."""
    site = {"oxd_id": oxd_id}
    for fault in (Fault.ECHO, Fault.CORRUPT, Fault.TRUNCATE, Fault.RESET, Fault.STATUS_500, Fault.REDIRECT):
        login = await traffic.code(oxd_id)
        await traffic.proxy.set(fault)
        await traffic.refused("get_tokens_by_code", **login)
        await traffic.refused("get_user_info", **site, access_token=tokens["access_token"])
        await traffic.refused("introspect_access_token", **site, access_token=tokens["access_token"])
        await traffic.refused("get_access_token_by_refresh_token", **site, refresh_token="r" * 40)
        await traffic.refused("update_site", **site, client_name="Other")
        await traffic.refused("uma_rp_get_rpt", **site, ticket="t" * 40, claim_token="m" * 40, claim_token_format="f")
        await traffic.refused("introspect_rpt", **site, rpt="p" * 40)
        await traffic.proxy.set(None)


async def strangers(traffic: Traffic, owner: str, login: Mapping[str, str], tokens: Mapping[str, Any]) -> None:
    """Another application tries what belongs to the first."""
    other = await traffic.register()
    await traffic.refused("get_tokens_by_code", **{**login, "oxd_id": other})
    await traffic.refused("validate", **{**login, "oxd_id": other}, id_token=tokens["id_token"])
    await traffic.refused("id_token_status", oxd_id=other, id_token=tokens["id_token"])
    await traffic.refused("get_rp", oxd_id=owner + "x")
    await traffic.refused("no_such_command", oxd_id=owner, access_token=tokens["access_token"])
    await traffic.refused("get_user_info", oxd_id=owner, access_token=[[tokens["access_token"]]])
    await traffic.refused("get_tokens_by_code", oxd_id=owner, code={"code": login["code"]}, state=login["state"])


async def run_all(traffic: Traffic) -> None:
    """Everything above; at the end the witness knows every secret."""
    traffic.proxy.recorded = []
    site = await traffic.register()
    tokens = await logins(traffic, site)
    await logins(traffic, await traffic.register(client_token_endpoint_auth_method="private_key_jwt"))
    await uma(traffic, site)
    await protected(traffic)
    await bad_days(traffic, site, tokens)
    await strangers(traffic, site, await traffic.code(site), tokens)
    traffic.witness.note_op_traffic(traffic.proxy.recorded)
