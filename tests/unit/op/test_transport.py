"""`Transport` against a server that answers well, badly, slowly or not at all."""

import gzip

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from oxd_server.op.errors import OpErrorResponse, OpHostRefused, OpInvalidResponse, OpUnreachable
from oxd_server.op.transport import USER_AGENT, is_loopback


def raw_bytes(data, *, then_hang=False):
    async def reply(stream):
        await stream.send_all(data)
        if then_hang:
            await trio.sleep_forever()

    return reply


async def hang_up(stream):
    """Close the connection without a word."""


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


async def test_connection_is_reused(op, transport):
    """Two requests one after the other share a connection."""
    url = op.on("GET", "/", {})
    await transport.send("GET", url, step="s")
    await transport.send("GET", url, step="s")
    assert op.connections == 1


async def test_proxy_of_the_environment_is_ignored(op, open_transport, monkeypatch):
    """A proxy that the environment names is not used."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with open_transport() as transport:
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).status == 200


async def test_redirect_is_not_followed(op, transport):
    """A redirect is an invalid response, and its target is not asked."""
    url = op.on("GET", "/", {}, status=302, headers={"location": op.on("GET", "/elsewhere", {})})
    answer = await transport.send("GET", url, step="s")
    with pytest.raises(OpInvalidResponse, match="redirect"):
        answer.expect(200)
    assert [request.target for request in op.requests] == ["/"]


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


async def test_answer_in_many_pieces_is_cut_off(op, open_transport):
    """What came in one piece with the byte that was too much is dropped."""
    pieces = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3000
    async with open_transport(max_response_bytes=10) as transport:
        with pytest.raises(OpInvalidResponse, match="larger than 10"):
            await transport.send("GET", op.raw("GET", "/", raw_bytes(pieces, then_hang=True)), step="s")


async def test_compressed_answer_is_refused(op, transport):
    """A compressed answer, which nobody asked for, is not unpacked."""
    url = op.on("GET", "/", body=gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    with pytest.raises(OpInvalidResponse, match="compressed"):
        await transport.send("GET", url, step="s")


async def test_truncated_answer_is_invalid(op, transport):
    """An answer that ends before its announced length is an invalid response."""
    url = op.raw("GET", "/", raw_bytes(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":'))
    with pytest.raises(OpInvalidResponse, match="breaks off"):
        await transport.send("GET", url, step="s")


async def test_answer_that_is_no_http_is_invalid(op, transport):
    """Bytes that are no HTTP are an invalid response, and are not asked for twice."""
    with pytest.raises(OpInvalidResponse, match="not HTTP"):
        await transport.send("GET", op.raw("GET", "/", raw_bytes(b"SSH-2.0-x\r\n\r\n")), step="s")
    assert len(op.requests) == 1


async def test_silent_op_times_out(op, open_transport):
    """An OP that takes the request and says nothing is unreachable."""
    async with open_transport(read_timeout=0.05) as transport:
        with pytest.raises(OpUnreachable, match="timed out"):
            await transport.send("POST", op.raw("POST", "/", raw_bytes(b"", then_hang=True)), step="s")


async def test_stalled_body_times_out(op, open_transport):
    """An OP that stops in the middle of its answer is unreachable."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
    async with open_transport(read_timeout=0.05) as transport:
        with pytest.raises(OpUnreachable, match="stalled"):
            await transport.send("GET", op.raw("GET", "/", raw_bytes(half, then_hang=True)), step="s")


async def test_slow_drip_ends_at_the_total_timeout(op, open_transport):
    """An OP that sends a byte now and then cannot hold us longer than the total timeout."""

    async def drip(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"1\r\nx\r\n")
            await trio.sleep(0.01)

    async with open_transport(read_timeout=5, total_timeout=0.1) as transport:
        with pytest.raises(OpUnreachable, match="in time"):
            await transport.send("GET", op.raw("GET", "/", drip), step="s")


async def test_get_is_repeated_once(op, transport):
    """A GET whose connection breaks before an answer is sent once more."""
    op.raw("GET", "/", hang_up)
    url = op.on("GET", "/", {"a": 1})
    assert (await transport.send("GET", url, step="s")).json_object() == {"a": 1}
    assert len(op.requests) == 2


async def test_get_is_not_repeated_twice(op, transport):
    """A GET whose connection breaks again is given up."""
    with pytest.raises(OpUnreachable, match="twice"):
        await transport.send("GET", op.raw("GET", "/", hang_up), step="s")
    assert len(op.requests) == 2


async def test_post_is_never_repeated(op, transport):
    """A POST whose connection breaks is not sent again: the OP may have acted on it."""
    with pytest.raises(OpUnreachable, match="broke"):
        await transport.send("POST", op.raw("POST", "/", hang_up), step="s")
    assert len(op.requests) == 1


async def test_refused_connection(transport):
    """Where nobody listens the OP is unreachable."""
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(OpUnreachable) as caught:
            await transport.send("POST", f"http://127.0.0.1:{port}/", step="s")
    assert caught.value.host == f"127.0.0.1:{port}"


async def test_cancelled_request_frees_its_connection(op, open_transport):
    """A cancelled request gives its place in the pool back."""
    op.raw("GET", "/hang", raw_bytes(b"", then_hang=True))
    async with open_transport(max_connections=1) as transport:
        async with trio.open_nursery() as nursery:

            async def ask():
                await transport.send("GET", op.base + "/hang", step="s")

            nursery.start_soon(ask)
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).status == 200


@pytest.mark.parametrize("allowed", ["op.example", "127.0.0.2", "127.0.0.1:1", "https://op.example/", "OP.example:443"])
async def test_host_that_is_not_allowed_is_not_contacted(op, open_transport, allowed):
    """With allowed_op_hosts set, another host is refused before a connection is made."""
    async with open_transport(allowed_op_hosts=frozenset({allowed})) as transport:
        with pytest.raises(OpHostRefused, match="allowed_op_hosts"):
            await transport.send("GET", op.on("GET", "/", {}), step="s")
    assert op.connections == 0


@pytest.mark.parametrize("form", ["127.0.0.1", "{host}", "http://{host}", "http://{host}/path"])
async def test_allowed_host_is_contacted(op, open_transport, form):
    """An allowed host may be written as a name, with its port, or as a URL."""
    allowed = form.format(host=op.base.removeprefix("http://"))
    async with open_transport(allowed_op_hosts=frozenset({allowed})) as transport:
        assert (await transport.send("GET", op.on("GET", "/", {}), step="s")).status == 200


async def test_allowed_hosts_of_other_forms(open_transport):
    """IPv6 addresses are allowed as they are written in URLs; an entry that is no host stops the start."""
    async with open_transport(allowed_op_hosts=frozenset({"[::1]", "OP.example"})) as transport:
        assert transport.check_url("http://[::1]:8080/").port == 8080
        assert transport.check_url("https://op.example:8443/").host == "op.example"
    for entry in ("", "https://", "a b", "op.example:port"):
        with pytest.raises(ValueError, match="no host"):
            open_transport(allowed_op_hosts=frozenset({entry}))


@pytest.mark.parametrize(
    "url",
    [
        "http://op.example/", "http://10.0.0.1/", "http://127.0.0.1.op.example/", "http://localhost.example/",
        "ftp://127.0.0.1/", "file:///etc/passwd", "https://user:pw@127.0.0.1/", "nonsense", "https://", "https://[/",
        "http://op.example\\@127.0.0.1/", "https://a\nb/",
    ],
)  # fmt: skip
async def test_url_that_is_not_allowed(transport, url):
    """Plain HTTP beyond loopback, other schemes, users in URLs and nonsense are refused before anything is sent."""
    with pytest.raises(OpHostRefused):
        transport.check_url(url)


async def test_plain_http_where_it_is_configured(open_transport):
    """A host that the configuration names may be contacted without TLS."""
    async with open_transport(plain_http_hosts=frozenset({"op.example"})) as transport:
        assert transport.check_url("http://op.example:8080/x").host == "op.example"
        with pytest.raises(OpHostRefused):
            transport.check_url("http://other.example/")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("op", False)],
)
def test_loopback_by_name_or_address(host, expected):
    """Loopback is `localhost`, 127.0.0.0/8 and ::1."""
    assert is_loopback(host) is expected
