"""Recorded requests of the deployed libraries, replayed over real TLS with every recorded header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import Front, running_front, status_of
from tests.integration.logins import Rp, data_of, register

pytestmark = pytest.mark.hardening

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*-https.jsonl"))
OPEN = {"protect_commands_with_access_token": False}
RECORDED_OXD_ID = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
RECORDED_OPS = ("https://op.example.org", "https://gluu.example.com")
WITHOUT_A_TOKEN = ("setup_client", "get_client_token")
WITHOUT_A_SITE = (*WITHOUT_A_TOKEN, "register_site")
# At a real OP, these can do their job with what was recorded and the tokens of a real login.
SUCCEED = {
    *("setup_client", "get_client_token", "register_site", "update_site", "remove_site", "get_authorization_url"),
    *("get_user_info", "get_logout_uri", "introspect_access_token"),
}


def records_of(path: Path) -> list[dict[str, Any]]:
    """Return the recorded requests; the few old commands that went to the socket even so are left out."""
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [record for record in records if "headers" in record]


def request_of(record: dict[str, Any], body: str, token: str | None = None) -> bytes:
    """Return the bytes of a recorded request, with another body and, if given, another token."""
    data = body.encode()
    recorded = {name: value for name, value in record["headers"].items() if name.lower() != "content-length"}
    if token is not None and record["command"] not in WITHOUT_A_TOKEN:
        recorded = {name: value for name, value in recorded.items() if name.lower() != "authorization"}
        recorded["Authorization"] = f"Bearer {token}"
    headers = [f"{name}: {value}" for name, value in recorded.items() if name.lower() != "connection"]
    head = [
        f"{record['http']} {record['path']} HTTP/1.1",
        *headers,
        f"Content-Length: {len(data)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + data


async def answer_of(front: Front, request: bytes) -> tuple[int, dict[str, Any]]:
    """Send a request; return the status and the envelope."""
    answer = await front.exchange(request)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head
    return status_of(answer), json.loads(body)


def has_token(record: dict[str, Any]) -> bool:
    """Tell whether a token was recorded; the recorded applications of some libraries had none."""
    headers = {name.lower(): value for name, value in record["headers"].items()}
    return record["command"] in WITHOUT_A_TOKEN or len(headers.get("authorization", "").split()) == 2


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
async def test_recorded_requests_are_answered_as_they_stand(tmp_path: Path, path: Path) -> None:
    """Each gets 200 and an envelope, with or without a token, but that get_rp needs one."""
    async with running_front(tmp_path, {**OPEN, "allowed_op_hosts": ["nowhere.invalid"]}) as front:
        for record in records_of(path):
            status, envelope = await answer_of(front, request_of(record, record["raw"]))
            needs_token = record["command"] == "get_rp"  # it answers client secrets
            assert status == (403 if needs_token and not has_token(record) else 200), record
            assert set(envelope) == {"status", "data"}, record
            status, envelope = await answer_of(front, request_of(record, record["raw"], "token"))
            assert (status, set(envelope)) == (200, {"status", "data"}), record


async def logged_in(front: Front, op_host: str) -> tuple[Rp, dict[str, Any]]:
    """Register a site and log a person in there."""
    rp = await register(front.server, op_host)
    return rp, await rp.log_in()


def real(record: dict[str, Any], op_host: str, rp: Rp, tokens: dict[str, Any], client: dict[str, Any]) -> str:
    """Return the recorded body with site, OP, client and tokens exchanged for real ones."""
    body: str = record["raw"].replace(RECORDED_OXD_ID, rp.oxd_id)
    for recorded in RECORDED_OPS:
        body = body.replace(recorded, op_host).replace(recorded.replace("/", "\\/"), op_host)
    params = json.loads(body)
    real_values = {"access_token": tokens["access_token"]} if record["command"] != "uma_rp_get_rpt" else {}
    if record["command"] in WITHOUT_A_TOKEN:
        real_values |= {name: client[name] for name in ("client_id", "client_secret")}
    if record["command"] in ("setup_client", "register_site", "get_client_token"):
        params["op_host"] = op_host
    return json.dumps(params | {name: value for name, value in real_values.items() if params.get(name)})


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
async def test_recorded_requests_do_their_job_at_a_real_op(tmp_path: Path, sandbox: RunningSandbox, path: Path) -> None:
    """With real values in place of recorded ones, what needs no more than a login succeeds, in the recorded shape."""
    async with running_front(tmp_path, OPEN, {"scope": ["openid"], "op_host": sandbox.issuer}) as front:
        site: dict[str, Any] = {
            "op_host": sandbox.issuer,
            "authorization_redirect_uri": "https://app/cb",
            "scope": ["uma_protection"],
        }
        client = data_of(await front.call("setup_client", **site))
        rp, tokens = await logged_in(front, sandbox.issuer)
        succeeded = set()
        for record in records_of(path):
            if record["command"] not in WITHOUT_A_SITE and "oxd_id" not in json.loads(record["raw"]):
                continue  # recorded to see how the library encodes other things
            spare = await register(front.server, sandbox.issuer) if record["command"] == "remove_site" else rp
            body = real(record, sandbox.issuer, spare, tokens, client)
            status, envelope = await answer_of(front, request_of(record, body, "token"))
            if record["command"] in SUCCEED:
                assert (status, envelope["status"]) == (200, "ok"), (body, envelope)
                succeeded.add(record["command"])
        assert succeeded >= {"setup_client", "get_client_token", "get_user_info"}
