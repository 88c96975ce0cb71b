"""Every command that talks to an OpenID provider (OP): what it needs to be run, and what it answers on a bad day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio

from oxd_protocol.client.with_trio import OxdClient
from scripts.demo_kit import browse
from scripts.hardening.fault_proxy import Fault

__all__ = ["COMMANDS", "DISCOVERY", "Expected", "Life", "Row", "expected_answer", "new_life"]

REDIRECT_URI = "https://app.example.com/callback"
CLAIMS_URI = "https://app.example.com/claims"
_USER = {"username": "alice", "password": "wonderland"}
_PROTECTED = [{"path": "/photos", "conditions": [{"httpMethods": ["GET"], "scopes": ["https://app.example.com/view"]}]}]

Expected = str
OK, UNREACHABLE, INVALID = "ok", "op_unreachable", "op_invalid_response"
_AT_AN_ENDPOINT: Mapping[Fault, Expected] = {
    Fault.REFUSE: UNREACHABLE,
    Fault.RESET: UNREACHABLE,
    Fault.HANG_BEFORE: UNREACHABLE,
    Fault.HANG_AFTER: UNREACHABLE,
    Fault.DRIP: UNREACHABLE,
    Fault.TRUNCATE: INVALID,
    Fault.CORRUPT: INVALID,
    Fault.STATUS_500: "http_status_500",
    Fault.STATUS_503: "http_status_503",
    Fault.GIGABYTE: INVALID,
    Fault.REDIRECT: INVALID,
    Fault.ECHO: "http_status_400",
}
DISCOVERY, UMA_DISCOVERY = "no_connect_discovery_response", "no_uma_discovery_response"


class BadAnswer(Exception):
    """A command that must succeed did not."""


@dataclass
class Life:
    """An application's sites at one OP, and what a login and a resource request have left in its hands.

    ``held`` is used up by commands that succeed: ``renew`` gets new ones.
    """

    oxd: OxdClient
    op_host: str
    held: dict[str, str] = field(default_factory=dict, repr=False)

    async def ok(self, command: str, **params: Any) -> dict[str, Any]:
        """Run a command that must succeed; return its data. Raises ``BadAnswer``."""
        answer = await self.oxd.call(command, params)
        if answer["status"] != "ok":
            raise BadAnswer(f"{command}: {answer['data']}")
        return dict(answer["data"])

    async def code(self, prefix: str) -> str:
        """Log a person in at the OP and hold code and state; return the oxd_id."""
        oxd_id = self.held["site"]
        url = (await self.ok("get_authorization_url", oxd_id=oxd_id))["authorization_url"]
        callback = await trio.to_thread.run_sync(_log_in, url)
        query = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
        self.held |= {f"{prefix}code": query["code"], f"{prefix}state": query["state"]}
        return oxd_id

    async def renew(self) -> None:
        """Hold a new one of everything that a command may have used up."""
        held = self.held
        if "removable" not in held or not await self._has(held["removable"]):
            held["removable"] = await _register(self, "")
        oxd_id = await self.code("used_")
        tokens = await self.ok("get_tokens_by_code", oxd_id=oxd_id, code=held["used_code"], state=held["used_state"])
        held |= {name: tokens[name] for name in ("access_token", "refresh_token", "id_token")}
        await self.code("")
        for site in ("resources", "protected"):
            await self.ok("uma_rs_protect", oxd_id=held[site], resources=_PROTECTED, overwrite=True)
        held["rpt"] = (await self.ok("uma_rp_get_rpt", oxd_id=held["site"], ticket=await self._ticket()))[
            "access_token"
        ]
        held["ticket"] = await self._ticket()

    async def _ticket(self) -> str:
        answer = await self.ok("uma_rs_check_access", oxd_id=self.held["resources"], path="/photos", http_method="GET")
        return str(answer["ticket"])

    async def _has(self, oxd_id: str) -> bool:
        return bool((await self.oxd.call("get_rp", {"oxd_id": oxd_id}))["status"] == "ok")


def _log_in(url: str) -> str:
    with redirect_stdout(StringIO()):
        return browse(url, REDIRECT_URI, _USER)


async def _register(life: Life, scope: str) -> str:
    params = {**_site(life), "scope": ["openid", "profile", *scope.split()]}
    return str((await life.ok("register_site", **params))["oxd_id"])


def _site(life: Life) -> dict[str, Any]:
    return {
        "op_host": life.op_host,
        "authorization_redirect_uri": REDIRECT_URI,
        "claims_redirect_uri": [CLAIMS_URI],
        "scope": ["openid", "profile", "uma_protection"],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials",
                        "urn:ietf:params:oauth:grant-type:uma-ticket"],
    }  # fmt: skip


async def new_life(oxd: OxdClient, op_host: str) -> Life:
    """Register the sites at the OP, log a person in and get an RPT."""
    life = Life(oxd, op_host)
    life.held["site"] = await _register(life, "uma_protection")
    life.held["resources"] = await _register(life, "uma_protection")
    # A site of its own: the command deletes resources at the AS, and tickets for them with them.
    life.held["protected"] = await _register(life, "uma_protection")
    setup = await life.ok("setup_client", **_site(life))
    life.held |= {"client_id": setup["client_id"], "client_secret": setup["client_secret"]}
    await life.renew()
    return life


@dataclass(frozen=True)
class Row:
    """One line of the table: a command and where it can be hit.

    ``asks`` says that the OP is asked although its metadata and keys are at hand, ``discovers``, that the metadata is
    needed. ``requests`` bounds how many requests to the OP it makes one after the other, clean-up included.
    """

    name: str
    params: Callable[[Life], dict[str, Any]]
    asks: bool = True
    discovers: bool = True
    uma: bool = False
    requests: int = 1
    command: str = ""


def _held(*names: str, **fixed: Any) -> Callable[[Life], dict[str, Any]]:
    return lambda life: {"oxd_id": life.held["site"], **{name: life.held[name] for name in names}, **fixed}


def _at_resources(*names: str, **fixed: Any) -> Callable[[Life], dict[str, Any]]:
    return lambda life: {"oxd_id": life.held["resources"], **{name: life.held[name] for name in names}, **fixed}


_VIEW = {"path": "/photos", "http_method": "GET"}
COMMANDS: tuple[Row, ...] = (
    Row("register_site", _site),
    Row("update_site", _held(client_name="Renamed"), discovers=False),
    Row("remove_site", lambda life: {"oxd_id": life.held["removable"]}, discovers=False),
    Row("setup_client", _site),
    Row("get_client_token", lambda life: {"op_host": life.op_host, "client_id": life.held["client_id"],
                                          "client_secret": life.held["client_secret"]}),
    Row("get_authorization_url", _held(), asks=False),
    Row("get_tokens_by_code", _held("code", "state")),
    Row("get_user_info", _held("access_token")),
    Row("get_access_token_by_refresh_token", _held("refresh_token")),
    Row("introspect_access_token", _held("access_token")),
    Row("get_logout_uri", _held(), asks=False),
    Row("validate", lambda life: {"oxd_id": life.held["site"], "code": life.held["used_code"],
                                  "state": life.held["used_state"], "id_token": life.held["id_token"]}, asks=False),
    Row("id_token_status", _held("id_token"), asks=False),
    Row("uma_rs_protect", lambda life: {"oxd_id": life.held["protected"], "resources": _PROTECTED, "overwrite": True},
        uma=True, requests=3),
    Row("uma_rs_check_access", _at_resources("rpt", **_VIEW), uma=True),
    Row("  without an RPT", _at_resources(**_VIEW), uma=True, command="uma_rs_check_access"),
    Row("introspect_rpt", _at_resources("rpt"), uma=True),
    Row("uma_rp_get_rpt", _held("ticket"), uma=True),
    Row("uma_rp_get_claims_gathering_url", _held("ticket", claims_redirect_uri=CLAIMS_URI), asks=False, uma=True),
)  # fmt: skip


def expected_answer(row: Row, fault: Fault | None, *, cold: bool) -> Expected:
    """What the row answers while the OP has this fault; ``cold``: its metadata was never had."""
    if fault is None:
        return OK
    if cold:
        return UMA_DISCOVERY if row.uma else DISCOVERY
    if not row.asks or row.command:  # without an RPT, access is denied with or without a ticket
        return OK
    if row.name == "remove_site" and fault in (Fault.CORRUPT, Fault.TRUNCATE):
        return OK  # a deletion that is answered with status 200 or 204 is done, whatever else the OP says
    return _AT_AN_ENDPOINT[fault]
