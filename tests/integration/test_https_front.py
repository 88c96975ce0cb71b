"""The HTTPS front: every row of its table of answers, and HTTP as clients speak it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from oxd_protocol.catalog import COMMANDS
from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import (
    Front,
    envelope_of,
    raw_request,
    receive_all,
    running_front,
    status_of,
)
from tests.integration.logins import SCOPES, data_of, error_of
from tests.integration.oxd_process import encode_command
from tests.integration.real_provider import callback_params, log_in

OPEN = {"protect_commands_with_access_token": False}
REDIRECT_URI = "http://127.0.0.1:9/callback"
SITE: dict[str, Any] = {"authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
UNKNOWN = {"oxd_id": "6F9619FF-8B86-D011-B42D-00CF4FC964FF"}


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A front that takes any token, so that a test is about HTTP alone."""
    async with running_front(tmp_path, OPEN) as running:
        yield running


async def test_it_is_off_by_default(server: Any) -> None:
    """Without its key in the configuration nothing listens but the socket, and no certificate is made."""
    data_of(await server.call("get_rp", list=True))
    assert not any("https" in str(line.get("event")).lower() for line in server.log_lines())


async def test_a_whole_login_goes_through_it(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Set up, get the token, register, send a user to log in, get tokens and claims, refresh, log out, remove."""
    async with running_front(tmp_path) as front:
        setup = data_of(await front.call("setup_client", op_host=sandbox.issuer, **SITE))
        credentials = {"client_id": setup["client_id"], "client_secret": setup["client_secret"]}
        answer = data_of(await front.call("get_client_token", op_host=sandbox.issuer, **credentials))
        token = answer["access_token"]

        async def run(command: str, **params: Any) -> dict[str, Any]:
            return data_of(await front.call(command, token=token, **params))

        oxd_id = (await run("register_site", op_host=sandbox.issuer, **SITE))["oxd_id"]
        url = (await run("get_authorization_url", oxd_id=oxd_id))["authorization_url"]
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        tokens = await run("get_tokens_by_code", oxd_id=oxd_id, code=callback["code"], state=callback["state"])
        claims = (await run("get_user_info", oxd_id=oxd_id, access_token=tokens["access_token"]))["claims"]
        assert claims["name"] == ["Alice Jensen"]
        await run("get_access_token_by_refresh_token", oxd_id=oxd_id, refresh_token=tokens["refresh_token"])
        assert "id_token_hint=" in (await run("get_logout_uri", oxd_id=oxd_id))["uri"]
        assert await run("remove_site", oxd_id=oxd_id) == {"oxd_id": oxd_id}
        assert error_of(await front.call("get_logout_uri", token=token, oxd_id=oxd_id)) == "invalid_oxd_id"


async def test_refused_commands_are_answered_with_200(front: Front) -> None:
    """Existing libraries accept nothing but 200, so an oxd error travels in the envelope alone."""
    response = await front.post("get_logout_uri", UNKNOWN, token="any")
    assert (response.status_code, error_of(envelope_of(response))) == (200, "invalid_oxd_id")
    response = await front.post("get_logout_uri", {}, token="any")
    assert (response.status_code, error_of(envelope_of(response))) == (200, "bad_request")


async def test_an_ops_error_keeps_its_status(front: Front, sandbox: RunningSandbox) -> None:
    """``http_status_401`` of the OP is answered with 401 and the envelope."""
    oxd_id = data_of(await front.call("register_site", token="any", op_host=sandbox.issuer, **SITE))["oxd_id"]
    response = await front.post("get_user_info", {"oxd_id": oxd_id, "access_token": "wrong"}, token="any")
    assert (response.status_code, error_of(envelope_of(response))) == (401, "http_status_401")


@pytest.mark.parametrize("config", [{}, OPEN], ids=["protected", "open"])
async def test_without_a_bearer_token_it_is_403(tmp_path: Path, config: dict[str, Any]) -> None:
    """A missing Authorization header is refused for every command but the two that give tokens.

    Where commands are open, it is refused for the one that answers client secrets only.
    """
    async with running_front(tmp_path, config) as front:
        for command in COMMANDS:
            if command.name == "register_site" or command.generation > 3:
                continue  # without a token, it is of dialect 4
            response = await front.post(command.name, {})
            if command.protected and (not config or command.returns_secrets):
                assert (response.status_code, error_of(envelope_of(response))) == (403, "403"), command.name
            else:
                assert response.status_code == 200, command.name


async def test_what_is_no_bearer_token_is_403(front: Front) -> None:
    """A blank Authorization header, or one of another kind, is none."""
    for value in ("", "Bearer", "Bearer ", "Bearer  ", "Bearer\t", "Basic eDp5", "Bearer a b", "token", "Bearertoken"):
        request = raw_request("get-rp", {}, f"Authorization: {value}", "Connection: close")
        assert status_of(await front.exchange(request)) == 403, value


async def test_two_authorization_headers_are_refused(front: Front) -> None:
    """Nobody can say which of two tokens counts."""
    request = raw_request("get-rp", {}, "Authorization: Bearer a", "Authorization: Bearer b", "Connection: close")
    assert status_of(await front.exchange(request)) == 403


async def test_the_scheme_may_be_written_in_any_case(front: Front) -> None:
    """RFC 9110, section 11.1: the name of a scheme is case-insensitive."""
    response = await front.post("get_logout_uri", UNKNOWN, headers={"authorization": "bEARER  token"})
    assert response.status_code == 200


async def test_the_headers_token_wins_over_the_bodys(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A good token in the body does not help a bad one in the header, and the other way round it does no harm."""
    async with running_front(tmp_path) as front:
        setup = data_of(await front.call("setup_client", op_host=sandbox.issuer, **SITE))
        credentials = {"client_id": setup["client_id"], "client_secret": setup["client_secret"]}
        answer = await front.call("get_client_token", op_host=sandbox.issuer, **credentials)
        good = data_of(answer)["access_token"]
        params = {"oxd_id": setup["oxd_id"]}
        refused = await front.call("get_logout_uri", token="bad", protection_access_token=good, **params)
        assert error_of(refused) == "inactive_protection_access_token"
        data_of(await front.call("get_logout_uri", token=good, protection_access_token="bad", **params))


NO_PARAMS = (
    *(b"", b"null", b"[]", b"3", b'"x"', b"{", b"{}{}", b"\xff\xfe", b"<x/>", b"[" * 9000),
    *(b'{"oxd_id": 3}', b'{"oxd_id": {}}', b'{"oxd_id": "x", "state": ["y"]}'),
)


async def test_what_is_no_object_of_params_is_400(front: Front) -> None:
    """A body that is no JSON object, or a parameter of the wrong type, is a bad request."""
    for body in NO_PARAMS:
        response = await front.client.post("/get-logout-uri", content=body, headers={"Authorization": "Bearer x"})
        assert response.status_code == 400, body
        assert error_of(envelope_of(response)) == "invalid_request"


async def test_unknown_paths_are_404(front: Front) -> None:
    """A path is a command's name with dashes and nothing like it."""
    request = raw_request("x", {}, "Authorization: Bearer x", "Connection: close")
    for path in ("/nothing", "/get_rp", "/get-rp/", "//get-rp", "/GET-RP", "/%67et-rp", "/../get-rp"):
        answer = await front.exchange(request.replace(b"/x ", path.encode() + b" "))
        assert status_of(answer) == 404, path
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"]["error"] == "404"


async def test_other_methods_are_405(front: Front) -> None:
    """Commands are posted; the answer to anything else says so."""
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"):
        response = await front.client.request(method, "/get-rp", headers={"Authorization": "Bearer x"})
        assert (response.status_code, response.headers["allow"]) == (405, "POST"), method


async def test_pages_of_other_sites_cannot_send_commands(front: Front) -> None:
    """What a browser marks as coming from another site is refused; programs do not send that header."""
    for origin, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        response = await front.post("get_client_token", {}, headers={"Sec-Fetch-Site": origin})
        assert response.status_code == status


async def test_long_bodies_go_in_and_out(front: Front, sandbox: RunningSandbox) -> None:
    """What does not fit into a frame of the socket, 9999 bytes, is no problem here, in either direction."""
    contacts = [f"person{number}@example.org" for number in range(1200)]
    params = {"op_host": sandbox.issuer, **SITE, "client_id": "c", "client_secret": "s", "contacts": contacts}
    setup = await front.post("register_site", params, token="any")
    oxd_id = data_of(envelope_of(setup))["oxd_id"]
    url = data_of(
        await front.call("get_authorization_url", token="any", oxd_id=oxd_id, custom_parameters={"x": "y" * 20_000})
    )["authorization_url"]
    assert len(url) > 20_000


async def test_too_large_a_body_is_413(front: Front) -> None:
    """The limit is max_request_bytes, whether the length is announced or not."""
    body = b" " * 65_537
    response = await front.client.post("/get-rp", content=body, headers={"Authorization": "Bearer x"})
    assert (response.status_code, error_of(envelope_of(response))) == (413, "413")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    response = await front.client.post("/get-rp", content=chunks(), headers={"Authorization": "Bearer x"})
    assert response.status_code == 413


async def test_what_comes_too_slowly_is_408(tmp_path: Path) -> None:
    """A head or a body that does not become complete in time is answered with 408, and the connection closes."""
    async with running_front(tmp_path, {"frame_timeout_in_seconds": 0.5}) as front:
        for part in (b"POST /get-rp HTTP/1.1\r\nHost:", raw_request("get-rp", {"list": True})[:-3]):
            answer = await front.exchange(part)
            assert status_of(answer) == 408
            assert b"connection: close" in answer.lower()


async def test_health_openapi_and_page_can_be_read(front: Front) -> None:
    """The three documents and the style sheet need no token; GET and HEAD read them, nothing else does."""
    health = await front.client.get("/health-check")
    assert (health.status_code, health.text) == (200, "running")
    for path, media_type in (("/openapi.json", "application/json"), ("/", "text/html"), ("/style.css", "text/css")):
        response = await front.client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(media_type)
        assert response.headers["x-content-type-options"] == "nosniff"
        head = await front.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == response.headers["content-length"]
        refused = await front.client.post(path, content=b"{}")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_the_page_runs_no_script_and_loads_nothing_from_elsewhere(front: Front) -> None:
    """The page names every command, and its policy allows its own style sheet and nothing more."""
    response = await front.client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in response.text
    assert " style=" not in response.text
    for command in COMMANDS:
        assert f'id="{command.name}"' in response.text


async def test_the_other_name_of_the_logout_path_works(front: Front, sandbox: RunningSandbox) -> None:
    """``/logout`` is ``/get-logout-uri``, which one library calls so."""
    oxd_id = data_of(await front.call("register_site", token="any", op_host=sandbox.issuer, **SITE))["oxd_id"]
    assert data_of(await front.call("logout", token="any", oxd_id=oxd_id)) == data_of(
        await front.call("get_logout_uri", token="any", oxd_id=oxd_id)
    )


async def test_requests_may_come_all_at_once(front: Front) -> None:
    """Pipelined requests on one connection are answered in order, and the connection stays open for the next."""
    stream = await front.open_stream()
    token = "Authorization: Bearer x"
    await stream.send_all(
        raw_request("get-rp", {"oxd_id": "a"}, token)
        + raw_request("nothing", {}, token)
        + raw_request("get-logout-uri", {"oxd_id": 3}, token, "Connection: close")
    )
    answers = (await receive_all(stream)).split(b"HTTP/1.1 ")[1:]
    await trio.aclose_forcefully(stream)
    assert [answer[:3] for answer in answers] == [b"200", b"404", b"400"]


async def test_expect_chunks_and_old_http_work(front: Front) -> None:
    """100-continue, a chunked body, HTTP/1.0 and a missing Content-Type are understood."""
    expecting = raw_request("get-client-token", {}, "Expect: 100-continue", "Connection: close")
    head, _, body = expecting.partition(b"\r\n\r\n")
    stream = await front.open_stream()
    await stream.send_all(head + b"\r\n\r\n")
    with trio.fail_after(10):
        assert bytes(await stream.receive_some(1000)).startswith(b"HTTP/1.1 100 ")
    await stream.send_all(body)
    assert status_of(await receive_all(stream)) == 200
    await trio.aclose_forcefully(stream)

    chunked = (
        b"POST /get-client-token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    )
    assert status_of(await front.exchange(chunked)) == 200
    old = raw_request("get-client-token", {}).replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = await front.exchange(old)
    assert status_of(answer) == 200
    assert b"bad_request" in answer


async def test_both_entrances_share_the_limit_on_commands(tmp_path: Path) -> None:
    """While the socket runs as many commands as may run, the front answers server_busy: it is one dispatch."""
    silent = await trio.open_tcp_listeners(0, host="127.0.0.1")
    try:
        port = silent[0].socket.getsockname()[1]
        async with running_front(tmp_path, {**OPEN, "max_commands_in_flight": 1}) as front:
            connection = await front.server.connect()
            await connection.send(encode_command("register_site", {"op_host": f"http://127.0.0.1:{port}", **SITE}))
            async with await silent[0].accept() as op:
                await op.receive_some(1)  # the command is under way now
                assert error_of(await front.call("get_logout_uri", token="any", **UNKNOWN)) == "server_busy"
                assert (await front.client.get("/health-check")).status_code == 200
                await op.send_all(NOT_FOUND)
            assert error_of(await connection.receive()) == "no_connect_discovery_response"
            await connection.aclose()
    finally:
        for listener in silent:
            await listener.aclose()


async def test_a_stop_lets_the_running_request_finish(tmp_path: Path) -> None:
    """At SIGTERM idle connections close at once, and a request that runs gets its answer."""
    slow = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = slow[0].socket.getsockname()[1]
    async with running_front(tmp_path, OPEN) as front:
        idle = await front.open_stream()
        answers: list[httpx2.Response] = []

        async def register() -> None:
            params = {"op_host": f"http://127.0.0.1:{port}", **SITE}
            answers.append(await front.post("register_site", params, token="any"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(register)
            op = await slow[0].accept()
            await op.receive_some(1)
            nursery.start_soon(front.server.terminate)
            await front.server.wait_for_log("stopping")
            assert await receive_all(idle) == b""
            await op.send_all(NOT_FOUND)
            await op.aclose()
        await trio.aclose_forcefully(idle)
        assert error_of(envelope_of(answers[0])) == "no_connect_discovery_response"
    await slow[0].aclose()
