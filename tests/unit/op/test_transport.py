"""`Transport` against a server that answers well, badly, slowly or not at all."""

import gzip
import socket
from functools import partial

import httpx2
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from oxd_server.op.errors import OpErrorResponse, OpHostRefused, OpInvalidResponse, OpUnreachable
from oxd_server.op.observed import OpRequest
from oxd_server.op.reach import Reach, Zone
from oxd_server.op.transport import USER_AGENT
from tests.unit.op.replies import addresses, hang_up, raw_bytes


async def test_answer_is_returned_as_sent(op, transport):
    """Status, headers and body of the answer come back, with the host and the step for reports."""
    url = op.on("GET", "/a", {"x": 1}, status=201, headers={"X-Thing": "yes"})
    answer = await transport.send("GET", url, step="a step")
    assert (answer.status, answer.headers["x-thing"], answer.json_object()) == (201, "yes", {"x": 1})
    assert (answer.step, f"http://{answer.host}") == ("a step", op.base)


async def test_request_head_names_us_and_refuses_compression(op, transport):
    """Every request says which server asks, and that it wants no compressed answer."""
    await transport.send("GET", op.on("GET", "/", {}), step="s", headers={"X-Own": "v"})
    head = op.requests[0].headers
    assert (head["user-agent"], head["accept-encoding"], head["x-own"]) == (USER_AGENT, "identity", "v")


async def test_names_of_headers_are_in_small_letters(transport):
    """OPs and what stands before them have seen nothing else from us: some look for `authorization` to the letter."""
    received = b""

    async def serve(stream):
        nonlocal received
        received = await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        await transport.send("POST", url, step="s", form={"a": "b"}, headers={"Authorization": "Basic eDp5"})
        nursery.cancel_scope.cancel()
    for line in (b"authorization: Basic eDp5", b"content-type: application/x-www-form-urlencoded", b"accept: "):
        assert b"\r\n" + line in received


@pytest.mark.parametrize("form", [{"a": "1 &", "b": "ü"}, [("a", "1 &"), ("b", "ü")]])
async def test_form_is_urlencoded(op, transport, form):
    """A form arrives as form-urlencoded fields."""
    await transport.send("POST", op.on("POST", "/", {}), step="s", form=form)
    assert op.requests[0].form == {"a": "1 &", "b": "ü"}
    assert op.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"


async def test_json_body(op, transport):
    """A JSON value arrives as JSON."""
    await transport.send("POST", op.on("POST", "/", {}), step="s", json={"a": [1]})
    assert op.requests[0].json == {"a": [1]}
    assert op.requests[0].headers["content-type"] == "application/json"


async def test_cookies_are_not_kept(op, transport):
    """A cookie that the OP sets does not come back to it."""
    url = op.on("GET", "/", {}, headers={"set-cookie": "session=1"})
    await transport.send("GET", url, step="s")
    await transport.send("GET", url, step="s")
    assert "cookie" not in op.requests[1].headers


async def test_proxy_of_the_environment_is_ignored(op, open_transport, monkeypatch):
    """A proxy that the environment names is not used."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with open_transport() as transport:
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).status == 200


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"a":', b"\xff", b"", b"[" * 100_000])
async def test_body_that_is_no_json_object_is_invalid(op, transport, body):
    """HTML, arrays, broken and bottomless JSON are all an invalid response."""
    answer = await transport.send("GET", op.on("GET", "/", body=body), step="s")
    with pytest.raises(OpInvalidResponse, match="not a JSON object"):
        answer.json_object()


async def test_json_with_another_content_type_is_accepted(op, transport):
    """A JSON object counts whatever content type it has."""
    url = op.on("GET", "/", {"a": 1}, headers={"content-type": "text/html; charset=utf-8"})
    answer = await transport.send("GET", url, step="s")
    assert (answer.json_object(), answer.content_type) == ({"a": 1}, "text/html")


async def test_error_answer_keeps_its_meaning(op, transport):
    """An error status becomes the OP's error, with its code, its text and its JSON."""
    url = op.on("POST", "/", {"error": "invalid_grant", "error_description": "no"}, status=400)
    answer = await transport.send("POST", url, step="token request")
    with pytest.raises(OpErrorResponse) as caught:
        answer.expect(200)
    error = caught.value
    assert (error.status, error.oauth_error, error.step) == (400, "invalid_grant", "token request")
    assert error.body_json == {"error": "invalid_grant", "error_description": "no"}
    assert "invalid_grant" in error.body_text


async def test_error_code_of_the_challenge(op, transport):
    """Where the body has no error code, that of the WWW-Authenticate header counts."""
    challenge = {"www-authenticate": 'Bearer realm="x", error="invalid_token", error_description="expired"'}
    answer = await transport.send("GET", op.on("GET", "/", body=b"", status=401, headers=challenge), step="s")
    assert answer.error_response().oauth_error == "invalid_token"
    assert answer.error_response().body_json is None


async def test_error_text_is_bounded(op, transport):
    """A long error page is cut."""
    answer = await transport.send("GET", op.on("GET", "/", body=b"x" * 20_000, status=500), step="s")
    assert len(answer.error_response().body_text) == 8192
    assert answer.error_response().oauth_error is None


async def test_unexpected_success_status_is_invalid(op, transport):
    """A 2xx status that the specification does not name is an invalid response."""
    answer = await transport.send("GET", op.on("GET", "/", {}, status=206), step="s")
    with pytest.raises(OpInvalidResponse, match="206"):
        answer.expect(200)


async def test_size_limit(op, open_transport):
    """An answer of the limit's size passes, one byte more does not."""
    async with open_transport(max_response_bytes=1000) as transport:
        assert len((await transport.send("GET", op.on("GET", "/a", body=b"x" * 1000), step="s")).body) == 1000
        with pytest.raises(OpInvalidResponse, match="larger than 1000"):
            await transport.send("GET", op.on("GET", "/b", body=b"x" * 1001), step="s")


async def test_endless_answer_is_cut_off(op, open_transport):
    """A chunked answer without an end is given up at the size limit."""

    async def endless(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"400\r\n" + b"x" * 1024 + b"\r\n")

    async with open_transport(max_response_bytes=100_000) as transport:
        with pytest.raises(OpInvalidResponse, match="larger"):
            await transport.send("GET", op.raw("GET", "/", endless), step="s")


async def test_compressed_answer_is_read(op, transport):
    """A compressed answer, which nobody asked for, is unpacked all the same."""
    url = op.on("GET", "/", body=gzip.compress(b'{"a": 1}'), headers={"content-encoding": "gzip"})
    assert (await transport.send("GET", url, step="s")).json_object() == {"a": 1}


async def test_compressed_answer_that_becomes_too_large(op, open_transport):
    """The size limit holds for what comes out of a compressed answer."""
    url = op.on("GET", "/", body=gzip.compress(bytes(1001)), headers={"content-encoding": "gzip"})
    async with open_transport(max_response_bytes=1000) as transport:
        with pytest.raises(OpInvalidResponse, match="larger than 1000"):
            await transport.send("GET", url, step="s")


@pytest.mark.parametrize("coding", ["gzip", "br", "compress"])
async def test_answer_that_cannot_be_unpacked(op, transport, coding):
    """What is not in its content coding, or in an unknown one, is an invalid response."""
    url = op.on("GET", "/", body=b"abc", headers={"content-encoding": coding})
    with pytest.raises(OpInvalidResponse, match="cannot be read"):
        await transport.send("GET", url, step="s")


async def test_byte_order_mark_is_ignored(op, transport):
    """A byte order mark before the JSON changes nothing."""
    url = op.on("GET", "/", body=b'\xef\xbb\xbf{"a": 1}')
    assert (await transport.send("GET", url, step="s")).json_object() == {"a": 1}


HOSTILE = {
    "1xx answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 1000 + b"\r\n"),
    "tiny chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nA\r\n" * 1000),
    "chunk extensions": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (b"1;" + b"e" * 200 + b"\r\nA\r\n") * 100,
    ),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"T: t\r\n" * 1000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
async def test_endless_framing_is_cut_off(op, open_transport, what):
    """Every byte of an answer counts, also those that are not of its body."""
    start, more = HOSTILE[what]
    sent = 0

    async def endless(stream):
        nonlocal sent
        await stream.send_all(start)
        while True:
            await stream.send_all(more)
            sent += len(more)

    async with open_transport(max_response_bytes=100_000, total_timeout=60) as transport:
        with pytest.raises(OpInvalidResponse):
            await transport.send("POST", op.raw("POST", "/", endless), step="s")
    assert sent < 5_000_000  # most of it lies in the buffers of the sockets


async def test_answer_in_very_small_pieces_lets_others_run(op, open_transport):
    """While an answer of very many pieces is read, other tasks have their turns."""
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    pieces = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n"
    async with open_transport(max_response_bytes=100_000) as transport, trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        answer = await transport.send("GET", op.raw("GET", "/", raw_bytes(pieces)), step="s")
        nursery.cancel_scope.cancel()
    assert len(answer.body) == 3000
    assert turns >= 3000 // 64


async def test_bytes_are_counted_for_each_answer(op, open_transport):
    """Answers over one connection have their limit each."""
    url = op.on("GET", "/", body=b"x" * 90_000)
    async with open_transport(max_response_bytes=100_000) as transport:
        for _ in range(5):
            assert len((await transport.send("GET", url, step="s")).body) == 90_000
    assert op.connections == 1


async def test_url_that_is_too_long(transport):
    """A URL of more than 8000 characters is refused, and nothing of it is kept."""
    with pytest.raises(OpHostRefused):
        transport.check_url("https://op.example/" + "x" * 8000)


async def test_shared_documents_have_a_bound_of_their_own(op, open_transport):
    """Documents of one host that hang, under whatever paths, take a quarter of its places and no more wait."""
    hanging = [op.raw("GET", f"/{i}", raw_bytes(b"", then_hang=True)) for i in range(8)]
    async with open_transport(max_requests_per_host=8) as transport, trio.open_nursery() as nursery:
        for url in hanging:
            nursery.start_soon(partial(transport.send, "GET", url, step="s", shared=True))
        await wait_all_tasks_blocked(0.05)
        assert len(op.requests) == 2
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": "invalid_grant", "error_description": "no", "internal": 1}, {"error", "error_description"}),
        ({"error": {"root_cause": "index"}}, None),
        ({"error": "nothing at /production"}, None),
        ({"secret": 1}, None),
    ],
)
async def test_error_of_a_foreign_server(op, transport, body, told):
    """What another server than the OP's own says is told in the members of an OAuth error only, and never as text."""
    url = op.on("GET", "/", body, status=403)
    answer = await transport.send("GET", url, step="s", within=Reach(Zone.LOOPBACK, "http://127.0.0.1:1"))
    error = answer.error_response()
    assert (error.body_text, None if error.body_json is None else set(error.body_json)) == ("", told)


async def test_truncated_answer_is_invalid(op, transport):
    """An answer that ends before its announced length is an invalid response."""
    url = op.raw("GET", "/", raw_bytes(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":'))
    with pytest.raises(OpInvalidResponse, match="breaks off"):
        await transport.send("GET", url, step="s")


@pytest.mark.parametrize("start", [b"SSH-2.0-x", b"HTTP/1.1 200 OK\r\nX A: b"])
async def test_answer_that_is_no_http_is_invalid(op, transport, start):
    """Bytes that are no HTTP are an invalid response, and are not asked for twice."""
    with pytest.raises(OpInvalidResponse, match="not HTTP"):
        await transport.send("GET", op.raw("GET", "/", raw_bytes(start + b"\r\n\r\n")), step="s")
    assert len(op.requests) == 1


@pytest.mark.parametrize("start", [b"\x15\x03\x03\x00\x02\x02F", b"\r\n", b"HTTPS", b"<html>"])
async def test_answer_that_begins_otherwise_is_not_waited_for(op, transport, start):
    """What cannot become an answer is refused with its first bytes, though the other end waits for more."""
    with pytest.raises(OpInvalidResponse, match="not HTTP"):
        await transport.send("GET", op.raw("GET", "/", raw_bytes(start, then_hang=True)), step="s")


async def test_answer_whose_bytes_come_one_by_one(op, transport):
    """Head and body are found wherever their bytes are parted; 1xx answers before them are passed over."""
    whole = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}'

    async def drip(stream):
        for number in range(len(whole)):
            await stream.send_all(whole[number : number + 1])
            await wait_all_tasks_blocked()

    assert (await transport.send("GET", op.raw("GET", "/", drip), step="s")).json_object() == {"a": 1}


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        (1000, b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"),
        (10, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3000),
    ],
    ids=["announced", "in many pieces"],
)
async def test_answer_that_is_too_large_is_not_waited_for(op, open_transport, limit, answer):
    """It is refused as soon as it is known to be: by its length before it comes, or by the byte that is too much."""
    async with open_transport(max_response_bytes=limit) as transport:
        with pytest.raises(OpInvalidResponse, match=f"larger than {limit}"):
            await transport.send("GET", op.raw("GET", "/", raw_bytes(answer, then_hang=True)), step="s")


@pytest.mark.parametrize(
    ("method", "answer", "said"),
    [("POST", b"", "timed out"), ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "stalled")],
    ids=["nothing", "half an answer"],
)
async def test_op_that_says_no_more_times_out(op, open_transport, method, answer, said):
    """An OP that takes the request and says nothing, or stops in the middle of its answer, is unreachable."""
    async with open_transport(read_timeout=0.05) as transport:
        with pytest.raises(OpUnreachable, match=said):
            await transport.send(method, op.raw(method, "/", raw_bytes(answer, then_hang=True)), step="s")


async def test_slow_drip_ends_at_the_total_timeout(op, open_transport):
    """An OP that sends a byte now and then cannot hold us longer than the total timeout."""

    async def drip(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"1\r\nx\r\n")
            await trio.sleep(0.01)

    async with open_transport(read_timeout=5, total_timeout=1.0) as transport:
        with pytest.raises(OpUnreachable, match="in time"):
            await transport.send("GET", op.raw("GET", "/", drip), step="s")


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "ok"), (302, "ok"), (404, "client_error"), (503, "server_error")]
)
async def test_answers_are_observed(op, open_transport, status, outcome):
    """Each request is told to the observer, with its host, how it ended and how long it took."""
    told: list[OpRequest] = []
    async with open_transport(observe=told.append) as transport:
        await transport.send("GET", op.on("GET", "/", {}, status=status), step="s")
    assert [(one.host, one.outcome) for one in told] == [(op.base.removeprefix("http://"), outcome)]
    assert 0 < told[0].seconds < 20


async def refuse_names(host, port):
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


@pytest.mark.parametrize(
    ("resolve", "reply", "outcome"),
    [
        (None, raw_bytes(b"", then_hang=True), "timeout"),
        (None, raw_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", then_hang=True), "timeout"),
        (None, hang_up, "other"),
        (None, raw_bytes(b"SSH-2.0\r\n\r\n"), "other"),
        (refuse_names, hang_up, "dns"),
    ],
)
async def test_failures_are_observed(op, open_transport, resolve, reply, outcome):
    """Where there is no answer the observer is told why."""
    told: list[OpRequest] = []
    async with open_transport(resolve, observe=told.append, read_timeout=0.05) as transport:
        with pytest.raises((OpUnreachable, OpInvalidResponse)):
            await transport.send("POST", op.raw("POST", "/", reply), step="s")
    assert [one.outcome for one in told] == [outcome]


async def test_what_is_not_sent_is_not_observed(open_transport):
    """A request that is refused here is none that the OP could be asked about."""
    told: list[OpRequest] = []
    async with open_transport(addresses("169.254.169.254"), observe=told.append) as transport:
        for url in ("http://op.example/", "https://op.example/"):
            with pytest.raises(OpHostRefused):
                await transport.send("GET", url, step="s")
    assert not told


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb", "a\0b"])
async def test_header_that_would_end_its_line_is_not_sent(op, transport, value):
    """A value with the end of a line in it is a mistake of ours, and stays here."""
    with pytest.raises(httpx2.LocalProtocolError):
        await transport.send("GET", op.on("GET", "/", {}), step="s", headers={"x-own": value})
    assert not op.requests
