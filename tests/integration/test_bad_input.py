"""What a server answers to input that is wrong, over its real socket: it says so, forgets it and serves on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from tests.integration.background import Background, background
from tests.integration.conftest import StartServer
from tests.integration.logins import REDIRECT_URI, SCOPES, data_of, error_of, register
from tests.integration.oxd_process import ServerProcess, encode_command
from tests.integration.stored import stored_rows

FRAME_TIMEOUT = 0.3
CAP = 20_000
OWN = {"client_id": "own-client", "client_secret": "own-secret"}
SITE = {"op_host": "https://op.example.org", "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES, **OWN}
LIST = encode_command("get_rp", {"list": True})


def frame(body: bytes) -> bytes:
    """Put the right length before a body."""
    return b"%04d%s" % (len(body), body)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server for all the tests here: what one of them did to it, the next would notice."""
    config = {"frame_timeout_in_seconds": FRAME_TIMEOUT, "max_request_bytes": CAP}
    with background(tmp_path_factory.mktemp("bad-input"), config) as both:
        yield both


@pytest.fixture
async def used(running: Background) -> str:
    """The oxd_id of a site that somebody is logged in at."""
    rp = await register(running.server, running.sandbox.issuer)
    await rp.log_in()
    return rp.oxd_id


async def assert_serving(server: ServerProcess) -> None:
    """Assert that a new connection is served."""
    assert (await server.call("get_rp", list=True))["status"] == "ok"


# --- the framing is broken: one error frame, then the end ---------------------------------------

BROKEN = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "invalid_request"),
    "HTTP": (b"POST /register-site HTTP/1.1\r\nHost: localhost\r\n\r\n{}", "invalid_request"),
    "zeros": (bytes(100), "invalid_request"),
    "seven digits": (b'1234567{"command": "get_rp"}', "invalid_request"),
    "many digits": (b"9" * 5000, "invalid_request"),
    "six digits above the cap": (b"999999{", "request_too_long"),
    "five digits above the cap": (b'65000{"command": "', "request_too_long"),
    "a body above the cap": (b'{"command": "' + b"x" * (CAP + 1), "request_too_long"),
    "a body far above its length": (b'0020{"command": "' + b"x" * 100, "invalid_request"),
    "a list": (b'0010["get_rp"]', "invalid_request"),
    "a text": (b'0008"get_rp"', "invalid_request"),
    "braces that hold no JSON": (frame(b"{get_rp}"), "invalid_request"),
    "a comma too much": (frame(b'{"command": "get_rp",}'), "invalid_request"),
    "not a number": (frame(b'{"command": "get_rp", "params": {"list": NaN}}'), "invalid_request"),
    "a number of 9000 digits": (frame(b'{"command": "x", "params": {"n": ' + b"7" * 9000 + b"}}"), "invalid_request"),
    "a minus before the length": (b'-022{"command": "get_rp"}', "invalid_request"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_framing(running: Background, used: str, name: str) -> None:
    """A stream that is no sequence of frames gets exactly one error frame and ends; whoever comes next is served."""
    data, code = BROKEN[name]
    before = stored_rows(running.folder)
    connection = await running.server.connect()
    await connection.send(data)
    answer = await connection.receive()
    assert error_of(answer) == code
    assert answer["data"]["error_description"]
    await connection.receive_eof()
    await connection.aclose()
    await assert_serving(running.server)
    assert stored_rows(running.folder) == before


async def test_what_came_before_is_answered(running: Background) -> None:
    """Good frames before a broken one are answered first, and nothing after it is."""
    answers = await running.server.send(LIST + encode_command("get_rp", {}) + b"junk" + LIST)
    assert [answer["status"] for answer in answers] == ["ok", "error", "error"]
    assert [error_of(answer) for answer in answers[1:]] == ["bad_request", "invalid_request"]


@pytest.mark.parametrize("half", [b"0", b"0083", b'0083{"command": "remove_site", "params": {"oxd_id": "'])
async def test_half_a_frame_and_silence(running: Background, used: str, half: bytes) -> None:
    """A frame that does not arrive in time gets one error frame that says so, and the connection ends."""
    before = stored_rows(running.folder)
    connection = await running.server.connect()
    assert (await connection.call("get_rp", oxd_id=used))["status"] == "ok"
    await connection.send(half)
    answer = await connection.receive()
    assert error_of(answer) == "invalid_request"
    assert f"within {FRAME_TIMEOUT} seconds" in answer["data"]["error_description"]
    await connection.receive_eof()
    await connection.aclose()
    await assert_serving(running.server)
    assert stored_rows(running.folder) == before


async def test_half_a_frame_and_the_end(running: Background) -> None:
    """A peer that leaves in the middle of a frame, or without a word, is no news to anybody."""
    log = len(running.server.log_lines())
    assert await running.server.send(b"") == []
    assert await running.server.send(LIST[:-1]) == []
    await assert_serving(running.server)
    assert all(line["level"] == "info" for line in running.server.log_lines()[log:])


# --- the content is bad: an error frame, and the connection lives -------------------------------

GONE = [
    "license_status",
    "get_authorization_code",
    "authorization_code_flow",
    "implicit_flow",
    "uma_rp_authorize_rpt",
    "uma_rp_get_gat",
]
NO_URLS = [
    "callback",
    "/callback",
    "//host/path",
    "https://",
    "http:///path",
    "https://a b/",
    "https://x/#top",
    "http://[",
]
NO_OP_HOSTS = ["https://", "ftp://op.example.org", "https://[", "https://op.example.org?x=1",
               "https://op.example.org/#x", "https://user:pass@op.example.org", "javascript:alert(1)",
               "https://op.example.org:99999", "http://:80"]  # fmt: skip
BLANK: tuple[object, ...] = (None, "", "  ", [])
NO_FLAGS: tuple[object, ...] = ("maybe", 7, [True], {})
BAD_UPDATES: list[dict[str, Any]] = [
    {"authorization_redirect_uri": "x"},
    {"redirect_uris": ["x"]},
    {"scope": 5},
    {"contacts": {}},
]
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no_such_command", {}, "unsupported_operation"),
    ("x" * 5000, {}, "unsupported_operation"),
    ("get_rp\n\x1b[2J", {}, "unsupported_operation"),
    *((name, {"oxd_id": "x"}, "unsupported_operation") for name in GONE),
    # Required ones that are not there.
    ("get_rp", {}, "bad_request"),
    *(
        (name, {"oxd_id": blank}, "bad_request")
        for name in ("update_site", "remove_site", "get_authorization_url", "get_logout_uri", "get_user_info")
        for blank in BLANK
    ),
    ("get_tokens_by_code", {"oxd_id": "x", "code": "", "state": "s"}, "bad_request"),
    ("get_tokens_by_code", {"oxd_id": "x", "code": "c", "state": None}, "bad_request"),
    ("get_user_info", {"oxd_id": "x", "access_token": "null"}, "bad_request"),
    ("get_access_token_by_refresh_token", {"oxd_id": "x", "refresh_token": ""}, "bad_request"),
    # Nobody's.
    *((name, {"oxd_id": "nobody"}, "invalid_oxd_id")
      for name in ("get_rp", "update_site", "remove_site", "get_authorization_url", "get_logout_uri")),
    ("get_tokens_by_code", {"oxd_id": "nobody", "code": "c", "state": "s"}, "invalid_oxd_id"),
    ("get_user_info", {"oxd_id": "nobody", "access_token": "t"}, "invalid_oxd_id"),
    ("get_access_token_by_refresh_token", {"oxd_id": "nobody", "refresh_token": "t"}, "invalid_oxd_id"),
    ("get_rp", {"oxd_id": "' OR 1=1 --"}, "invalid_oxd_id"),
    ("get_rp", {"oxd_id": "x" * 10_000}, "invalid_oxd_id"),
    ("get_rp", {"oxd_id": "\0"}, "invalid_oxd_id"),
    # Wrong types: a text, a list, words, a flag, a mapping, a token, a text that may be a list.
    *(("get_rp", {"oxd_id": wrong}, "invalid_request") for wrong in (5, 1.5, True, {}, ["a"], {"a": "b"})),
    *(("register_site", SITE | {"redirect_uris": wrong}, "invalid_request") for wrong in (5, {"a": 1}, [5], [["x"]])),
    *(("register_site", SITE | {"scope": wrong}, "invalid_request") for wrong in (True, {"openid": 1}, [None, 7])),
    *(("register_site", SITE | {"trusted_client": wrong}, "invalid_request") for wrong in NO_FLAGS),
    *(("get_rp", {"list": wrong}, "invalid_request") for wrong in ("ja", 2, {"a": 1})),
    *(("get_authorization_url", {"oxd_id": "x", "custom_parameters": wrong}, "invalid_request")
      for wrong in ("a=b", 5, ["a"])),
    *(("get_user_info", {"oxd_id": "x", "access_token": wrong}, "invalid_request") for wrong in (5, ["t"], {"t": 1})),
    ("register_site", SITE | {"client_sector_identifier_uri": {"uri": "x"}}, "invalid_request"),
    # A registration that cannot be.
    ("register_site", SITE | {"op_host": None}, "invalid_op_host"),
    *(("register_site", SITE | {"op_host": text}, "invalid_op_host") for text in NO_OP_HOSTS),
    *(("register_site", SITE | {"authorization_redirect_uri": text}, "invalid_authorization_redirect_uri")
      for text in NO_URLS),
    *(("register_site", SITE | {"redirect_uris": [REDIRECT_URI, text]}, "invalid_authorization_redirect_uri")
      for text in NO_URLS),
    ("register_site", SITE | {"authorization_redirect_uri": ""}, "invalid_authorization_redirect_uri"),
    ("register_site", SITE | {"post_logout_redirect_uri": "goodbye"}, "invalid_request"),
    ("register_site", SITE | {"client_frontchannel_logout_uris": ["bye"]}, "invalid_request"),
    ("register_site", SITE | {"scope": []}, "invalid_scope"),
    ("register_site", SITE | {"scope": " "}, "invalid_scope"),
    ("register_site", SITE | {"client_id": None}, "invalid_request"),
    ("register_site", SITE | {"client_secret": ""}, "invalid_request"),
    # A plain-text OP somewhere in the network is refused before it is asked.
    ("register_site", SITE | {"op_host": "http://op.example.org"}, "restricted_op_host"),
    ("register_site", SITE | {"op_host": "http://op.example.org"} | dict.fromkeys(OWN), "restricted_op_host"),
]  # fmt: skip


async def test_bad_content(running: Background, used: str) -> None:
    """Each bad command gets its error code on a connection that stays open, and the store does not change."""
    before = stored_rows(running.folder)
    connection = await running.server.connect()
    for command, params, code in BAD:
        answer = await connection.call(command, **params)
        assert error_of(answer) == code, (command, params, answer)
        assert answer["data"]["error_description"], (command, params)
        assert "own-secret" not in str(answer), (command, params)
        assert stored_rows(running.folder) == before, (command, params)
    assert (await connection.call("get_rp", oxd_id=used))["status"] == "ok"
    await connection.aclose()
    await assert_serving(running.server)


async def test_bad_updates(running: Background, used: str) -> None:
    """An update that cannot be is refused before the OP hears of it; the site stays as it was."""
    before = stored_rows(running.folder)
    client = running.sandbox.state.clients.get(json.loads(before["site"][0][-1])["client_id"])
    assert client is not None
    metadata = dict(client.metadata)
    for params in BAD_UPDATES:
        answer = await running.server.call("update_site", oxd_id=used, **params)
        wanted = "invalid_request" if set(params) & {"scope", "contacts"} else "invalid_authorization_redirect_uri"
        assert error_of(answer) == wanted, params
    assert dict(client.metadata) == metadata
    assert stored_rows(running.folder) == before


ODD_BODIES = {
    "no command": (b'{"params": {}}', "invalid_request"),
    "an empty object": (b"{}", "invalid_request"),
    "a command that is a number": (b'{"command": 5}', "invalid_request"),
    "a command that is null": (b'{"command": null, "params": {}}', "invalid_request"),
    "params that are a text": (b'{"command": "get_rp", "params": "oxd_id"}', "invalid_request"),
    "params that are a list": (b'{"command": "get_rp", "params": ["oxd_id"]}', "invalid_request"),
    "nested a thousand levels deep": (
        b'{"command": "get_rp", "params": {"oxd_id": ' + b"[" * 1000 + b"]" * 1000 + b"}}", "invalid_request"
    ),
    "nested as deep as the cap allows": (b'{"a":' * 3000 + b"1" + b"}" * 3000, "invalid_request"),
    "half a surrogate pair": (b'{"command": "get_rp", "params": {"oxd_id": "\\ud800"}}', "invalid_oxd_id"),
    "a surrogate in the command": (b'{"command": "get_rp\\udfff", "params": {}}', "unsupported_operation"),
    "invalid UTF-8": (b'{"command": "get_rp", "params": {"oxd_id": "\xff\xfe\xc3"}}', "invalid_oxd_id"),
    "an overlong UTF-8 sequence": (b'{"command": "get_rp", "params": {"oxd_id": "\xc0\xaf"}}', "invalid_oxd_id"),
    "a command twice": (b'{"command": "remove_site", "command": "get_rp", "params": {}}', "bad_request"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_BODIES)
async def test_odd_bodies(running: Background, used: str, name: str) -> None:
    """A JSON object that is no request, or holds text that is none, gets an error and the connection lives."""
    body, code = ODD_BODIES[name]
    before = stored_rows(running.folder)
    connection = await running.server.connect()
    await connection.send(frame(body))
    assert error_of(await connection.receive()) == code
    assert (await connection.call("get_rp", oxd_id=used))["status"] == "ok"
    await connection.aclose()
    assert stored_rows(running.folder) == before


async def test_a_site_can_be_named_in_any_unicode(running: Background) -> None:
    """Text that is mangled or half a character is only text: the site is kept, shown and listed."""
    body = (
        b'{"command": "register_site", "params": '
        + json.dumps(SITE).encode()[:-1]
        + b', "client_name": "\\ud83d \xff"}}'
    )
    (answer,) = await running.server.send(frame(body))
    oxd_id = data_of(answer)["oxd_id"]
    node = data_of(await running.server.call("get_rp", oxd_id=oxd_id))["node"]
    assert node["client_name"] == "\ufffd \ufffd"
    await running.server.call("remove_site", oxd_id=oxd_id)


async def test_nothing_of_it_is_an_error_of_the_server(running: Background) -> None:
    """All that the tests above sent left no line above a warning in the log."""
    await assert_serving(running.server)
    assert [line for line in running.server.log_lines() if line.get("level") in ("error", "critical")] == []


# --- limits -------------------------------------------------------------------------------------


async def test_an_op_that_is_not_allowed(start_server: StartServer) -> None:
    """With allowed_op_hosts another OP is refused, also when a client is brought along, and nothing is stored."""
    async with start_server({"allowed_op_hosts": ["https://op.example.org"]}) as server:
        other = {**SITE, "op_host": "https://other.example.org"}
        without_client = {name: value for name, value in other.items() if name not in OWN}
        assert error_of(await server.call("register_site", **without_client)) == "restricted_op_host"
        assert error_of(await server.call("register_site", **other)) == "restricted_op_host"
        assert data_of(await server.call("get_rp", list=True))["node"] == []
        assert data_of(await server.call("register_site", **SITE))["op_host"] == "https://op.example.org"


async def test_too_many_connections(start_server: StartServer) -> None:
    """A connection too many gets server_busy, whatever it has sent, and ends; when one leaves, the next is served."""
    async with start_server({"max_connections": 2}) as server:
        kept = [await server.connect() for _ in range(2)]
        for connection in kept:
            assert (await connection.call("get_rp", list=True))["status"] == "ok"
        for sent in (b"", LIST, LIST * 50):
            turned_away = await server.connect()
            await turned_away.send(sent)
            assert error_of(await turned_away.receive()) == "server_busy"
            await turned_away.receive_eof()
            await turned_away.aclose()
        assert (await kept[0].call("get_rp", list=True))["status"] == "ok"
        await kept[1].aclose()
        with trio.fail_after(10):
            while (await server.call("get_rp", list=True))["status"] != "ok":
                await trio.sleep(0.01)
        await kept[0].aclose()


async def test_a_client_that_never_reads(start_server: StartServer) -> None:
    """Whoever sends commands and reads no answer is dropped within the write timeout; the others do not notice."""
    async with start_server({"frame_timeout_in_seconds": FRAME_TIMEOUT}) as server:
        for number in range(80):
            await server.call("register_site", **SITE, client_name=f"{number:04}" + "x" * 40)
        deaf = trio.socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await deaf.connect(("127.0.0.1", server.port))
        stream = trio.SocketStream(deaf)
        with trio.fail_after(30), pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all((LIST + encode_command("get_rp", {"list": "true"})) * 50)
                await assert_serving(server)
        await stream.aclose()
        await assert_serving(server)
        assert [line for line in server.log_lines() if line.get("level") == "error"] == []
