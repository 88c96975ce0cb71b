"""The console: a login step by step through a real server, what a mistake of the provider looks like, and refusals."""

import re
from collections.abc import AsyncIterator, Mapping
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from oxd_protocol.catalog import COMMANDS
from oxd_server.op.errors import IdTokenCheck
from oxd_server.sandbox import RunningSandbox
from oxd_server.sandbox.browser import log_in
from oxd_server.sandbox.console.verdicts import CHECKS
from tests.integration.oxd_process import running_server
from tests.unit.sandbox.demo.test_application import sandbox_beside

FIELD = re.compile(r'<(?:input type="(?:text|hidden)"|textarea)[^>]*? name="([^"]+)"(?: value="([^"]*)")?[^>]*>([^<]*)')
ROW = re.compile(r'<th scope="row"><code>([^<]+)</code></th><td>(.*?)</td><td>(.*?)</td><td><span[^>]*>([a-z ]+)', re.S)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[tuple[RunningSandbox, httpx2.AsyncClient]]:
    """A sandbox beside a server, and a browser."""
    async with running_server(tmp_path) as server, sandbox_beside(server.port) as beside:
        yield beside


def fields(page: str) -> dict[str, str]:
    """The fields of a command's form, with what is in them."""
    return {name: unescape(value or text) for name, value, text in FIELD.findall(page) if name != "q"}


async def send(http: httpx2.AsyncClient, command: str, **typed: str) -> str:
    """Open a command's form, change some of its fields, send it; returns the page."""
    form = fields((await http.get("/console/command", params={"name": command})).text)
    answer = await http.post("/console/command", data={**form, **typed})
    assert answer.status_code == 200, answer.text
    return unescape(answer.text)


def asked(page: str) -> list[str]:
    """The requests to the provider that a page shows."""
    return re.findall(r"<summary><code>((?:GET|POST|PUT|DELETE) [^<]+)</code>", page)


def outcomes(page: str) -> dict[str, str]:
    """The verdict of each claim."""
    return {claim: outcome for claim, _, _, outcome in ROW.findall(page)}


async def begin(http: httpx2.AsyncClient) -> httpx2.Response:
    """Register a site, get a login URL, log in there; returns where the browser comes back to."""
    page = await send(http, "register_site")
    assert asked(page) == ["GET /.well-known/openid-configuration", "POST /register"]
    page = await send(http, "get_authorization_url")
    url = re.search(r'<a class="button" href="([^"]+)">Go there', page)
    assert url
    async with httpx2.AsyncClient() as browser:
        back = await log_in(browser, url[1], "alice", "wonderland")
    return await http.get(str(back))


async def test_a_login_step_by_step(console: tuple[RunningSandbox, httpx2.AsyncClient]) -> None:
    """Each answer fills in the next form; the requests to the provider and each claim of the id_token are shown."""
    _, http = console
    answer = await begin(http)
    assert answer.headers["location"] == "/console/command?name=get_tokens_by_code"
    page = await send(http, "get_tokens_by_code")
    assert '<span class="passed">ok</span>' in page
    assert asked(page) == ["POST /token", "GET /jwks"]
    told = outcomes(page)
    assert {told[claim] for claim in ("alg", "kid", "(signature)", "iss", "aud", "exp", "iat", "sub", "nonce")} == {
        "passed"
    }
    assert told["azp"] == "absent"
    assert told["auth_time"] == "not checked"
    assert "alice@example.org" in await send(http, "get_user_info")
    assert '<span class="passed">ok</span>' in await send(http, "get_access_token_by_refresh_token")
    assert "/end_session?" in await send(http, "get_logout_uri")


@pytest.mark.parametrize(
    ("fault", "claim", "before", "after"),
    [
        ("id_token_bad_nonce", "nonce", "sub", "at_hash"),
        ("id_token_bad_aud", "aud", "iss", "exp"),
        ("id_token_expired", "exp", "aud", "iat"),
        ("id_token_bad_signature", "(signature)", "kid", "iss"),
    ],
)
async def test_a_refused_id_token_claim_by_claim(
    console: tuple[RunningSandbox, httpx2.AsyncClient], fault: str, claim: str, before: str, after: str
) -> None:
    """The check that failed is marked, with what was expected; what comes after it was not looked at."""
    sandbox, http = console
    home = (await http.get("/console")).text
    token = fields(home)["csrf"]
    assert (await http.post("/console/fault", data={"csrf": token, "fault": fault})).status_code == 303
    assert sandbox.state.faults == {fault}
    assert fault in (await http.get("/console")).text
    await begin(http)
    page = await send(http, "get_tokens_by_code")
    told = outcomes(page)
    assert (told[before], told[claim], told[after]) == ("passed", "refused", "not reached")
    assert '<tr class="refused">' in page
    await http.post("/console/fault", data={"csrf": token, "fault": ""})
    assert sandbox.state.faults == set()


async def test_secrets_are_shortened(console: tuple[RunningSandbox, httpx2.AsyncClient]) -> None:
    """What is asked and answered at the provider is shown without codes, tokens and client secrets."""
    sandbox, http = console
    await begin(http)
    page = await send(http, "get_tokens_by_code")
    (client,) = sandbox.state.clients.values()
    shown = page[page.index("What the server asked") : page.index("Send it again")]
    assert client.client_id in shown
    assert client.secret is not None
    assert client.secret not in page[: page.index("Send it again")]
    assert "characters)" in shown


async def test_other_errors_have_no_claims(console: tuple[RunningSandbox, httpx2.AsyncClient]) -> None:
    """An error that is not about an id_token shows its code; what a person typed is still in the form."""
    _, http = console
    page = await send(http, "get_rp", oxd_id="no-such-site")
    assert "<code>invalid_oxd_id</code>" in page
    assert asked(page) == []
    assert ROW.findall(page) == []
    assert fields(page)["oxd_id"] == "no-such-site"


async def test_what_cannot_be_meant_is_refused_with_the_field(
    console: tuple[RunningSandbox, httpx2.AsyncClient],
) -> None:
    """Lists of objects, numbers and truth values are written as JSON."""
    _, http = console
    for command, name, text in (
        ("uma_rs_protect", "resources", "[{"),
        ("register_site", "overwrite", "maybe"),
        ("wait_for_logout", "timeout", "soon"),
    ):
        form = fields((await http.get("/console/command", params={"name": command})).text)
        answer = await http.post("/console/command", data={**form, name: text})
        if name not in form and command == "register_site":
            continue
        assert answer.status_code == 400
        assert f"{name} is " in unescape(answer.text)
        assert fields(answer.text)[name] == text


def sent_params(page: str) -> str:
    """The frame that a page shows."""
    return page[page.index('aria-label="The command"') : page.index('aria-label="The answer"')]


async def test_texts_become_params(console: tuple[RunningSandbox, httpx2.AsyncClient]) -> None:
    """Words are a list, JSON is what it says, and an empty field is no parameter."""
    _, http = console
    page = await send(http, "register_site", scope="openid  email", acr_values='["a b"]', contacts="")
    frame = sent_params(page)
    assert re.search(r'"scope": \[\s+"openid",\s+"email"\s+\]', frame)
    assert re.search(r'"acr_values": \[\s+"a b"\s+\]', frame)
    assert "contacts" not in frame


async def test_every_command_has_a_page(console: tuple[RunningSandbox, httpx2.AsyncClient]) -> None:
    """Every command that is supported is linked and has its form; the search finds by words."""
    _, http = console
    home = (await http.get("/console")).text
    for command in COMMANDS:
        answer = await http.get("/console/command", params={"name": command.name})
        assert answer.status_code == (404 if command.unsupported else 200)
        assert (f'href="/console/command?name={command.name}"' in home) is not bool(command.unsupported)
    found = (await http.get("/console", params={"q": "get-rp jwks"})).text
    assert re.findall(r'<li><a href="/console/command\?name=(\w+)"', found) == ["get_rp_jwks"]
    assert "There is no such command." in (await http.get("/console", params={"q": "<none>"})).text


async def post(http: httpx2.AsyncClient, path: str, data: Mapping[str, str]) -> int:
    """Send a form; return the status."""
    return (await http.post(path, data=data)).status_code


async def test_forms_of_others_are_refused(console: tuple[RunningSandbox, httpx2.AsyncClient]) -> None:
    """Without the session's token nothing is sent and nothing is changed; other names and paths are refused."""
    sandbox, http = console
    assert await post(http, "/console/command", {"name": "get_rp", "oxd_id": "x"}) == 403
    assert await post(http, "/console/fault", {"csrf": "another", "fault": "id_token_expired"}) == 403
    assert sandbox.state.faults == set()
    assert (await http.get("/console/nothing")).status_code == 404
    assert (await http.post("/console/callback")).status_code == 405
    assert (await http.get("/console?q=a&q=b")).status_code == 400
    assert (await http.get("/console", headers={"Host": "attacker.example"})).status_code == 421


async def test_a_login_of_somebody_else_is_not_taken(console: tuple[RunningSandbox, httpx2.AsyncClient]) -> None:
    """A callback without this browser's state, or with an error, fills nothing in."""
    _, http = console
    await send(http, "register_site")
    await send(http, "get_authorization_url")
    foreign = await http.get("/console/callback", params={"code": "theirs", "state": "theirs"})
    assert foreign.status_code == 400
    assert "not started here" in foreign.text
    assert "theirs" not in (await http.get("/console/command", params={"name": "get_tokens_by_code"})).text
    denied = await http.get("/console/callback", params={"error": "access_denied"})
    assert "access_denied" in denied.text


async def test_without_a_server_the_page_says_so() -> None:
    """The console is there before the server is."""
    async with sandbox_beside(1) as (_, http):
        form = fields((await http.get("/console/command", params={"name": "get_rp"})).text)
        answer = await http.post("/console/command", data={**form, "oxd_id": "x"})
        assert answer.status_code == 502
        assert "No oxd server answers on 127.0.0.1 port 1" in answer.text
        assert (await http.get(urljoin(str(answer.url), "/"))).status_code == 200


def test_every_check_of_an_id_token_has_its_row() -> None:
    """Each reason to refuse an id_token belongs to one row; those of other tokens to none."""
    rows = [refusal for check in CHECKS for refusal in check.refusals]
    assert len(rows) == len(set(rows))
    others = {
        *("bad_s_hash", "missing_event", "forbidden_nonce", "missing_jti", "missing_sub_and_sid", "too_old", "used"),
        *("missing_proof", "not_bound", "wrong_key", "wrong_htm", "wrong_htu", "wrong_ath", "not_recent"),
    }
    assert set(rows) == {check.value for check in IdTokenCheck} - others
