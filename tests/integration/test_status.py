"""Checking what an application already holds: `validate`, `id_token_status`, `access_token_status`; whose userinfo."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from oxd_server.sandbox import RunningSandbox
from tests.conformance.flows import HYBRID, HYBRID_WITH_TOKEN, Rig
from tests.integration.background import Background
from tests.integration.logins import Rp, register
from tests.integration.real_provider import callback_params, log_in
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.stored import stored_rows


@pytest.fixture
async def op() -> AsyncIterator[RunningSandbox]:
    """An OP of the test's own."""
    async with running_sandbox() as op:
        yield op


async def front_channel(running: Background, op: RunningSandbox, site: dict[str, Any]) -> tuple[Rp, dict[str, str]]:
    """Return a site with a hybrid flow, and what the redirect of a login brought."""
    rig = Rig(running.server, running.folder, op, site)
    redirect = await rig.authorize()
    return await rig.registered(), {name: value for name, value in redirect.items() if name != "iss"}


def check_of(error: dict[str, Any]) -> tuple[str, str | None]:
    """Return the code and the check of an error."""
    return error["error"], (error["details"] or {}).get("check")


# --- validate --------------------------------------------------------------------------------


async def test_validate_uses_nothing_up(running: Background, op: RunningSandbox) -> None:
    """What belongs together is ok, as often as it is asked; nothing is stored, and the code works afterwards."""
    rp, redirect = await front_channel(running, op, HYBRID)
    before = stored_rows(running.folder)
    for _ in range(2):
        assert await rp.ok("validate", **redirect) == {}
    nonce = (await rp.ok("id_token_status", id_token=redirect["id_token"]))["claims"]["nonce"][0]
    assert await rp.ok("validate", nonce=nonce, **redirect) == {}
    assert stored_rows(running.folder) == before
    await rp.ok("get_tokens_by_code", code=redirect["code"], state=redirect["state"])


async def test_validate_with_an_access_token(running: Background, op: RunningSandbox) -> None:
    """An access token of the redirect is checked as well; one of somebody else is refused."""
    rp, redirect = await front_channel(running, op, HYBRID_WITH_TOKEN)
    held = {name: redirect[name] for name in ("code", "state", "id_token", "access_token")}
    assert await rp.ok("validate", **held) == {}
    error = await rp.error("validate", **{**held, "access_token": "another"})
    assert check_of(error) == ("invalid_access_token_bad_hash", "bad_at_hash")


async def test_what_does_not_belong_together(running: Background, op: RunningSandbox) -> None:
    """A code, a state, a nonce or an id_token of another login is refused, each with its own code."""
    rp, one = await front_channel(running, op, HYBRID)
    rig = Rig(running.server, running.folder, op, rp=rp)
    other = await rig.authorize()
    held = {name: one[name] for name in ("code", "state", "id_token")}

    async def refusal(**change: str) -> tuple[str, str | None]:
        return check_of(await rp.error("validate", **{**held, **change}))

    assert await refusal(code=other["code"]) == ("invalid_authorization_code_bad_hash", "bad_c_hash")
    assert await refusal(state=other["state"]) == ("invalid_id_token_bad_nonce", "bad_nonce")
    assert await refusal(id_token=other["id_token"]) == ("invalid_id_token_bad_nonce", "bad_nonce")
    assert await refusal(nonce="another") == ("invalid_nonce", None)
    assert await refusal(nonce="ängström") == ("invalid_nonce", None)
    assert await refusal(state="unknown") == ("invalid_state", "state_unknown")
    assert await refusal(id_token="no.jwt.atall") == ("invalid_id_token", "malformed")
    assert await refusal(id_token=one["id_token"][:-4] + "AAAA") == ("invalid_id_token_bad_signature", "bad_signature")
    assert check_of(await rp.error("validate", **{**held, "code": ""})) == ("bad_request", "missing_parameter")
    stranger = await register(running.server, op.issuer, **HYBRID)
    assert check_of(await stranger.error("validate", **held)) == ("invalid_state", "state_unknown")


# --- id_token_status -------------------------------------------------------------------------


async def test_id_token_status(running: Background, op: RunningSandbox) -> None:
    """A good id_token is active; its times are seconds, and its claims lists of texts."""
    rp = await register(running.server, op.issuer)
    tokens = await rp.log_in()
    nonce = tokens["id_token_claims"]["nonce"][0]
    status = await rp.ok("id_token_status", id_token=tokens["id_token"], nonce=nonce)
    assert status["active"] is True
    assert status["claims"] == tokens["id_token_claims"]
    assert status["expires_at"] == int(tokens["id_token_claims"]["exp"][0])
    assert status["issued_at"] == int(tokens["id_token_claims"]["iat"][0])
    assert abs(status["issued_at"] - time.time()) < 600
    error = await rp.error("id_token_status", id_token=tokens["id_token"], nonce="another")
    assert check_of(error) == ("invalid_id_token_bad_nonce", "bad_nonce")


async def test_the_hashes_of_an_id_token(running: Background, op: RunningSandbox) -> None:
    """In oxd 4's name: code and access token must be those of the hashes; a state counts only beside an s_hash."""
    rp, redirect = await front_channel(running, op, HYBRID_WITH_TOKEN)
    held = {name: redirect[name] for name in ("id_token", "code", "access_token", "state")}
    assert (await rp.ok("check_id_token", **held))["active"] is True
    refused = await rp.error("check_id_token", **{**held, "code": "another"})
    assert check_of(refused) == ("invalid_authorization_code_bad_hash", "bad_c_hash")
    refused = await rp.error("check_id_token", **{**held, "access_token": "another"})
    assert check_of(refused) == ("invalid_access_token_bad_hash", "bad_at_hash")


async def test_an_expired_id_token_is_not_active(running: Background, op: RunningSandbox) -> None:
    """An id_token that was good and has expired is no error: it is not active, and neither is its access token."""
    op.state.faults = {"id_token_expired"}
    rig = Rig(running.server, running.folder, op, HYBRID_WITH_TOKEN)
    redirect, rp = await rig.authorize(), await rig.registered()
    assert check_of(await rp.error("validate", **{n: redirect[n] for n in ("code", "state", "id_token")})) == (
        "invalid_id_token_expired",
        "expired",
    )
    status = await rp.ok("id_token_status", id_token=redirect["id_token"])
    assert status["active"] is False
    assert status["expires_at"] < time.time()
    held = {name: redirect[name] for name in ("id_token", "access_token")}
    status = await rp.ok("access_token_status", **held)
    assert status["active"] is False


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("id_token_bad_signature", ("invalid_id_token_bad_signature", "bad_signature")),
        ("id_token_alg_none", ("invalid_id_token_bad_signature", "algorithm_not_allowed")),
        ("id_token_bad_iss", ("invalid_id_token_bad_issuer", "bad_issuer")),
        ("id_token_bad_aud", ("invalid_id_token_bad_audience", "bad_audience")),
        ("id_token_missing_sub", ("invalid_id_token", "missing_subject")),
        ("id_token_missing_exp", ("invalid_id_token", "missing_expiry")),
    ],
)
async def test_a_bad_id_token_has_no_status(
    running: Background, op: RunningSandbox, fault: str, expected: tuple[str, str]
) -> None:
    """An id_token that is not valid is an error in both status commands, with the check that it failed."""
    op.state.faults = {fault}
    rp, redirect = await front_channel(running, op, HYBRID_WITH_TOKEN)
    held = {name: redirect[name] for name in ("id_token", "access_token")}
    assert check_of(await rp.error("id_token_status", id_token=held["id_token"])) == expected
    assert check_of(await rp.error("access_token_status", **held)) == expected


async def test_an_id_token_of_another_site(running: Background, op: RunningSandbox) -> None:
    """One site's id_token is not valid for another."""
    tokens = await (await register(running.server, op.issuer)).log_in()
    other = await register(running.server, op.issuer)
    error = await other.error("id_token_status", id_token=tokens["id_token"])
    assert check_of(error) == ("invalid_id_token_bad_audience", "bad_audience")


# --- access_token_status ---------------------------------------------------------------------


async def test_access_token_status(running: Background, op: RunningSandbox) -> None:
    """An access token is active if it came with the id_token; the times are milliseconds."""
    rp = await register(running.server, op.issuer)
    tokens = await rp.log_in()
    status = await rp.ok("access_token_status", access_token=tokens["access_token"], id_token=tokens["id_token"])
    assert status["active"] is True
    assert status["expires_at"] == 1000 * int(tokens["id_token_claims"]["exp"][0])
    assert status["issued_at"] == 1000 * int(tokens["id_token_claims"]["iat"][0])
    status = await rp.ok("access_token_status", access_token="another", id_token=tokens["id_token"])
    assert status["active"] is False


async def test_access_token_status_without_at_hash(running: Background, op: RunningSandbox) -> None:
    """Where the id_token does not say it, the site's last login does; of an older one it cannot be told."""
    op.state.faults = {"id_token_missing_at_hash"}
    rp = await register(running.server, op.issuer)
    tokens = await rp.log_in()
    held = {name: tokens[name] for name in ("access_token", "id_token")}
    assert (await rp.ok("access_token_status", **held))["active"] is True
    assert (await rp.ok("access_token_status", **{**held, "access_token": "another"}))["active"] is False
    await rp.log_in()
    error = await rp.error("access_token_status", **held)
    assert check_of(error) == ("invalid_access_token_bad_hash", "missing_at_hash")


# --- userinfo --------------------------------------------------------------------------------


async def test_the_sub_is_compared_for_every_access_token(running: Background, op: RunningSandbox) -> None:
    """Another sub is refused for the tokens of the last login, of an older one and of a refresh; of others not."""
    rp = await register(running.server, op.issuer)
    older, last = await rp.log_in(), await rp.log_in()
    refreshed = await rp.ok("get_access_token_by_refresh_token", refresh_token=older["refresh_token"])
    twice = await rp.ok("get_access_token_by_refresh_token", refresh_token=refreshed["refresh_token"])
    op.state.faults = {"userinfo_bad_sub"}
    for tokens in (last, older, refreshed, twice):
        refused = await rp.error("get_user_info", access_token=tokens["access_token"])
        assert check_of(refused) == ("op_invalid_response", "bad_subject")
    elsewhere = await register(running.server, op.issuer)  # it was not issued the token, and knows nothing of it
    answered = await elsewhere.ok("get_user_info", access_token=older["access_token"])
    assert answered["claims"]["sub"] == ["somebody-else"]


async def test_userinfo_must_be_of_the_callers_id_token(running: Background, op: RunningSandbox) -> None:
    """The sub of the id_token that the caller sends is compared too, and only a valid one of the same user counts."""
    rp = await register(running.server, op.issuer)
    tokens = await rp.log_in()
    held = {name: tokens[name] for name in ("access_token", "id_token")}
    assert (await rp.ok("get_user_info", **held))["claims"]["sub"] == tokens["id_token_claims"]["sub"]
    refused = await rp.error("get_user_info", **{**held, "id_token": held["id_token"][:-4] + "AAAA"})
    assert check_of(refused)[1] == "bad_signature"
    url = (await rp.ok("get_authorization_url"))["authorization_url"]
    callback = callback_params(await log_in(url, "bob", "builder"))
    another = await rp.ok("get_tokens_by_code", code=callback["code"], state=callback["state"])
    refused = await rp.error("get_user_info", **{**held, "id_token": another["id_token"]})
    assert check_of(refused) == ("invalid_id_token", "bad_subject")
    op.state.faults = {"userinfo_bad_sub"}
    assert check_of(await rp.error("get_user_info", **held)) == ("op_invalid_response", "bad_subject")


async def test_signed_userinfo_of_a_site_that_brought_its_client(running: Background, op: RunningSandbox) -> None:
    """A signed answer is verified even where the server did not know that it would be signed."""
    first = await register(running.server, op.issuer, userinfo_signed_response_alg="ES256")
    stored = await first.stored()
    own = {"client_id": stored["client_id"], "client_secret": stored["client_secret"]}
    rp = await register(running.server, op.issuer, **own)
    assert (await rp.stored())["userinfo_signed_response_alg"] is None
    tokens = await rp.log_in()
    user = await rp.ok("get_user_info", access_token=tokens["access_token"])
    assert user["claims"]["iss"] == [op.issuer]
    op.state.faults = {"userinfo_bad_signature"}
    refused = await rp.error("get_user_info", access_token=tokens["access_token"])
    assert check_of(refused) == ("op_invalid_response", "bad_signature")


async def test_numbers_and_objects_become_texts(running: Background, op: RunningSandbox) -> None:
    """Every claim is a list of texts: numbers as digits, booleans as words, objects as JSON."""
    rp = await register(running.server, op.issuer, scope=["openid", "profile", "email", "address"])
    user = await rp.ok("get_user_info", access_token=(await rp.log_in())["access_token"])
    assert user["claims"]["updated_at"] == ["1750000000"]
    assert user["claims"]["email_verified"] == ["true"]
    assert '"postal_code":"1058"' in user["claims"]["address"][0].replace(" ", "")
