"""The authorization endpoint and its pages, as a browser meets them."""

import re
from html import unescape

import httpx2
import pytest

from oxd_server.sandbox.browser import LoginFailed, log_in
from tests.unit.sandbox.conftest import CHALLENGE, PASSWORDS, REDIRECT_URI, Op, half_hash


def parameters(url: str) -> dict[str, str]:
    """The parameters of a redirect, from query or fragment."""
    parsed = httpx2.URL(url)
    return dict(httpx2.QueryParams(parsed.fragment or parsed.query.decode()))


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden inputs of a page."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in found}


async def open_login(op: Op, url: str) -> httpx2.Response:
    """Open an authorization URL up to its first page."""
    answer = await op.http.get(url)
    assert answer.status_code == 303, answer.text
    return await op.http.get(answer.headers["location"])


@pytest.mark.parametrize("user", list(PASSWORDS))
async def test_code_flow(op: Op, user: str) -> None:
    """Every ready-made user can log in; the browser comes back with code, state and issuer."""
    back = await op.log_in(await op.register(), user)
    assert back.startswith(REDIRECT_URI + "?")
    answer = parameters(back)
    assert answer["state"] == "the state"
    assert answer["iss"] == op.issuer
    assert answer["code"]


async def test_query_of_the_redirect_uri_is_kept(op: Op) -> None:
    """A redirect URI that has a query keeps it."""
    uri = "http://127.0.0.1:9/callback?app=1"
    client = await op.register(redirect_uris=[uri])
    back = await op.log_in(client, redirect_uri=uri)
    assert parameters(back)["app"] == "1"
    assert parameters(back)["code"]


async def test_hybrid_flow(op: Op) -> None:
    """`code id_token` answers in the fragment, with nonce and the hash of the code in the id_token."""
    client = await op.register(response_types=["id_token code"])
    back = await op.log_in(client, response_type="id_token code")
    answer = parameters(back)
    claims = op.keys.claims_of_our_token(answer["id_token"])
    assert "#" in back
    assert claims is not None
    assert claims["c_hash"] == half_hash(answer["code"])
    assert (claims["nonce"], claims["aud"]) == ("the nonce", client["client_id"])


async def test_second_login_asks_nothing(op: Op) -> None:
    """A browser that is logged in and has consented goes straight back, also with prompt=none."""
    client = await op.register()
    await op.log_in(client)
    for prompt in (None, "none"):
        answer = await op.http.get(op.authorize_url(client, prompt=prompt))
        while answer.headers["location"].startswith("/"):
            answer = await op.http.get(answer.headers["location"])
        assert "code" in parameters(answer.headers["location"])


@pytest.mark.parametrize(
    ("params", "heading"),
    [
        ({"prompt": "login"}, "<h1>Log in</h1>"),
        ({"prompt": "select_account"}, "<h1>Log in</h1>"),
        ({"max_age": "10"}, "<h1>Log in</h1>"),
        ({"prompt": "consent"}, "<h1>Allow access?</h1>"),
        ({"scope": "openid email"}, "<h1>Allow access?</h1>"),
    ],
)
async def test_asking_again(op: Op, params: dict[str, str], heading: str) -> None:
    """A logged-in browser is asked again where prompt, max_age or a new scope says so; then it comes back."""
    client = await op.register()
    await op.log_in(client)
    op.time += 11
    page = await open_login(op, op.authorize_url(client, **params))
    assert heading in page.text
    assert "code" in parameters(await op.log_in(client, **params))


async def test_max_age_in_time_asks_nothing(op: Op) -> None:
    """A login that is younger than max_age counts."""
    client = await op.register()
    await op.log_in(client)
    op.time += 9
    answer = await op.http.get(op.authorize_url(client, max_age="10", prompt="none"))
    assert "code" in parameters(answer.headers["location"])


async def test_prompt_none_needs_login_and_consent(op: Op) -> None:
    """prompt=none shows no page: login_required, then consent_required for another client."""
    client, other = await op.register(), await op.register()
    answer = await op.http.get(op.authorize_url(client, prompt="none"))
    assert parameters(answer.headers["location"])["error"] == "login_required"
    await op.log_in(client)
    answer = await op.http.get(op.authorize_url(other, prompt="none"))
    assert parameters(answer.headers["location"])["error"] == "consent_required"


async def test_denying_is_told_to_the_client(op: Op) -> None:
    """A user who says no sends access_denied with the state."""
    client = await op.register()
    back = await log_in(op.http, op.authorize_url(client), "alice", "wonderland", allow=False)
    assert parameters(back)["error"] == "access_denied"
    assert parameters(back)["state"] == "the state"


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unauthorized_client"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "magic"}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"request": "x"}, "request_not_supported"),
        ({"request_uri": "https://x"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"code_challenge": CHALLENGE}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short", "code_challenge_method": "S256"}, "invalid_request"),
    ],
)
async def test_errors_go_back_to_the_client(op: Op, params: dict[str, str | None], error: str) -> None:
    """A bad request of a known client is answered at its redirect URI, with state and issuer."""
    client = await op.register()
    answer = await op.http.get(op.authorize_url(client, **params))
    found = parameters(answer.headers["location"])
    assert answer.headers["location"].startswith(REDIRECT_URI)
    assert (found["error"], found["state"], found["iss"]) == (error, "the state", op.issuer)


@pytest.mark.parametrize("params", [{"nonce": None}, {"response_mode": "query"}])
async def test_hybrid_errors(op: Op, params: dict[str, str | None]) -> None:
    """The hybrid flow needs a nonce, and its answers never travel in the query."""
    client = await op.register(response_types=["code id_token"])
    answer = await op.http.get(op.authorize_url(client, response_type="code id_token", **params))
    location = answer.headers["location"]
    assert "#" in location
    assert parameters(location)["error"] == "invalid_request"


async def test_public_client_needs_pkce(op: Op) -> None:
    """A client without authentication must send a code_challenge."""
    client = await op.register(token_endpoint_auth_method="none")
    answer = await op.http.get(op.authorize_url(client))
    assert parameters(answer.headers["location"])["error"] == "invalid_request"


async def test_client_without_code_grant(op: Op) -> None:
    """A client that registered only client_credentials cannot log users in."""
    client = await op.register(grant_types=["client_credentials"])
    answer = await op.http.get(op.authorize_url(client))
    assert parameters(answer.headers["location"])["error"] == "unauthorized_client"


@pytest.mark.parametrize(
    "params",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": REDIRECT_URI + "/"},
        {"redirect_uri": REDIRECT_URI + "?x"},
        {"redirect_uri": "https://evil.example/"},
    ],
)
async def test_no_redirect_to_an_unproven_place(op: Op, params: dict[str, str | None]) -> None:
    """Without a known client and one of its exact redirect URIs, the browser stays here."""
    answer = await op.http.get(op.authorize_url(await op.register(), **params))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "<h1>Unknown" in answer.text


async def test_repeated_parameters_are_refused(op: Op) -> None:
    """A parameter that is sent twice gets a page, not a guess (RFC 6749 3.1)."""
    answer = await op.http.get(op.authorize_url(await op.register()) + "&state=again")
    assert answer.status_code == 400
    assert "more than once" in answer.text


async def test_wrong_password_shows_the_form_again(op: Op) -> None:
    """A wrong password, an unknown user or an empty password logs nobody in and says so."""
    page = await open_login(op, op.authorize_url(await op.register()))
    for name, password in (("alice", "wrong"), ("mallory", "wonderland"), ("alice", "")):
        data = {**hidden_fields(page.text), "username": name, "password": password}
        answer = await op.http.post("/login", data=data)
        assert answer.status_code == 401
        assert "User name or password is wrong." in answer.text
        assert f'name="username" value="{name}"' in answer.text, "whoever mistypes a password types no more than that"
    with pytest.raises(LoginFailed, match="wrong"):
        await log_in(op.http, op.authorize_url(await op.register()), "alice", "wrong")


async def test_filling_in_needs_no_script(op: Op) -> None:
    """The links beside the users fill the form in on the server."""
    page = await open_login(op, op.authorize_url(await op.register()))
    link = unescape(re.findall(r'href="(/interaction[^"]*user=zoe)"', page.text)[0])
    filled = (await op.http.get(link)).text
    assert 'name="username" value="zoe"' in filled
    assert 'name="password" value="zürich"' in filled


async def test_login_hint_is_filled_in(op: Op) -> None:
    """login_hint appears as the user name, escaped."""
    page = await open_login(op, op.authorize_url(await op.register(), login_hint='bob"><script>'))
    assert 'value="bob&#34;&gt;&lt;script&gt;"' in page.text


async def test_names_are_escaped(op: Op) -> None:
    """A client name cannot bring its own HTML, on the login and the consent page."""
    client = await op.register(client_name="<script>alert(1)</script>")
    page = await open_login(op, op.authorize_url(client))
    data = {**hidden_fields(page.text), "username": "alice", "password": "wonderland"}
    consent = await op.http.get((await op.http.post("/login", data=data)).headers["location"])
    for text in (page.text, consent.text):
        assert "<script" not in text
        assert "&lt;script&gt;" in text


async def test_login_changes_the_session_id(op: Op) -> None:
    """A session id from before the login is worth nothing after it."""
    client = await op.register()
    page = await open_login(op, op.authorize_url(client))
    before = op.http.cookies["oxd_sandbox_session"]
    data = {**hidden_fields(page.text), "username": "alice", "password": "wonderland"}
    answer = await op.http.post("/login", data=data)
    assert "HttpOnly; SameSite=Lax" in answer.headers["set-cookie"]
    assert op.http.cookies["oxd_sandbox_session"] != before
    assert op.state.sessions.get(before) is None


@pytest.mark.parametrize("path", ["/login", "/consent"])
async def test_forms_of_other_sites_are_refused(op: Op, path: str) -> None:
    """Without the page's CSRF token a form is refused with 403."""
    page = await open_login(op, op.authorize_url(await op.register()))
    fields = hidden_fields(page.text)
    data = {"username": "alice", "password": "wonderland", "decision": "allow", "interaction": fields["interaction"]}
    for csrf in ({}, {"csrf": "guess"}):
        answer = await op.http.post(path, data=data | csrf)
        assert answer.status_code == 403


async def test_interactions_belong_to_their_browser(op: Op) -> None:
    """Another browser can neither see nor finish a login that it did not start."""
    page = await open_login(op, op.authorize_url(await op.register()))
    fields = hidden_fields(page.text)
    async with op.browser() as stranger:
        assert (await stranger.get("/interaction", params={"id": fields["interaction"]})).status_code == 400
        data = fields | {"username": "alice", "password": "wonderland"}
        assert (await stranger.post("/login", data=data)).status_code == 400


async def test_consent_cannot_skip_the_login(op: Op) -> None:
    """A consent form without a login leads back to the login."""
    page = await open_login(op, op.authorize_url(await op.register()))
    answer = await op.http.post("/consent", data=hidden_fields(page.text) | {"decision": "allow"})
    assert answer.headers["location"].startswith("/interaction")


async def test_interactions_expire(op: Op) -> None:
    """A login page that stays open too long is told so."""
    answer = await op.http.get(op.authorize_url(await op.register()))
    op.time += 601
    page = await op.http.get(answer.headers["location"])
    assert page.status_code == 400
    assert "expired" in page.text


async def test_request_by_post(op: Op) -> None:
    """The authorization endpoint takes a form as well (Core 3.1.2.1)."""
    url = httpx2.URL(op.authorize_url(await op.register()))
    answer = await op.http.post("/authorize", data=dict(url.params))
    assert answer.headers["location"].startswith("/interaction")


@pytest.mark.parametrize("path", ["/", "/end_session", "/authorize", "/interaction", "/nowhere"])
async def test_every_page_is_locked_down_and_says_what_it_is(op: Op, path: str) -> None:
    """Pages forbid scripts, framing and caching, and say that they are for trying things out."""
    answer = await op.http.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "For trying things out only" in answer.text
