"""The end of a session, as a browser meets it."""

import re
from html import unescape
from typing import Any

import httpx2
import pytest

from tests.unit.sandbox.conftest import LOGOUT_URI, Op


async def is_logged_in(op: Op) -> bool:
    """Whether the browser has a session with a user."""
    return "You are logged in as" in (await op.http.get("/")).text


async def end_session(op: Op, **params: str) -> httpx2.Response:
    """Open the end of session."""
    return await op.http.get("/end_session", params=params)


def fields(page: str) -> dict[str, str]:
    """The hidden inputs of a page."""
    return {n: unescape(v) for n, v in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page)}


@pytest.mark.parametrize("alg", ["RS256", "EdDSA", "HS256"])
async def test_with_a_valid_hint_nobody_is_asked(op: Op, alg: str) -> None:
    """An id_token of the user logs out at once and returns to the registered address with the state."""
    client = await op.register(id_token_signed_response_alg=alg)
    tokens = await op.tokens(client)
    op.time += 100_000 if alg == "RS256" else 0  # an expired hint is good as well
    answer = await end_session(op, id_token_hint=tokens["id_token"], post_logout_redirect_uri=LOGOUT_URI, state="a b&c")
    assert answer.headers["location"] == LOGOUT_URI + "?state=a+b%26c"
    assert not await is_logged_in(op)


async def test_with_a_valid_hint_alone_there_is_a_page(op: Op) -> None:
    """Without an address to return to, a page says that the user is logged out; a second time is no error."""
    tokens = await op.tokens(await op.register())
    for _ in range(2):
        answer = await end_session(op, id_token_hint=tokens["id_token"])
        assert answer.status_code == 200
        assert "<h1>Logged out</h1>" in answer.text


async def test_without_a_hint_the_user_is_asked(op: Op) -> None:
    """No hint: a page asks; "stay" changes nothing, "log out" ends the session and returns to the address."""
    client = await op.register()
    await op.tokens(client)
    params = {"client_id": client["client_id"], "post_logout_redirect_uri": LOGOUT_URI, "state": "s"}
    page = await end_session(op, **params)
    assert "<h1>Log out?</h1>" in page.text
    answer = await op.http.post("/end_session", data=fields(page.text) | {"decision": "stay"})
    assert "Still logged in" in answer.text
    assert await is_logged_in(op)
    answer = await op.http.post("/end_session", data=fields(page.text) | {"decision": "logout"})
    assert answer.headers["location"] == LOGOUT_URI + "?state=s"
    assert not await is_logged_in(op)


async def test_a_form_of_another_site_logs_nobody_out(op: Op) -> None:
    """A POST without the page's CSRF token only gets the question."""
    await op.tokens(await op.register())
    answer = await op.http.post("/end_session", data={"decision": "logout", "csrf": "guess"})
    assert "<h1>Log out?</h1>" in answer.text
    assert await is_logged_in(op)


async def test_the_hint_of_another_user_asks(op: Op) -> None:
    """A hint for somebody else than who is logged in proves nothing."""
    client = await op.register()
    tokens = await op.tokens(client, "bob")
    await op.tokens(client, "alice", prompt="login")
    answer = await end_session(op, id_token_hint=tokens["id_token"])
    assert "<h1>Log out?</h1>" in answer.text
    assert await is_logged_in(op)


async def bad_requests(op: Op, client: dict[str, Any], id_token: str) -> list[dict[str, str]]:
    """Requests that must not log anybody out."""
    other = await op.register()
    foreign = op.keys.sign({"iss": "https://elsewhere.example", "aud": client["client_id"], "sub": "x"}, "RS256")
    return [
        {"id_token_hint": "junk"},
        {"id_token_hint": "e30.e30.e30"},
        {"id_token_hint": foreign},
        {"id_token_hint": id_token[:-6] + "AAAAAA"},
        {"id_token_hint": id_token, "client_id": other["client_id"]},
        {"id_token_hint": id_token, "post_logout_redirect_uri": LOGOUT_URI + "/"},
        {"id_token_hint": id_token, "post_logout_redirect_uri": "https://evil.example/"},
        {"post_logout_redirect_uri": LOGOUT_URI},
        {"client_id": "nobody", "post_logout_redirect_uri": LOGOUT_URI},
    ]


async def test_bad_requests_get_a_page(op: Op) -> None:
    """A hint that is not ours, another client's, or an unregistered address: a page, no redirect, still logged in."""
    client = await op.register()
    tokens = await op.tokens(client)
    for params in await bad_requests(op, client, tokens["id_token"]):
        answer = await end_session(op, **params)
        assert answer.status_code == 400, params
        assert "location" not in answer.headers
    assert await is_logged_in(op)
