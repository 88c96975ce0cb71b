"""Whose token, whose user: what a login leaves behind, and that nobody's logout carries somebody else's id_token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.integration.background import Background, background
from tests.integration.logins import LOGOUT_URI, Rp, register
from tests.integration.oxd_process import running_server
from tests.integration.real_provider import callback_params, log_in
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.stored import stored_rows

PEOPLE = {"alice": "wonderland", "bob": "builder"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server for most tests here."""
    with background(tmp_path_factory.mktemp("whose")) as both:
        yield both


@pytest.fixture
async def op() -> AsyncIterator[RunningSandbox]:
    """An OP of the test's own."""
    async with running_sandbox() as op:
        yield op


async def logged_in(rp: Rp, person: str) -> dict[str, str]:
    """Log one of the sandbox's people in; return the params of the command that asks for the tokens."""
    url = (await rp.ok("get_authorization_url"))["authorization_url"]
    redirect = callback_params(await log_in(url, person, PEOPLE[person]))
    return {"code": redirect["code"], "state": redirect["state"]}


async def logout_query(rp: Rp, **params: str) -> dict[str, list[str]]:
    """Return the parameters of the site's logout URL."""
    return parse_qs(urlsplit((await rp.ok("get_logout_uri", **params))["uri"]).query)


async def test_a_logout_url_never_carries_another_users_id_token(running: Background, op: RunningSandbox) -> None:
    """One user's id_token is used for the logout; from the second user on only the client is named."""
    rp = await register(running.server, op.issuer)
    client_id = [(await rp.stored())["client_id"]]
    query = await logout_query(rp, state="s")
    assert query == {"client_id": client_id, "post_logout_redirect_uri": [LOGOUT_URI], "state": ["s"]}
    first = await rp.ok("get_tokens_by_code", **await logged_in(rp, "alice"))
    query = await logout_query(rp)
    assert (query["id_token_hint"], "client_id" in query) == ([first["id_token"]], False)
    again = await rp.ok("get_tokens_by_code", **await logged_in(rp, "alice"))
    assert (await logout_query(rp))["id_token_hint"] == [again["id_token"]]
    for person in ("bob", "alice"):
        await rp.ok("get_tokens_by_code", **await logged_in(rp, person))
        query = await logout_query(rp)
        assert (query.get("id_token_hint"), query["client_id"]) == (None, client_id)
    query = await logout_query(rp, id_token_hint=first["id_token"])
    assert (query["id_token_hint"], "client_id" in query) == ([first["id_token"]], False)


async def test_a_hint_that_fits_into_no_url_is_not_sent(running: Background, op: RunningSandbox) -> None:
    """A caller's oversized id_token_hint does not break the logout: the client is named instead."""
    rp = await register(running.server, op.issuer)
    query = await logout_query(rp, id_token_hint="x" * 6001)
    assert query.keys() == {"client_id", "post_logout_redirect_uri"}


async def test_a_login_that_cannot_be_delivered_leaves_nothing_behind(running: Background, op: RunningSandbox) -> None:
    """An answer too long for a frame is refused before anything is kept; others log out as before."""
    rp = await register(running.server, op.issuer)
    tokens = await rp.ok("get_tokens_by_code", **await logged_in(rp, "alice"))
    params = await logged_in(rp, "bob")
    before = stored_rows(running.folder)
    op.state.faults = {"id_token_many_groups"}
    refused = await rp.error("get_tokens_by_code", **params)
    assert refused["error"] == "response_too_long"
    after = stored_rows(running.folder)
    assert [after[table] for table in ("site", "site_session", "issued")] == [
        before[table] for table in ("site", "site_session", "issued")
    ]
    assert (await logout_query(rp))["id_token_hint"] == [tokens["id_token"]]


async def test_what_is_known_of_a_token_outlives_the_server(tmp_path: Path, op: RunningSandbox) -> None:
    """After a restart the sub is compared and the refreshed id_token checked as before; no token is in the store."""
    async with running_server(tmp_path) as server:
        rp = await register(server, op.issuer)
        tokens = await rp.log_in()
    kept = repr(stored_rows(tmp_path)["issued"])
    assert not any(tokens[name] in kept for name in ("access_token", "refresh_token", "id_token"))
    async with running_server(tmp_path) as server:
        rp = Rp(server, rp.oxd_id)
        op.state.faults = {"userinfo_bad_sub"}
        refused = await rp.error("get_user_info", access_token=tokens["access_token"])
        assert refused["details"]["check"] == "bad_subject"
        op.state.faults = {"id_token_bad_sub"}
        refused = await rp.error("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])
        assert refused["details"]["check"] == "bad_subject"
        await rp.ok("remove_site")
        assert stored_rows(tmp_path)["issued"] == []
