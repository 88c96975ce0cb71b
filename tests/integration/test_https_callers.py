"""Who may call the HTTPS front, over real sockets and TLS: addresses, names, pages, shares, missing tokens."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from oxd_server.entrances.certificates import ensure_self_signed
from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import CERT, LISTENS, Front, envelope_of, receive_all, running_front, status_of
from tests.integration.oxd_process import running_server

HEALTH = b"GET /health-check HTTP/1.1\r\nHost: %s\r\n\r\n"
CLIENT_HELLO_TLS_1_0 = bytes.fromhex(
    "160301002f0100002b0301" + "5a" * 32 + "00" + "0004c014002f" + "0100"
)  # RFC 2246, section 7.4.1.2, without extensions


async def refused_with(front: Front, request: bytes, *statuses: int) -> bytes:
    """Send raw bytes and expect this refusal, as an error envelope; return the answer."""
    answer = await front.exchange(request)
    assert status_of(answer) in statuses, answer
    assert b'"status":"error"' in answer
    return answer


async def test_it_listens_on_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    """Without a certificate or addresses the front is for this machine; with a certificate it is for others too."""
    section: dict[str, Any] = {"enabled": True, "port": 0}
    async with running_server(tmp_path, {"https": section}) as server:
        assert set((await server.wait_for_log(LISTENS))["addresses"]) <= {"127.0.0.1", "::1"}
    cert, key = ensure_self_signed(tmp_path / "own", datetime.now(UTC))
    section |= {"cert_path": str(cert), "key_path": str(key)}
    async with running_server(tmp_path, {"https": section}) as server:
        assert "0.0.0.0" in (await server.wait_for_log(LISTENS))["addresses"]


async def test_callers_by_address(tmp_path: Path) -> None:
    """Who is not named gets 403 on every path, before a request is read, and the log has a line."""
    async with running_front(tmp_path, {"bind_ip_addresses": ["192.0.2.0/24", "2001:db8::/32"]}) as front:
        answer = await refused_with(front, b"", 403)  # nothing was sent
        assert b"127.0.0.1" in answer
        await refused_with(front, HEALTH % b"localhost", 403)
        line = await front.server.wait_for_log("request_refused")
        assert line["status"] == 403
        assert line["peer"].startswith("127.0.0.1:")
    async with running_front(tmp_path, {"bind_ip_addresses": ["127.0.0.0/8"]}) as front:
        assert (await front.client.get("/health-check")).status_code == 200


async def test_foreign_names_and_pages_are_refused(tmp_path: Path) -> None:
    """A foreign Host or Origin is refused on every path, and the refusal is logged; our own are answered."""
    async with running_front(tmp_path, None, allowed_hosts=["oxd.example.org"]) as front:
        own = f"https://localhost:{front.port}"
        for path in ("health-check", "openapi.json", "setup-client", "get-rp", "no-such-path"):
            for headers in (
                {"Host": "evil.example"},
                {"Host": f"evil.example:{front.port}", "Origin": f"https://evil.example:{front.port}"},
                {"Origin": "https://evil.example"},
                {"Origin": "null"},
                {"Origin": own.replace("https", "http")},
                {"Sec-Fetch-Site": "same-site"},
            ):
                response = await front.client.request("GET", f"/{path}", headers=headers)
                assert response.status_code == 403, (path, headers)
                assert envelope_of(response)["data"]["error"] == "403"
        line = await front.server.wait_for_log("request_refused")
        assert line["path"] == "/health-check"
        for form, status in (("https://evil.example/health-check", 403), (f"{own}/health-check", 200)):
            asked = front.client.build_request("GET", "/health-check", extensions={"target": form.encode()})
            assert (await front.client.send(asked)).status_code == status, form
        for headers in ({}, {"Host": "OXD.example.org:9"}, {"Origin": own}, {"Host": "127.0.0.1"}):
            assert (await front.client.get("/health-check", headers=headers)).status_code == 200, headers


async def test_the_names_of_the_certificate_are_ours(tmp_path: Path) -> None:
    """A front is called by the names that its certificate is for."""
    cert, key = ensure_self_signed(tmp_path / "own", datetime.now(UTC))
    async with running_front(tmp_path, cert_path=str(cert), key_path=str(key)) as front:
        for name, status in ((b"[::1]", 200), (b"localhost:1", 200), (b"other.example", 403)):
            answer = await front.exchange((HEALTH % name).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert status_of(answer) == status, name


async def test_a_tls_version_that_is_too_old_gets_its_alert(tmp_path: Path) -> None:
    """RFC 8446, section 4.2.1: a server that speaks no offered version "MUST abort" with protocol_version."""
    async with running_front(tmp_path) as front:
        stream = await trio.open_tcp_stream("127.0.0.1", front.port)
        async with stream:
            await stream.send_all(CLIENT_HELLO_TLS_1_0)
            answer = await receive_all(stream)
        assert answer[0] == 21  # an alert (RFC 8446, section 5.1)
        assert answer[5:7] == bytes([2, 70])  # fatal, protocol_version (section 6)


async def test_a_suite_that_is_not_spoken_gets_its_alert(tmp_path: Path) -> None:
    """A client with weak suites only learns why: handshake_failure."""
    async with running_front(tmp_path) as front:
        context = ssl.create_default_context(cafile=tmp_path / CERT)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        stream = await trio.open_tcp_stream("127.0.0.1", front.port)
        secure = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await secure.do_handshake()
        await trio.aclose_forcefully(secure)
        assert "HANDSHAKE_FAILURE" in str(caught.value.__cause__).upper()


async def test_an_address_has_its_share_of_the_connections(tmp_path: Path) -> None:
    """The next connection takes the place of an idle one of the same address; if none is idle, it gets 503."""
    async with running_front(tmp_path, max_connections_per_address=2) as front, AsyncExitStack() as stack:
        idle = [await front.open_stream() for _ in range(2)]
        for stream in idle:
            stack.push_async_callback(trio.aclose_forcefully, stream)
        third = await front.open_stream()
        stack.push_async_callback(trio.aclose_forcefully, third)
        assert await receive_all(idle[0]) == b""  # it made room
        # Two that are busy: the heads are complete, the bodies are not.
        for stream in (idle[1], third):
            await stream.send_all(b"POST /setup-client HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                                  b"Content-Length: 9\r\n\r\n")  # fmt: skip
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
        answer = await refused_with(front, b"", 503)
        assert b"server_busy" in answer
        line = await front.server.wait_for_log("request_refused")
        assert line["status"] == 503


@pytest.mark.parametrize(
    ("config", "is_open"),
    [
        ({}, set()),
        ({"protect_commands_with_access_token": False}, {"introspect-access-token", "get-access-token-by-refresh-token",
                                                         "introspect-rpt", "get-authorization-url"}),
        ({"https_commands_without_token": ["introspect_access_token", "introspect_rpt",
                                           "get_access_token_by_refresh_token"]},
         {"introspect-access-token", "introspect-rpt", "get-access-token-by-refresh-token"}),
    ],
)  # fmt: skip
async def test_libraries_that_send_no_token(tmp_path: Path, config: dict[str, Any], is_open: set[str]) -> None:
    """What needs no token runs without a header; the refusal of the others names the key, and is logged."""
    commands = ("introspect-access-token", "introspect-rpt", "get-access-token-by-refresh-token",
                "get-authorization-url", "get-rp")  # fmt: skip
    async with running_front(tmp_path, config) as front:
        for command in commands:
            response = await front.client.post(f"/{command}", json={"oxd_id": "unknown"})
            envelope = envelope_of(response)
            if command in is_open:
                assert response.status_code in (200, 400), command
                assert envelope["data"]["error"] != "403"
            else:
                assert response.status_code == 403, command
                may_be_named = "https_commands_without_token" in envelope["data"]["error_description"]
                assert may_be_named is (command != "get-rp")  # it answers client secrets
        line = await front.server.wait_for_log("request_refused")
        assert "protection token is missing" in line["reason"]
        assert ("https_commands_without_token" in line["reason"]) is (line["path"] != "/get-rp")


async def test_a_command_that_is_open_over_https_runs(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A named command works for a site without any token, also with a token that nobody checks."""
    site = {"op_host": sandbox.issuer, "authorization_redirect_uri": "http://127.0.0.1:9/callback", "scope": ["openid"]}
    async with running_front(tmp_path, {"https_commands_without_token": ["introspect_access_token"]}) as front:
        oxd_id = (await front.server.call("register_site", **site))["data"]["oxd_id"]
        params = {"oxd_id": oxd_id, "access_token": "unknown"}
        for headers in ({}, {"Authorization": "Bearer nobody-checks-it"}):
            response = await front.client.post("/introspect-access-token", json=params, headers=headers)
            assert response.json()["data"]["active"] is False
        assert (await front.client.post("/get-authorization-url", json=params)).status_code == 403


async def test_answers_to_the_turned_away_are_whole(tmp_path: Path) -> None:
    """An ordinary client that is turned away reads its 403 also when it has sent a request."""
    async with running_front(tmp_path, {"bind_ip_addresses": ["192.0.2.1"]}) as front:
        for _ in range(3):
            response = await front.client.post("/setup-client", json={"op_host": "https://op.example"})
            assert isinstance(response, httpx2.Response)
            assert envelope_of(response)["data"]["error"] == "403"
