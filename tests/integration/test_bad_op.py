"""What becomes of a login when the OP fails, at every step: a clear error, nothing lost, and the next try works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.background import Background, background
from tests.integration.faulty_op import (
    DISCOVERY,
    KEY_SET,
    REGISTRATION,
    TOKEN,
    USERINFO,
    Fault,
    FaultyOp,
    altered,
    breaks_off,
    fails,
    faulty_op,
    garbage,
    hangs_up,
    html,
    silent,
)
from tests.integration.logins import REDIRECT_URI, SCOPES, data_of, register
from tests.integration.oxd_process import ServerProcess
from tests.integration.stored import stored_rows

SHORT = {
    "op_connect_timeout_in_seconds": 2,
    "op_read_timeout_in_seconds": 1.5,
    "op_total_timeout_in_seconds": 6,
    "deregister_client_on_remove": True,
}
UNREACHABLE, INVALID = "op_unreachable", "op_invalid_response"
# fault: what it is called at the discovery (in the details) and at the other steps
FAULTS: dict[str, tuple[Fault | None, str, str]] = {
    "refuses": (None, UNREACHABLE, UNREACHABLE),
    "is silent": (silent, UNREACHABLE, UNREACHABLE),
    "hangs up": (hangs_up, UNREACHABLE, UNREACHABLE),
    "answers HTML": (html, INVALID, INVALID),
    "answers 500": (fails, INVALID, "http_status_500"),
    "breaks off": (breaks_off, INVALID, INVALID),
    "answers garbage": (garbage, INVALID, INVALID),
}
each_fault = pytest.mark.parametrize("fault", FAULTS)


@dataclass(frozen=True)
class Failing:
    """A server that is impatient, and an OP of this test alone."""

    server: ServerProcess
    op: FaultyOp
    background: Background

    async def fail(
        self, path: str, fault: str, command: str, *, after: str | None = None, **params: Any
    ) -> dict[str, Any]:
        """Run a command while the OP misbehaves at `path`; return the error's data. Afterwards the OP is well.

        An OP that refuses does so from the start, or once it has answered at the path `after`.
        """
        misbehave = FAULTS[fault][0]
        if misbehave is not None:
            self.op.faults[path] = misbehave
        elif after is not None:
            self.op.faults[after] = self.op.answer_and_refuse
        else:
            self.op.refuse()
        answer = await self.server.call(command, **params)
        self.op.faults.clear()
        if misbehave is None:
            await self.op.accept()
        assert answer["status"] == "error", answer
        await self.assert_serving()
        data: dict[str, Any] = answer["data"]
        return data

    async def assert_serving(self) -> None:
        """Assert that a new connection is served."""
        assert (await self.server.call("get_rp", list=True))["status"] == "ok"

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return everything that is in the store."""
        return stored_rows(self.background.folder)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    """One server and one provider for all the tests here."""
    with background(tmp_path_factory.mktemp("bad-op"), SHORT) as both:
        yield both


@pytest.fixture
async def failing(running: Background) -> AsyncIterator[Failing]:
    """The server, and an OP that it has not met before."""
    async with faulty_op(running.sandbox) as op:
        yield Failing(running.server, op, running)


def metadata(op: FaultyOp) -> dict[str, Any]:
    """Return what a site is registered with."""
    return {"op_host": op.issuer, "authorization_redirect_uri": REDIRECT_URI, "scope": SCOPES}


@each_fault
async def test_at_the_discovery(failing: Failing, fault: str) -> None:
    """Without the OP's metadata nothing is registered or stored; once it is there, the same command succeeds."""
    before = failing.rows()
    error = await failing.fail(DISCOVERY, fault, "register_site", **metadata(failing.op))
    assert error["error"] == "no_connect_discovery_response"
    assert error["details"]["reason"] == FAULTS[fault][1]
    assert error["details"]["host"] == failing.op.issuer.removeprefix("http://")
    assert "POST /register" not in failing.op.requests
    assert failing.rows() == before
    await register(failing.server, failing.op.issuer)


@each_fault
async def test_at_the_registration(failing: Failing, fault: str) -> None:
    """A registration that fails is not repeated behind the caller's back, and leaves no site."""
    before = failing.rows()
    error = await failing.fail(REGISTRATION, fault, "register_site", after=DISCOVERY, **metadata(failing.op))
    assert error["error"] == FAULTS[fault][2]
    assert failing.op.requests.count("POST /register") == (FAULTS[fault][0] is not None)
    assert failing.rows() == before
    await register(failing.server, failing.op.issuer)


@each_fault
async def test_at_an_update(failing: Failing, fault: str) -> None:
    """An update that fails leaves the site as it was, and the next one succeeds."""
    rp = await register(failing.server, failing.op.issuer)
    before = failing.rows()
    error = await failing.fail(REGISTRATION, fault, "update_site", oxd_id=rp.oxd_id, client_name="New")
    assert error["error"] == FAULTS[fault][2]
    assert failing.rows() == before
    await rp.ok("update_site", client_name="New")


# A deletion that is answered with status 200 is done, whatever else the OP says.
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "answers HTML"])
async def test_at_a_removal(failing: Failing, fault: str) -> None:
    """A site whose client could not be deleted at the OP stays, so that removing it can be tried again."""
    rp = await register(failing.server, failing.op.issuer)
    before = failing.rows()
    error = await failing.fail(REGISTRATION, fault, "remove_site", oxd_id=rp.oxd_id)
    assert error["error"] == FAULTS[fault][2]
    assert failing.rows() == before
    await rp.ok("remove_site")


@each_fault
async def test_at_the_token_endpoint(failing: Failing, fault: str) -> None:
    """A code that the OP gave no tokens for can be sent again with its state."""
    rp = await register(failing.server, failing.op.issuer)
    callback = await rp.authorize()
    params = {"oxd_id": rp.oxd_id, "code": callback["code"], "state": callback["state"]}
    before = failing.rows()
    error = await failing.fail(TOKEN, fault, "get_tokens_by_code", **params)
    assert error["error"] == FAULTS[fault][2]
    assert failing.rows() == before
    assert data_of(await failing.server.call("get_tokens_by_code", **params))["access_token"]


@each_fault
async def test_at_the_key_set(failing: Failing, fault: str) -> None:
    """Tokens that cannot be checked are not accepted: the code is gone, the session unchanged, a new login works."""
    rp = await register(failing.server, failing.op.issuer)
    callback = await rp.authorize()
    before = failing.rows()
    params = {"oxd_id": rp.oxd_id, "code": callback["code"], "state": callback["state"]}
    error = await failing.fail(KEY_SET, fault, "get_tokens_by_code", after=TOKEN, **params)
    assert error["error"] == FAULTS[fault][2]
    after = failing.rows()
    assert len(after.pop("spent")) == len(before.pop("spent")) + 1
    assert after == before
    assert (await rp.log_in())["id_token"]


@each_fault
async def test_at_a_refresh(failing: Failing, fault: str) -> None:
    """A refresh that fails changes nothing here, and the token that the OP never saw is still good."""
    rp = await register(failing.server, failing.op.issuer)
    tokens = await rp.log_in()
    before = failing.rows()
    params = {"oxd_id": rp.oxd_id, "refresh_token": tokens["refresh_token"]}
    error = await failing.fail(TOKEN, fault, "get_access_token_by_refresh_token", **params)
    assert error["error"] == FAULTS[fault][2]
    assert failing.rows() == before
    assert await rp.ok("get_access_token_by_refresh_token", refresh_token=tokens["refresh_token"])


@each_fault
async def test_at_userinfo(failing: Failing, fault: str) -> None:
    """Claims that cannot be had are an error, never an empty answer."""
    rp = await register(failing.server, failing.op.issuer)
    tokens = await rp.log_in()
    before = failing.rows()
    params = {"oxd_id": rp.oxd_id, "access_token": tokens["access_token"]}
    error = await failing.fail(USERINFO, fault, "get_user_info", **params)
    assert error["error"] == FAULTS[fault][2]
    assert failing.rows() == before
    assert (await rp.ok("get_user_info", access_token=tokens["access_token"]))["claims"]


async def test_another_issuer(failing: Failing) -> None:
    """Metadata that names another issuer is refused (Discovery 1.0, section 4.3), and nothing is registered."""
    before = failing.rows()
    failing.op.faults[DISCOVERY] = altered(issuer="https://attacker.example")
    answer = await failing.server.call("register_site", **metadata(failing.op))
    assert answer["data"]["error"] == "no_connect_discovery_response"
    assert "issuer" in answer["data"]["error_description"]
    assert failing.op.requests == [f"GET {DISCOVERY}"]
    assert failing.rows() == before
    await failing.assert_serving()


async def test_no_registration_endpoint(failing: Failing) -> None:
    """An OP without dynamic registration: the error says to bring a client along, and doing so works."""
    before = failing.rows()
    failing.op.faults[DISCOVERY] = altered(registration_endpoint=None)
    answer = await failing.server.call("register_site", **metadata(failing.op))
    assert answer["data"]["error"] == "invalid_request"
    assert "client_id" in answer["data"]["error_description"]
    assert "client_secret" in answer["data"]["error_description"]
    assert failing.rows() == before
    own = {"client_id": "mine", "client_secret": "s" * 40}
    assert (await failing.server.call("register_site", **metadata(failing.op), **own))["status"] == "ok"


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        ("token_endpoint", INVALID),
        ("jwks_uri", INVALID),
    ],
)
async def test_metadata_without_an_endpoint(failing: Failing, endpoint: str, code: str) -> None:
    """An OP that names no endpoint for a step gets an error that names what is missing."""
    failing.op.faults[DISCOVERY] = altered(**{endpoint: None})
    rp = await register(failing.server, failing.op.issuer)
    callback = await rp.authorize()
    error = await rp.error("get_tokens_by_code", code=callback["code"], state=callback["state"])
    assert error["error"] == code
    assert error["details"]["missing"] == endpoint
    await failing.assert_serving()


async def test_tokens_are_missing(failing: Failing) -> None:
    """A token answer without id_token or access_token has an error code of its own for each."""
    rp = await register(failing.server, failing.op.issuer)
    for member, code in (("id_token", "no_id_token"), ("access_token", "no_access_token")):
        callback = await rp.authorize()
        failing.op.faults[TOKEN] = altered(**{member: None})
        error = await rp.error("get_tokens_by_code", code=callback["code"], state=callback["state"])
        failing.op.faults.clear()
        assert error["error"] == code
    assert (await rp.stored())["id_token"] is None


async def test_a_token_that_is_none(failing: Failing) -> None:
    """An access token with characters that no token has is refused without asking the OP; the connection lives."""
    rp = await register(failing.server, failing.op.issuer)
    asked = len(failing.op.requests)
    connection = await failing.server.connect()
    answer = await connection.call("get_user_info", oxd_id=rp.oxd_id, access_token="two words\r\nX-Header: 1")
    assert answer["data"]["error"] == "invalid_request"
    assert "two words" not in str(answer)
    assert (await connection.call("get_rp", oxd_id=rp.oxd_id))["status"] == "ok"
    await connection.aclose()
    assert len(failing.op.requests) == asked
