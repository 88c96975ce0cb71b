"""Recorded frames of the deployed libraries, written to a running server as they wrote them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import trio

from oxd_server.sandbox import RunningSandbox
from tests.integration.conftest import StartServer
from tests.integration.logins import register
from tests.integration.oxd_process import ServerProcess

pytestmark = pytest.mark.hardening

CAPTURES = sorted(
    path for path in (Path(__file__).parents[1] / "captures").glob("*.jsonl") if not path.stem.endswith("-https")
)
RECORDED_OXD_ID = b"6F9619FF-8B86-D011-B42D-00CF4FC964FF"
# The recorded frames name an OP that does not exist: whoever has to ask it is told so.
EXPECTED_ERRORS = {
    "bad_request",
    "invalid_op_host",
    "invalid_oxd_id",
    "invalid_registration_client_url",
    "invalid_scope",
    "no_connect_discovery_response",
    "no_uma_discovery_response",
    "unsupported_operation",
}


def connections_of(path: Path) -> dict[int, list[bytes]]:
    """Return the recorded frames by connection, as bytes."""
    frames: dict[int, list[bytes]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        record: dict[str, Any] = json.loads(line)
        raw = bytes.fromhex(record["raw_hex"]) if "raw_hex" in record else record["raw"].encode()
        frames[record["conn"]].append(raw)
    return frames


async def answers_of(server: ServerProcess, frames: list[bytes], sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Send the frames on one connection, cut into pieces, and return as many answers as there are distinct frames."""
    connection = await server.connect()
    data = b"".join(frames)
    try:
        position = 0
        for size in sizes:
            await connection.send(data[position : position + size])
            position += size
        if position < len(data):
            await connection.send(data[position:])
        copies_dropped = len(set(frames)) == 1
        return [await connection.receive() for _ in range(1 if copies_dropped else len(frames))]
    finally:
        await connection.aclose()


def assert_understood(answers: list[dict[str, Any]]) -> None:
    """Every answer is ok or an error that says something about the command, not about its bytes."""
    for answer in answers:
        if answer["status"] == "error":
            assert answer["data"]["error"] in EXPECTED_ERRORS, answer


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
async def test_recorded_connections_are_answered(start_server: StartServer, path: Path) -> None:
    """Each recorded connection gets its answers, sent whole and sent in odd pieces; none is a framing error."""
    async with start_server({"op_connect_timeout_in_seconds": 2, "allowed_op_hosts": ["nowhere.invalid"]}) as server:
        EXPECTED_ERRORS.add("restricted_op_host")
        for frames in connections_of(path).values():
            for sizes in ((), (1,), (3, 1, 1), (5, 40)):
                assert_understood(await answers_of(server, frames, sizes))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
async def test_recorded_frames_do_their_job_at_a_real_op(
    server: ServerProcess, sandbox: RunningSandbox, path: Path
) -> None:
    """With the recorded site and OP exchanged for real ones, what needs no tokens of a person succeeds."""
    rp = await register(server, sandbox.issuer)
    succeed = {"register_site", "update_site", "get_authorization_url", "get_logout_uri", "remove_site"}
    succeeded = set()
    for frames in connections_of(path).values():
        for frame in frames:
            body = frame[frame.index(b"{") :].replace(RECORDED_OXD_ID, rp.oxd_id.encode())
            body = body.replace(b"https://op.example.org", sandbox.issuer.encode())
            command = json.loads(body)["command"]
            if command not in succeed - {"remove_site"}:
                continue
            [answer] = await answers_of(server, [b"%04d" % len(body) + body], ())
            if answer["status"] == "ok":
                succeeded.add(command)
            else:
                assert answer["data"]["error"] in ("invalid_op_host", "invalid_scope"), (command, answer)
    assert succeeded >= {"register_site", "get_authorization_url", "get_logout_uri"}


async def test_a_copy_of_a_frame_never_runs(server: ServerProcess, sandbox: RunningSandbox) -> None:
    """Frames written twice and three times, as PHP and Perl do, register one client each and get one answer each."""
    before = len(sandbox.state.clients)
    params = {"op_host": sandbox.issuer, "authorization_redirect_uri": "https://app.example/cb", "scope": ["openid"]}
    body = json.dumps({"command": "register_site", "params": params}).encode()
    frame = b"%04d%s" % (len(body), body)

    async def one_shot(copies: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            for _ in range(copies):
                await stream.send_all(frame)
            answer = await stream.receive_some(8192)
        assert json.loads(answer[4:])["status"] == "ok"

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(one_shot, 2 + number % 2)
    await server.call("license_status")
    assert len(sandbox.state.clients) == before + 40
