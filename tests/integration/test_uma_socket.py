"""UMA over the socket of a real server process, with its store on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.integration.conftest import StartServer
from tests.integration.oxd_process import ServerProcess
from tests.integration.stored import stored_rows
from tests.integration.uma_as import CLIENT_ID, CLIENT_SECRET, PAT, UmaServer, answer, running_as

CALLERS = 200
CAPTURES = Path(__file__).parent.parent / "captures"
PHOTO = [{"path": "/photo", "conditions": [{"httpMethods": ["GET"], "scopes": ["view"]}]}]


async def _register(server: ServerProcess, authorization_server: UmaServer) -> str:
    registered = await server.call(
        "register_site",
        op_host=authorization_server.base,
        authorization_redirect_uri="https://photos.example.com/cb",
        scope=["openid", "uma_protection"],
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
    )
    return str(registered["data"]["oxd_id"])


async def test_protect_deny_grant_and_restart(start_server: StartServer, tmp_path: Path) -> None:
    """The whole way of a request, with frames; protection and PAT survive a restart, and no secret is logged."""
    async with running_as() as authorization_server:
        async with start_server() as server:
            oxd_id = await _register(server, authorization_server)
            protected = await server.call("uma_rs_protect", oxd_id=oxd_id, resources=PHOTO)
            assert protected == {"status": "ok", "data": {"oxd_id": oxd_id}}
            request = {"oxd_id": oxd_id, "path": "/photo", "http_method": "GET"}
            denied = (await server.call("uma_rs_check_access", **request, rpt=""))["data"]
            assert denied.keys() == {"access", "ticket", "www-authenticate_header"}
            rpt = (await server.call("uma_rp_get_rpt", oxd_id=oxd_id, ticket=denied["ticket"]))["data"]["access_token"]
            granted = await server.call("uma_rs_check_access", **request, rpt=rpt)
            assert granted == {"status": "ok", "data": {"access": "granted"}}
            log = server.log_text()
        asked = authorization_server.requests.count(PAT)
        async with start_server() as server:
            granted = await server.call("uma_rs_check_access", **request, rpt=rpt)
            assert granted == {"status": "ok", "data": {"access": "granted"}}
            log += server.log_text()
        assert authorization_server.requests.count(PAT) == asked == 1
        secrets = [rpt, denied["ticket"], CLIENT_SECRET, *authorization_server.pats]
        assert not [secret for secret in secrets if secret in log]


async def test_need_info_over_the_socket(start_server: StartServer) -> None:
    """The ticket, the claims and the address for the user lie where the libraries look for them."""
    need_info = {"error": "need_info", "ticket": "t2", "required_claims": [{"name": "email"}], "redirect_user": "x"}
    async with running_as(rpt_reply=answer(403, need_info)) as authorization_server, start_server() as server:
        oxd_id = await _register(server, authorization_server)
        refused = await server.call("uma_rp_get_rpt", oxd_id=oxd_id, ticket="t")
        assert refused["status"] == "error"
        assert refused["data"]["error"] == "need_info"
        assert refused["data"]["details"] == need_info


async def test_many_connections_share_one_renewal(start_server: StartServer) -> None:
    """Callers on 200 connections at once, when the PAT was just lost: one PAT request and 200 answers."""
    async with running_as() as authorization_server, start_server() as server:
        oxd_id = await _register(server, authorization_server)
        await server.call("uma_rs_protect", oxd_id=oxd_id, resources=PHOTO)
        authorization_server.pats.clear()
        authorization_server.requests.clear()
        answers: list[dict[str, Any]] = []

        async def ask() -> None:
            answers.append(
                await server.call("uma_rs_check_access", oxd_id=oxd_id, path="/photo", http_method="GET", rpt=None)
            )

        async with trio.open_nursery() as callers:
            for _ in range(CALLERS):
                callers.start_soon(ask)
        assert len({one["data"]["ticket"] for one in answers}) == CALLERS
        assert authorization_server.requests.count(PAT) == 1


def _captured(command: str) -> list[tuple[str, bytes]]:
    frames = []
    for path in sorted(CAPTURES.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            record = json.loads(line)
            if record["command"] == command and "http" not in record and "DUPLICATE" not in record["notes"]:
                frames.append((path.stem, record["raw"].encode()))
    return frames


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("uma_rs_protect", {"ok", "uma_protection_exists"}),
        ("uma_rs_check_access", {"ok", "invalid_request"}),
        ("introspect_rpt", {"ok"}),
        ("uma_rp_get_rpt", {"ok", "invalid_ticket", "invalid_request", "invalid_state"}),
        ("uma_rp_get_claims_gathering_url", {"ok"}),
    ],
)
async def test_frames_of_the_libraries(
    start_server: StartServer, tmp_path: Path, command: str, expected: set[str]
) -> None:
    """Each frame that a library sends is understood, once its oxd_id is one of ours."""
    frames = _captured(command)
    assert frames
    async with running_as() as authorization_server, start_server() as server:
        oxd_id = (await _register(server, authorization_server)).encode()
        for library, raw in frames:
            frame = raw.replace(b"6F9619FF-8B86-D011-B42D-00CF4FC964FF", oxd_id)
            (envelope,) = await server.send(frame)
            outcome = "ok" if envelope["status"] == "ok" else envelope["data"]["error"]
            assert outcome in expected, (library, envelope)
        assert len(stored_rows(tmp_path)["site"]) == 1
