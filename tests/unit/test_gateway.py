"""The example gateway: what passes, what does not, and what the API behind it gets to see."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from oxd_protocol.client.with_trio import OxdClient
from oxd_server.entrances import http1
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.rp.uma_rules import find_resource
from oxd_server.store.base import UmaResource
from scripts.examples import kong
from scripts.examples.uma_gateway import (
    MAX_ANSWER_BYTES,
    Gateway,
    Refused,
    canonical_path,
    decide_by_client,
    decide_by_rpt,
)

CHALLENGE = 'UMA realm="rs",as_uri="https://as.example",error="insufficient_scope",ticket="t"'
PROTECTED = (UmaResource(id="1", path="/photo", http_methods=("GET", "POST"), scopes=("view",)),)
GOOD = "Bearer good"
PHOTO = HttpResponse(200, [("Content-Type", "text/plain"), ("X-Internal", "1")], b"the photo")


@dataclass
class Setting:
    """A gateway between a caller and an API that notes down what it gets."""

    port: int = 0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    received: list[HttpRequest] = field(default_factory=list)
    answer: HttpResponse = PHOTO

    async def decide(self, path: str, method: str, token: str | None) -> None:
        """Let the token `good` pass where something is protected, by the rule of the server."""
        self.asked.append((path, method, token))
        if find_resource(PROTECTED, path, method) is None:
            raise Refused(404, "nothing here")
        if token != "good":
            raise Refused(401, "no", ("WWW-Authenticate", CHALLENGE))

    async def api(self, request: HttpRequest) -> HttpResponse:
        """Answer as set, whatever comes."""
        self.received.append(request)
        return self.answer

    async def send(
        self, target: str, method: str = "GET", *, authorization: Iterable[str] = (), more: str = "", body: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request whose target is exactly `target`; returns status, headers and body of the answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: gateway", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"Authorization: {value}" for value in authorization]
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            with trio.fail_after(20):
                await stream.send_all(("\r\n".join(lines) + f"\r\n{more}\r\n{body}").encode())
                raw = b"".join([chunk async for chunk in stream])
        head, _, rest = raw.partition(b"\r\n\r\n")
        first, *header_lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)}
        return int(first.split()[1]), headers, rest


async def listen(nursery: trio.Nursery, handler: http1.Handler) -> int:
    """Serve a handler; returns its port."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(partial(http1.serve, listeners, handler, http1.Limits()))
    return int(listeners[0].socket.getsockname()[1])


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    """Gateway and API on real sockets."""
    made = Setting()
    async with trio.open_nursery() as nursery:
        url = f"http://127.0.0.1:{await listen(nursery, made.api)}"
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            made.port = await listen(nursery, Gateway(made.decide, client).handle)
            yield made
        nursery.cancel_scope.cancel()


# --- paths -----------------------------------------------------------------------------------


SAME_PATH = [
    "/photo",
    "/PHOTO",
    "/Photo/",
    "//photo",
    "/photo//",
    "/./photo",
    "/photo/.",
    "/%2e/photo",
    "/%70hoto",
    "/%50HOTO",
    "/album/../photo",
    "/album/%2e%2e/photo",
    "/album/%2E./photo",
    "/photo?page=1",
    "/photo?x=/../admin&y=%2e%2e%2f",
    "/photo/?",
    "http://elsewhere.example/photo",
    "HTTP://elsewhere.example//photo/",
]


@pytest.mark.parametrize("target", SAME_PATH)
async def test_every_spelling_of_a_protected_path_is_protected(setting: Setting, target: str) -> None:
    """Without a token a spelling of the path is turned away with the challenge, and the API sees nothing."""
    status, headers, _ = await setting.send(target)
    assert status == 401
    assert headers["www-authenticate"] == CHALLENGE
    assert setting.asked == [("/photo", "GET", None)]
    assert setting.received == []


@pytest.mark.parametrize("target", SAME_PATH)
async def test_the_api_gets_the_path_that_was_decided_about(setting: Setting, target: str) -> None:
    """With the token every spelling reaches the API as one and the same path, the query beside it."""
    status, headers, body = await setting.send(target, authorization=[GOOD])
    assert (status, body) == (200, b"the photo")
    assert "x-internal" not in headers
    (request,) = setting.received
    assert request.path == "/photo"
    assert request.query == target.partition("?")[2]


@pytest.mark.parametrize(
    "target",
    [
        "/photo%2f",
        "/photo%2Fadmin",
        "/album%2f..%2fphoto",
        "/photo%5c..%5cadmin",
        "/photo\\..\\admin",
        "/photo%00",
        "/photo%0d%0a",
        "/photo%20",
        "/photo;v=1",
        "/photo;/../admin",
        "/photo%3bv=1",
        "/%2570hoto",
        "/photo%252f",
        "/ph%6Fto%25",
        "/ph%C3%B6to",
        "/%E2%84%AA",
        "/%c0%aephoto",
        "/%ff",
        "/photo%",
        "/photo%2",
        "/photo%zz",
        "/photo%u002f",
        "/..",
        "/../photo",
        "/photo/../../photo",
        "/%2e%2e/photo",
        "/photo#admin",
        "photo",
        "*",
        "gateway:80",
        "//",
        "/photo,",
        "/photo:80",
        "/@photo",
        "/" + "a" * 1001,
        "/" + "./" * 800 + "photo",
        "/photo?" + "a" * 20_000,
    ],
)
async def test_what_could_mean_two_things_is_refused(setting: Setting, target: str) -> None:
    """A target that readers could understand differently gets an error, even with the token."""
    status, _, _ = await setting.send(target, authorization=[GOOD])
    assert 400 <= status < 500
    assert status != 401
    assert setting.received == []


@pytest.mark.parametrize("target", ["/", "/admin", "/photo/../admin", "/photos", "/photo.json", "/photo/1", "/photo~"])
async def test_what_is_not_protected_does_not_exist(setting: Setting, target: str) -> None:
    """A path that nobody protected gets 404, with or without a token, and the API sees nothing."""
    for authorization in ([], [GOOD]):
        assert (await setting.send(target, authorization=authorization))[0] == 404
    assert setting.received == []


@given(st.text(st.sampled_from("/.%25eEfF;\\aPhoto~\x00?#")).map("/".__add__))
def test_a_canonical_path_has_one_spelling(path: str) -> None:
    """A path is refused, or comes out plain: in lower case, without dot or empty segments, and it stays as it is."""
    try:
        canonical = canonical_path(path)
    except Refused:
        return
    assert canonical_path(canonical) == canonical
    assert canonical == canonical.lower()
    segments = canonical.split("/")[1:]
    assert segments == [""] or not {"", ".", ".."} & set(segments)
    assert not set(canonical) & set("%;\\\x00?#")


# --- methods, headers, bodies ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"), [("get", 400), ("Get", 400), ("GET1", 400), ("HEAD", 404), ("PUT", 404), ("TRACE", 404)]
)
async def test_only_protected_methods_pass(setting: Setting, method: str, expected: int) -> None:
    """A method in lower case is refused, one that is not protected does not exist."""
    assert (await setting.send("/photo", method, authorization=[GOOD]))[0] == expected
    assert setting.received == []


async def test_the_api_sees_no_token_and_no_other_method(setting: Setting) -> None:
    """Body and content type go on; the token, and headers that name another method or path, do not."""
    override = "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /admin\r\nForwarded: for=1\r\nCookie: a=b\r\n"
    status, _, _ = await setting.send(
        "/photo", "POST", authorization=["bearer good"], more=f"{override}Content-Type: text/x-note\r\n", body="hello"
    )
    assert status == 200
    (request,) = setting.received
    assert (request.method, request.body, request.header("content-type")) == ("POST", b"hello", "text/x-note")
    names = {name for name, _ in request.headers}
    assert not names & {"authorization", "cookie", "forwarded", "x-original-url", "x-http-method-override"}


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [(["Basic good"], 401), (["Bearer"], 401), (["Bearer bad"], 401), ([GOOD, GOOD], 400), (["Bearer  good "], 200)],
)
async def test_where_the_token_comes_from(setting: Setting, authorization: list[str], expected: int) -> None:
    """Only a single Authorization header with the scheme Bearer carries a token."""
    assert (await setting.send("/photo?access_token=good", authorization=authorization))[0] == expected
    assert len(setting.received) == (expected == 200)


async def test_an_error_of_the_api_comes_through(setting: Setting) -> None:
    """The API's own status and body are the answer; one that is too long is not passed on."""
    setting.answer = HttpResponse(409, [("Content-Type", "text/plain")], b"conflict")
    status, headers, body = await setting.send("/photo", authorization=[GOOD])
    assert (status, headers["content-type"], body) == (409, "text/plain", b"conflict")
    setting.answer = HttpResponse(200, body=b"x" * (MAX_ANSWER_BYTES + 1))
    assert (await setting.send("/photo", authorization=[GOOD]))[0] == 502


async def test_an_api_that_is_down(setting: Setting) -> None:
    """Without an API there is 502."""
    request = HttpRequest("GET", "/photo", headers=[("authorization", GOOD)])
    async with httpx2.AsyncClient(base_url="http://127.0.0.1:1", trust_env=False) as nobody:
        answer = await Gateway(setting.decide, nobody).handle(request)
    assert answer.status == 502


# --- decisions -------------------------------------------------------------------------------


Scripted = Callable[[object], Awaitable[OxdClient]]


@pytest.fixture
async def scripted_oxd() -> AsyncIterator[Scripted]:
    """Start servers that give one prepared answer to every command."""
    async with trio.open_nursery() as nursery:

        async def start(answer: object) -> OxdClient:
            body = json.dumps(answer).encode()

            async def serve(stream: trio.SocketStream) -> None:
                await stream.receive_some()
                await stream.send_all(b"%04d%s" % (len(body), body))

            listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            return OxdClient(port=listeners[0].socket.getsockname()[1])

        yield start
        nursery.cancel_scope.cancel()


def ok(**data: object) -> dict[str, object]:
    """A successful answer."""
    return {"status": "ok", "data": data}


def error(code: str) -> dict[str, object]:
    """An error answer."""
    return {"status": "error", "data": {"error": code, "error_description": "", "details": None}}


DENIED = {"access": "denied", "ticket": "t", "www-authenticate_header": CHALLENGE}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ok(access="granted"), None),
        (ok(**DENIED), (401, ("WWW-Authenticate", CHALLENGE))),
        (ok(access="denied"), (403, ("Warning", '199 - "UMA Authorization Server Unreachable"'))),
        (error("invalid_request"), (404,)),
        (error("internal_error"), (502,)),
        (error("op_unreachable"), (502,)),
        (ok(), (502,)),
        (ok(access="Granted"), (502,)),
        ({"status": "error", "data": {"access": "granted"}}, (502,)),
        ({}, (502,)),
        ([], (503,)),
    ],
)
async def test_only_granted_lets_anything_through(
    scripted_oxd: Scripted, answer: object, expected: tuple[object, ...] | None
) -> None:
    """oxd's `granted` passes; every other answer is an error of its own, with oxd's challenge if there is one."""
    oxd = await scripted_oxd(answer)
    if expected is None:
        await decide_by_rpt(oxd, "site", "/photo", "GET", "rpt")
        return
    with pytest.raises(Refused) as refused:
        await decide_by_rpt(oxd, "site", "/photo", "GET", "rpt")
    assert (refused.value.status, *refused.value.headers) == expected


async def test_without_oxd_nothing_passes() -> None:
    """A server that is not there lets nothing through."""
    with pytest.raises(Refused) as refused:
        await decide_by_rpt(OxdClient(port=1), "site", "/photo", "GET", "rpt")
    assert refused.value.status == 503


@pytest.mark.parametrize(
    ("answer", "token", "expected"),
    [
        (ok(active=True, client_id="tester"), "t", None),
        (ok(active=True, client_id="tester"), None, 401),
        (ok(active=True, client_id="another"), "t", 401),
        (ok(active=False, client_id="tester"), "t", 401),
        (ok(active="true", client_id="tester"), "t", 401),
        (error("internal_error"), "t", 502),
    ],
)
async def test_in_test_mode_one_clients_tokens_pass(
    scripted_oxd: Scripted, answer: object, token: str | None, expected: int | None
) -> None:
    """An active token of the test client passes, nothing else does."""
    oxd = await scripted_oxd(answer)
    if expected is None:
        await decide_by_client(oxd, "site", "tester", "/x", "GET", token)
        return
    with pytest.raises(Refused) as refused:
        await decide_by_client(oxd, "site", "tester", "/x", "GET", token)
    assert refused.value.status == expected


@pytest.mark.parametrize(
    ("pattern", "path", "is_match"),
    [
        ("/posts/??", "/posts/1/comments", True),
        ("/posts/??", "/posts", False),
        ("/users/?/{posts|photos}", "/users/7/photos", True),
        ("/users/?/{posts|photos}", "/users/7/8/photos", False),
        ("/users/?/{posts|photos}", "/users/7/films", False),
        ("/a.b", "/axb", False),
    ],
)
def test_patterns_of_the_plugins(pattern: str, path: str, is_match: bool) -> None:
    """One segment, all that is left, or an expression for a segment; the rest is text."""
    assert kong.matches(pattern, path) == is_match
